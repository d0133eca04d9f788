"""Energy against volume of elements and compounds, and the way back of rattled crystals."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from jmp_calc.errors import JMPError
from jmp_calc.workflows.relax import relax

from .model import CRYSTALS, CardModel, Head, knows
from .scans import EquationOfState, birch_murnaghan, minima
from .teacher_values import of_crystals

LEVEL = CRYSTALS
SCALES = np.arange(0.88, 1.1601, 0.02)
"""Of all lengths, about those of the table."""
DEPTH_EV_PER_ATOM = 0.005
"""Of a minimum."""
LENGTH_SHARE, BULK_SHARE = 0.02, 0.25
RATTLE_A, STRAIN, SEED = 0.05, 0.01, 7
FMAX, STEPS = 0.01, 300
BACK_MEV_PER_ATOM, BACK_VOLUME_SHARE = 2.0, 0.01
NEAR_VOLUME_SHARE = (1 + LENGTH_SHARE) ** 3 - 1
"""Of the teacher's volume: a crystal that relaxes to another one did not come back to itself."""

_TABLE = """
fcc: Al 4.04, Cu 3.63, Ag 4.15, Au 4.16, Ni 3.52, Pd 3.94, Pt 3.97, Rh 3.83, Ir 3.87, Pb 5.04, Ca 5.53, Sr 6.02
bcc: Li 3.44, Na 4.19, K 5.28, V 2.99, Nb 3.31, Ta 3.31, Mo 3.16, W 3.18, Fe 2.83
hcp: Mg 3.19/5.18, Ti 2.93/4.65, Zr 3.23/5.17, Co 2.49/4.03, Ru 2.73/4.31, Be 2.27/3.57, Re 2.77/4.49
diamond: C 3.57, Si 5.47, Ge 5.76
rocksalt: MgO 4.25, CaO 4.84, SrO 5.20, LiF 4.07, NaCl 5.69, KCl 6.39, LiCl 5.15, TiC 4.33, TiN 4.25, ZrC 4.71, VN 4.12, PbTe 6.56
zincblende: GaAs 5.75, GaP 5.50, InP 5.97, AlP 5.51, AlAs 5.73, BN 3.62, SiC 4.38, ZnS 5.45, CdTe 6.62
cesiumchloride: CsCl 4.20, CsI 4.66, NiAl 2.89, CuZn 2.97
fluorite: CaF2 5.51, CeO2 5.47
wurtzite: ZnO 3.29/5.31, GaN 3.22/5.24
"""
"""Structure type: formula and about the lattice constants by PBE, Å."""


def crystals() -> dict[str, tuple[str, float, float | None]]:
    """Structure type, a and c of the 60 crystals by formula."""
    found: dict[str, tuple[str, float, float | None]] = {}
    for line in _TABLE.strip().splitlines():
        kind, _, entries = line.partition(": ")
        for entry in entries.split(", "):
            formula, _, lengths = entry.partition(" ")
            a, _, c = lengths.partition("/")
            found[formula] = (kind, float(a), float(c) if c else None)
    return found


def primitive(formula: str) -> Atoms:
    """The primitive cell with the lattice constants of the table."""
    kind, a, c = crystals()[formula]
    return bulk(formula, kind, a=a, c=c)


def larger(formula: str) -> Atoms:
    """A cell of several atoms: the cubic one, or two primitive ones in the plane."""
    kind, a, c = crystals()[formula]
    return bulk(formula, kind, a=a, c=c) * (2, 2, 1) if c else bulk(formula, kind, a=a, cubic=True)


def scaled(atoms: Atoms, scale: float) -> Atoms:
    """A crystal with all its lengths multiplied."""
    changed: Atoms = atoms.copy()
    changed.set_cell(scale * atoms.cell.array, scale_atoms=True)
    return changed


def scan(formula: str) -> list[Atoms]:
    """The crystal at all volumes."""
    return [scaled(primitive(formula), float(scale)) for scale in SCALES]


def volumes(formula: str) -> np.ndarray:
    """Å³ per atom of the scan (N,)."""
    atoms = primitive(formula)
    return np.asarray(SCALES**3 * atoms.get_volume() / len(atoms))


def teacher_fit(formula: str) -> EquationOfState | None:
    """Minimum of the teacher, per atom; None: it has no values, or no minimum."""
    found = of_crystals("volumes").get(formula)
    return (
        None if found is None else birch_murnaghan(volumes(formula), np.array(found["energies_ev_per_atom"]))
    )


