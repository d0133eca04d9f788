"""The two ends of a band: checked against each other, brought together, relaxed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import NotConvergedError, UsageError
from ..common import working_copy
from ..relax import relax as run_relax
from ..restart import constraint_text
from .settings import NEBSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SAME_A = 1e-3
"""Fixed atoms, cell vectors and ends that differ by less than this, Å, are the same."""
SAME_MINIMUM_A = 0.05
"""Relaxed ends that differ by less are one minimum, found as well as the force limit asks."""


def matching(initial: Atoms, final: Atoms, calc: Calculator | None) -> tuple[Atoms, Atoms]:
    """Working copies of both ends, the final one as near to the initial one as periodicity and, of a free
    molecule, turning and moving allow.

    Raises:
        UsageError: ends that no path connects: other atoms, another order of them, another cell, other
            constraints, the same structure; constraints other than fixed atoms and coordinates.
        BadStructureError: an end that cannot be evaluated.
    """
    from ase.build import minimize_rotation_and_translation
    from ase.geometry import find_mic

    first = working_copy(initial, calc)
    last = working_copy(final, first.calc)
    _check_atoms(first, last)
    _check_constraints(first, last)
    last.set_constraint(first.constraints)
    moved, _ = find_mic(last.positions - first.positions, first.cell, first.pbc)
    last.positions[:] = first.positions + moved
    if not first.pbc.any() and not first.constraints and len(first) > 1:
        minimize_rotation_and_translation(first, last)
    _check_fixed(first, last)
    check_apart(first, last)
    return first, last


def check_apart(first: Atoms, last: Atoms, least: float = SAME_A) -> None:
    """UsageError for ends that are the same structure: no atom differs by ``least``, Å."""
    if np.linalg.norm(last.positions - first.positions, axis=1).max() < least:
        raise UsageError(
            "Both ends are the same structure: there is no path between them.",
            hint="give another final structure; a relaxation may have undone the difference",
        )


def relaxed_ends(first: Atoms, last: Atoms, settings: NEBSettings, quiet: bool) -> tuple[Atoms, Atoms]:
    """Both ends with their positions relaxed.

    Raises:
        NotConvergedError: an end that did not reach ``ends_fmax``. UsageError: both ended at the same place.
    """
    found = []
    for name, atoms in (("initial", first), ("final", last)):
        end = atoms.copy()
        end.calc = atoms.calc
        if settings.relax_ends:
            result = run_relax(atoms, fmax=settings.ends_fmax, steps=settings.ends_steps, quiet=quiet)
            if not result.converged:
                raise NotConvergedError(
                    f"The {name} structure is not relaxed: the force is {result.fmax:.2g} eV/Å, wanted "
                    f"{settings.ends_fmax:g}.",
                    where=f"after {result.n_steps} steps",
                    hint="relax it first (jmp-calc relax), or go on from where it is with --no-relax-ends",
                )
            end.positions[:] = result.atoms.positions
        found.append(end)
    initial, final = matching(found[0], found[1], first.calc)
    if settings.relax_ends:
        check_apart(initial, final, SAME_MINIMUM_A)
    return initial, final


def _check_atoms(first: Atoms, last: Atoms) -> None:
    if sorted(first.numbers) != sorted(last.numbers):
        formulas = f"{first.get_chemical_formula()} and {last.get_chemical_formula()}"
        raise UsageError(f"The two ends have other atoms: {formulas}.", hint="a path keeps all atoms")
    wrong = np.flatnonzero(first.numbers != last.numbers)
    if len(wrong):
        raise UsageError(
            f"The two ends have their atoms in another order: atom {wrong[0]} is {first.symbols[wrong[0]]} "
            f"and {last.symbols[wrong[0]]}.",
            hint="bring the atoms of both files into the same order",
        )
    if (first.pbc != last.pbc).any():
        raise UsageError("The two ends are periodic in other directions.", hint="set the same pbc on both")
    difference = np.abs(first.cell.array - last.cell.array)[first.pbc]
    if difference.size and difference.max() > SAME_A:
        fact = f"The two ends have other cells: a vector differs by {difference.max():.3g} Å."
        raise UsageError(fact, hint="a band keeps the cell: relax both ends in the same one")


def _check_constraints(first: Atoms, last: Atoms) -> None:
    from ase.constraints import FixAtoms, FixCartesian

    for constraint in (*first.constraints, *last.constraints):
        if not isinstance(constraint, FixAtoms | FixCartesian):
            fact = f"A band knows no constraints but fixed atoms, an end has {type(constraint).__name__}."
            raise UsageError(fact, hint="take it off: atoms.set_constraint()")
    if last.constraints and constraint_text(first) != constraint_text(last):
        raise UsageError("The two ends have other constraints.", hint="set the same on both, or on the first")


def _check_fixed(first: Atoms, last: Atoms) -> None:
    """UsageError where a fixed atom is not at the same place in both."""
    probe = first.copy()
    probe.set_positions(last.positions)  # as far as the constraints let it
    off = np.linalg.norm(probe.positions - last.positions, axis=1)
    if off.max() > SAME_A:
        worst = int(off.argmax())
        fact = f"Fixed atom {worst} is elsewhere in the final structure, by {off[worst]:.3g} Å."
        raise UsageError(fact, hint="make both ends with the same fixed atoms")
