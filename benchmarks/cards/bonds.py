"""Bonds of molecules pulled apart: rigid halves, against the teacher of the head where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule

from jmp_calc.bonding import bonds_of, molecules
from jmp_calc.model.elements import COVALENT_RADII

from .model import CardModel, knows, of_molecules
from .scans import Floats, fall_beyond, rise_inside
from .teacher_values import of_head

SHORTEST, LONGEST, STEP = 0.9, 6.0, 0.1
"""Shares of the length of the bond, and Å."""
WITHIN_EV = 1.0
"""Of the teacher's energies, both above the lowest of the teacher."""
SMOOTH_EV = 0.1
"""A wall or a dip is higher than this, and than the teacher's own."""
LEAST_SHARE, MOST_SHARE = 0.75, 1.25
"""Depth over atomisation energy per bond, of heads without a teacher."""
STRETCHED = 1.5
"""Sums of covalent radii: beyond, the energy still rises."""


@dataclass(frozen=True)
class Bond:
    """The bond of a molecule of ASE's G2 geometries: the first one between these two elements."""

    molecule: str
    first: str
    second: str


BONDS = {
    "water O-H": Bond("H2O", "O", "H"),
    "methane C-H": Bond("CH4", "C", "H"),
    "ammonia N-H": Bond("NH3", "N", "H"),
    "benzene C-H": Bond("C6H6", "C", "H"),
    "ethane C-C": Bond("C2H6", "C", "C"),
    "acetonitrile C-C": Bond("CH3CN", "C", "C"),
    "methanol C-O": Bond("CH3OH", "C", "O"),
    "methylamine C-N": Bond("H3CNH2", "C", "N"),
    "hydrogen peroxide O-O": Bond("H2O2", "O", "O"),
    "hydrazine N-N": Bond("N2H4", "N", "N"),
    "methanethiol C-S": Bond("CH3SH", "C", "S"),
    "chloromethane C-Cl": Bond("CH3Cl", "C", "Cl"),
}


def bonds(atoms: Atoms) -> list[tuple[int, int]]:
    """Bonded pairs of a molecule."""
    return bonds_of(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def scan(name: str) -> tuple[Floats, list[Atoms]]:
    """Lengths (N,) in Å and the molecule with its halves so far apart."""
    wanted = BONDS[name]
    atoms = molecule(wanted.molecule)
    pairs, symbols = bonds(atoms), atoms.get_chemical_symbols()
    ends = {wanted.first, wanted.second}
    one, other = next(pair for pair in pairs if {symbols[atom] for atom in pair} == ends)
    parts = molecules(len(atoms), [pair for pair in pairs if pair != (one, other)])
    moved = next(part for part in parts if other in part)
    vector = atoms.positions[other] - atoms.positions[one]
    length = float(np.linalg.norm(vector))
    lengths = np.append(np.arange(SHORTEST * length, LONGEST, STEP), LONGEST)
    frames = []
    for wanted_length in lengths:
        frame = atoms.copy()
        frame.positions[moved] += (wanted_length / length - 1) * vector
        frames.append(frame)
    return lengths, frames


def names(model: CardModel) -> list[str]:
    """Every head of molecules with every bond of its elements."""
    return [
        f"{head.name}/{name}"
        for head in model.heads
        if of_molecules(head)
        for name, bond in BONDS.items()
        if knows(head, molecule(bond.molecule).numbers)
    ]


def measured(name: str, model: CardModel) -> dict[str, Any]:
    """One bond under one head."""
    head, _, bond = name.partition("/")
    lengths, frames = scan(bond)
    calculator = model.calculator(head)
    energies = np.array([one["energy"] for one in calculator.batch(frames, ("energy",))])
    teacher = of_head(head, "bonds").get(bond)
    if teacher is not None:
        return against_teacher(lengths, energies, teacher)
    atoms = frames[0]
    lone = [Atoms([number], [[0.0, 0.0, 0.0]]) for number in atoms.numbers]
    free = sum(one["energy"] for one in calculator.batch(lone, ("energy",)))
    pairs = bonds(molecule(BONDS[bond].molecule))
    radii = [COVALENT_RADII[Atoms(symbol).numbers[0]] for symbol in (BONDS[bond].first, BONDS[bond].second)]
    return alone(lengths, energies, (free - energies.min()) / len(pairs), sum(radii))


def against_teacher(lengths: Floats, energies: Floats, teacher: dict[str, Any]) -> dict[str, Any]:
    """How far a curve is from the teacher's, both above the lowest point of the latter, where the teacher knows
    the energy (N values, null where it does not)."""
    known = np.array([energy is not None for energy in teacher["energies_ev"]])
    theirs = np.array([np.nan if energy is None else energy for energy in teacher["energies_ev"]])
    lowest = int(np.nanargmin(theirs))
    off = (energies - energies[lowest]) - (theirs - theirs[lowest])
    worst = int(np.nanargmax(np.abs(off)))
    row: dict[str, Any] = {
        "teacher": True,
        "points": int(known.sum()),
        "largest_difference_ev": float(np.abs(off[worst])),
        "at_a": float(lengths[worst]),
        "depth_ev": float(energies[-1] - energies.min()),
        **smoothness(energies),
    }
    inner, outer = theirs[: lowest + 1], theirs[lowest:]
    row["teacher_fall_beyond_ev"] = fall_beyond(outer[~np.isnan(outer)], 0)
    row["teacher_rise_inside_ev"] = rise_inside(inner[~np.isnan(inner)], len(inner[~np.isnan(inner)]) - 1)
    smooth = row["fall_beyond_ev"] <= row["teacher_fall_beyond_ev"] + SMOOTH_EV
    smooth &= row["rise_inside_ev"] <= row["teacher_rise_inside_ev"] + SMOOTH_EV
    return row | {"passed": bool(smooth and row["largest_difference_ev"] <= WITHIN_EV)}


def alone(lengths: Floats, energies: Floats, per_bond: float, radii: float) -> dict[str, Any]:
    """What a curve shows by itself: its depth against the atomisation energy per bond (eV), and how far it
    rises beyond 1.5 of the sum of covalent radii (Å)."""
    depth = float(energies[-1] - energies.min())
    beyond = energies[lengths >= STRETCHED * radii]
    row = {
        "teacher": False,
        "depth_ev": depth,
        "atomisation_ev_per_bond": float(per_bond),
        "rise_beyond_1.5_ev": float(beyond[-1] - beyond[0]),
        **smoothness(energies),
    }
    share = depth / per_bond if per_bond > 0 else 0.0
    deep = LEAST_SHARE <= share <= MOST_SHARE
    smooth = max(row["fall_beyond_ev"], row["rise_inside_ev"]) <= SMOOTH_EV
    return row | {"passed": bool(deep and smooth and row["rise_beyond_1.5_ev"] > 0)}


def smoothness(energies: Floats) -> dict[str, float]:
    """Walls and dips of a curve (N,) on both sides of its lowest point."""
    lowest = int(np.argmin(energies))
    return {
        "fall_beyond_ev": fall_beyond(energies, lowest),
        "rise_inside_ev": rise_inside(energies, lowest),
    }