def teacher_scale(formula: str) -> float:
    """What the lengths of the table are multiplied with at the teacher's minimum; 1 without a teacher."""
    fit, atoms = teacher_fit(formula), primitive(formula)
    return 1.0 if fit is None else float((fit.volume * len(atoms) / atoms.get_volume()) ** (1 / 3))


def names(model: CardModel) -> list[str]:
    """The crystals."""
    return list(crystals())


def accepted(formula: str, model: CardModel) -> Head | dict[str, Any]:
    """The head for crystals, or the row of one that it refuses."""
    head = model.head(LEVEL)
    if head is None:
        return {"passed": False, "covered": False, "note": "no head of this level of theory"}
    covered = knows(model.config(head.name), primitive(formula).numbers)
    return head if covered else head.row() | {"passed": False, "covered": False}


def measured(formula: str, model: CardModel) -> dict[str, Any]:
    """Minima, lattice constant and bulk modulus of one crystal, against the teacher's."""
    head = accepted(formula, model)
    if isinstance(head, dict):
        return head
    frames = scan(formula)
    found = model.calculator(head.name).batch(frames, ("energy",))
    energies = np.array([one["energy"] for one in found]) / len(frames[0])
    fit, theirs = birch_murnaghan(volumes(formula), energies), teacher_fit(formula)
    row: dict[str, Any] = head.row() | {
        "covered": True,
        "minima": len(minima(energies, DEPTH_EV_PER_ATOM)),
        "lowest_at_an_end": bool(energies.argmin() in (0, len(energies) - 1)),
    }
    if fit is None or theirs is None:
        return row | {"passed": False, "failure": "no minimum" if fit is None else "no values of the teacher"}
    row |= {
        "length_off_percent": 100 * ((fit.volume / theirs.volume) ** (1 / 3) - 1),
        "bulk_modulus_gpa": fit.bulk_modulus_gpa,
        "teacher_bulk_modulus_gpa": theirs.bulk_modulus_gpa,
        "bulk_modulus_off_percent": 100 * (fit.bulk_modulus_gpa / theirs.bulk_modulus_gpa - 1),
    }
    passed = row["minima"] == 1 and not row["lowest_at_an_end"]
    passed &= abs(row["length_off_percent"]) <= 100 * LENGTH_SHARE
    return row | {"passed": bool(passed and abs(row["bulk_modulus_off_percent"]) <= 100 * BULK_SHARE)}


def returned(formula: str, model: CardModel) -> dict[str, Any]:
    """The relaxed crystal, and what becomes of it after a rattle and a strain: energies and volumes of both."""
    head = accepted(formula, model)
    if isinstance(head, dict):
        return head
    calculator = model.calculator(head.name)
    start = scaled(larger(formula), teacher_scale(formula))
    row: dict[str, Any] = head.row() | {"covered": True, "atoms": len(start)}
    try:
        still = relax(start, calc=calculator, cell="full", fmax=FMAX, steps=STEPS)
        back = relax(rattled(still.atoms), calc=calculator, cell="full", fmax=FMAX, steps=STEPS)
    except JMPError as error:
        return row | {"passed": False, "failure": error.fact}
    row |= {
        "converged": still.converged and back.converged,
        "energy_off_mev_per_atom": 1e3 * (back.energy_ev - still.energy_ev) / len(start),
        "volume_off_percent": 100 * (back.atoms.get_volume() / still.atoms.get_volume() - 1),
        "volume_off_teacher_percent": 100 * (still.atoms.get_volume() / start.get_volume() - 1),
    }
    close = abs(row["energy_off_mev_per_atom"]) <= BACK_MEV_PER_ATOM
    close &= abs(row["volume_off_percent"]) <= 100 * BACK_VOLUME_SHARE
    close &= abs(row["volume_off_teacher_percent"]) <= 100 * NEAR_VOLUME_SHARE
    return row | {"passed": bool(close and row["converged"])}


def rattled(atoms: Atoms) -> Atoms:
    """A crystal whose atoms and cell were moved, always in the same way."""
    rng = np.random.default_rng(SEED)
    moved: Atoms = atoms.copy()
    strain = rng.normal(scale=STRAIN, size=(3, 3))
    moved.set_cell(moved.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    moved.positions += rng.normal(scale=RATTLE_A, size=(len(moved), 3))
    return moved
