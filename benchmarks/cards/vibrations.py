"""Phonons of crystals in their own lattice: no imaginary mode that the teacher has not."""

from __future__ import annotations

import warnings
from typing import Any

from ase import Atoms

from jmp_calc.errors import JMPError, JMPWarning
from jmp_calc.workflows.phonon.phonons import PhononResult, phonons
from jmp_calc.workflows.relax import relax

from .crystals import accepted, primitive, scaled, teacher_scale
from .model import CardModel
from .teacher_values import of_crystals

CRYSTALS = ("C", "Si", "Ge", "Al", "Cu", "W", "Mg", "MgO", "NaCl", "TiC", "GaAs", "CsCl")
"""Atoms lie where symmetry wants them, so that only the lattice relaxes."""
LENGTH_A = 10.0
"""Between images in the supercells."""
LOWEST_THZ = -0.1
FMAX = 1e-3


def start(formula: str) -> Atoms:
    """The primitive cell at the teacher's volume."""
    return scaled(primitive(formula), teacher_scale(formula))


def phonons_of(atoms: Atoms) -> PhononResult:
    """With what calculator the atoms have; where positions are fixed by symmetry nothing is relaxed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JMPWarning)  # imaginary modes are what the row is about
        return phonons(atoms, min_length=LENGTH_A, relax=False, fmax=FMAX)


def names(model: CardModel) -> list[str]:
    """The crystals."""
    return list(CRYSTALS)


def measured(formula: str, model: CardModel) -> dict[str, Any]:
    """Lowest frequency of one crystal beside the teacher's."""
    head = accepted(formula, model)
    if isinstance(head, dict):
        return head
    theirs = of_crystals("phonons").get(formula, {}).get("lowest_thz")
    row: dict[str, Any] = head.row() | {"covered": True, "teacher_lowest_thz": theirs}
    calculator = model.calculator(head.name, dtype="float64")
    try:
        still = relax(start(formula), calc=calculator, cell="full", fix_symmetry=True, fmax=FMAX, steps=200)
        found = phonons_of(still.atoms)
    except JMPError as error:
        return row | {"passed": False, "failure": error.fact}
    row |= {
        "converged": still.converged,
        "volume_off_teacher_percent": 100 * (still.atoms.get_volume() / start(formula).get_volume() - 1),
        "lowest_thz": found.lowest_thz,
        "highest_thz": float(found.frequencies_thz.max()),
        "teacher_highest_thz": of_crystals("phonons").get(formula, {}).get("highest_thz"),
        "supercell_atoms": found.n_supercell_atoms,
    }
    stable = found.lowest_thz >= LOWEST_THZ or (theirs is not None and theirs < LOWEST_THZ)
    return row | {"passed": bool(stable)}
