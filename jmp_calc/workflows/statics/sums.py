"""Sums of energies of several structures: balanced in every element, by one method, of relaxed parts."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import check_sound
from ...errors import BadStructureError, JMPWarning, UsageError
from ...lattice import VACUUM, gaps
from ..common import has_forces, has_stress, output_path, working_copy, write_frames
from ..energy_sums import check_one_method, check_zero, warn_of_mixed_u
from .crystal import STRESS_LIMIT_GPA, largest_stress_gpa
from .sum_settings import SumSettings
from .together import evaluated, relaxed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

OUTPUTS = ("parts.extxyz",)
FORMATION = "formation energy"
"""Kind of the sum whose parts may have +U, and others not."""
Numbers = Mapping[str, float | int | bool]
BALANCE = 1e-6
"""Atoms of an element by which a sum may be off: rounding of its coefficients."""


@dataclass(frozen=True, eq=False)
class Part:
    """One structure of a sum, and how often its energy is in it."""

    name: str
    atoms: Atoms
    coefficient: float


@dataclass(frozen=True, eq=False)
class Term:
    """A part that was computed."""

    name: str
    coefficient: float
    energy_ev: float
    """Of the structure."""
    fmax: float | None
    """Largest force on it after constraints, eV/Å; None: the calculator gives none."""
    stress_gpa: float | None
    """Largest principal stress of a crystal, in size; None of other structures, and where there is none."""
    atoms: Atoms
    """With its results."""

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        return {
            "name": self.name,
            "formula": self.atoms.get_chemical_formula(),
            "n_atoms": len(self.atoms),
            "coefficient": self.coefficient,
            "energy_ev": self.energy_ev,
            "fmax_ev_per_a": self.fmax,
            "largest_stress_gpa": self.stress_gpa,
        }


@dataclass(frozen=True, eq=False, repr=False)
class EnergySum:
    """An energy of formation, atomisation, adsorption or of a surface, and what it was made of."""

    kind: str
    energy_ev: float
    """The sum over ``terms``."""
    numbers: Numbers
    """What people quote, by names with units, such as energy_ev_per_atom; the first is the usual one."""
    terms: tuple[Term, ...]
    settings: SumSettings

    def __repr__(self) -> str:
        name, value = next(iter(self.numbers.items()))
        return f"<EnergySum: {self.kind} of {self.terms[0].atoms.get_chemical_formula()}, {name} {value:.6g}>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        terms = [term.to_dict() for term in self.terms]
        return {"kind": self.kind, "energy_ev": self.energy_ev, **self.numbers, "terms": terms}

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write parts.extxyz, the structures with their energies and coefficients; returns its path."""
        path = output_path(folder, OUTPUTS[0], prefix)
        frames = []
        for term in self.terms:
            frame = term.atoms.copy()
            frame.calc = term.atoms.calc
            frame.info |= {"part": term.name, "coefficient": term.coefficient}
            frames.append(frame)
        write_frames(path, frames)
        return [path]


def summed(
    kind: str, parts: Sequence[Part], settings: SumSettings, *, calc: Calculator | None, quiet: bool
) -> EnergySum:
    """Compute the parts and add them; ``numbers`` is left to the caller.

    Raises:
        UsageError: parts without calculator, by several methods, or that do not balance.
        ModelError: a head without atomic reference. The errors of ``relax`` and ``evaluated``.
    """
    needed = [Part(part.name, working_copy(part.atoms, calc), part.coefficient) for part in parts]
    _check_balance(needed)
    named = {part.name: part.atoms for part in needed}
    check_one_method(named)
    check_zero(named)
    if kind == FORMATION:
        warn_of_mixed_u(named)
    terms = tuple(_term(part, settings, quiet) for part in needed)
    _warn_of_loose(terms, settings)
    energy = float(sum(term.coefficient * term.energy_ev for term in terms))
    return EnergySum(kind, energy, {}, terms, settings)


def _check_balance(parts: Sequence[Part]) -> None:
    left: Counter[str] = Counter()
    for part in parts:
        for symbol, count in Counter(part.atoms.get_chemical_symbols()).items():
            left[symbol] += part.coefficient * count  # type: ignore[assignment]
    wrong = {symbol: count for symbol, count in left.items() if abs(count) > BALANCE}
    if wrong:
        text = ", ".join(f"{count:+g} {symbol}" for symbol, count in sorted(wrong.items()))
        raise UsageError(f"The parts do not balance: {text} is left over.", hint="check the structures")


def _term(part: Part, settings: SumSettings, quiet: bool) -> Term:
    atoms = part.atoms
    if settings.relax != "none":
        (atoms,) = relaxed(
            [atoms],
            fmax=settings.fmax,
            steps=settings.relax_steps,
            cell="full" if settings.relax == "full" and not open_directions(atoms).any() else "none",
            allow_unconverged=settings.allow_unconverged,
            what=part.name,
            quiet=quiet,
        )
    asked = ["energy", *(["forces"] if has_forces(atoms) else [])]
    if not open_directions(atoms).any() and has_stress(atoms):
        asked.append("stress")
    (frame,) = evaluated([atoms], asked, what=part.name, quiet=quiet)
    fmax = float(np.linalg.norm(frame.get_forces(), axis=1).max()) if "forces" in asked else None
    stress = largest_stress_gpa(frame.get_stress()) if "stress" in asked else None
    energy = float(frame.get_potential_energy(apply_constraint=False))
    return Term(part.name, part.coefficient, energy, fmax, stress, frame)


def _warn_of_loose(terms: Sequence[Term], settings: SumSettings) -> None:
    loose = [
        f"{term.name} ({term.fmax:.2g} eV/Å)"
        for term in terms
        if term.fmax is not None and term.fmax > settings.fmax
    ]
    if loose and settings.relax == "none":
        text = ", ".join(loose)
        text = f"not relaxed, by this calculator: {text}; ask for it (relax, --relax)"
        warnings.warn(text, JMPWarning, stacklevel=5)
    strained = [
        f"{term.name} ({term.stress_gpa:.2g} GPa)"
        for term in terms
        if term.stress_gpa is not None and term.stress_gpa > STRESS_LIMIT_GPA
    ]
    if strained:
        text = f"cells under stress, by this calculator: {', '.join(strained)}; relax them first"
        warnings.warn(f"{text} (relax --opt-cell full)", JMPWarning, stacklevel=5)


def open_directions(atoms: Atoms) -> np.ndarray:
    """(3,) bool: directions of the cell without periodicity, or with vacuum across them."""
    found = ~np.array(atoms.pbc)
    if atoms.pbc.any():
        widths = gaps(atoms.positions, atoms.cell.array, np.array(atoms.pbc))
        found[np.array(atoms.pbc)] = widths >= VACUUM
    return found


def open_of_slab(slab: Atoms) -> np.ndarray:
    """(3,) bool with the one direction along which a slab has vacuum; BadStructureError for what is no slab,
    or cannot be evaluated at all."""
    check_sound(slab)
    is_open = open_directions(slab)
    count = int(is_open.sum())
    if count != 1:
        along = {0: "has none", 2: "has it along two", 3: "does not repeat at all"}[count]
        raise BadStructureError(
            f"A slab repeats in two directions and has vacuum along one; this structure {along}.",
            hint="make it with ase.build.surface(..., vacuum=10)",
        )
    return is_open
