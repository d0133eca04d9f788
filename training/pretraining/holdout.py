"""What no pre-training may see, by molecule and by crystal, so that transfer can be measured: the lists
``holdout_molecules.txt`` and ``holdout_crystals.txt``, made from the files that ``holdout.toml`` names by
``benchmarks/holdout_names.py``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from jmp_calc.bonding import molecule_names
from jmp_calc.io.atomic import replacing

from ..data.frame import Frame
from .compounds import formula_of

HERE = Path(__file__).parent
MOLECULES, CRYSTALS = HERE / "holdout_molecules.txt", HERE / "holdout_crystals.txt"
ANY_GROUP = "*"
"""In place of a space group: the compound is held out in every structure."""
NO_SYMMETRY = 1
"""Space group of whatever moves."""
SYMPREC = 0.05
"""Å, of the space group of a labelled frame."""


@dataclass(frozen=True)
class HeldOut:
    """Names of molecules (``bonding.graph_name``), and compounds with their space groups."""

    everywhere: frozenset[str]
    """Molecules that no set may have."""
    sampled: frozenset[str]
    """Molecules that are not sampled: those, and all others of the held-out files."""
    crystals: frozenset[tuple[str, str]]

    def has_sampled(self, names: Iterable[str]) -> bool:
        """Whether one of the molecules that a frame was made from is held out."""
        return not self.sampled.isdisjoint(names)

    def has_compound(self, formula: str) -> bool:
        """Whether a compound is held out in any structure; sampled crystals are of none of these."""
        return formula in self._compounds

    @cached_property
    def _compounds(self) -> frozenset[str]:
        return frozenset(formula for formula, _ in self.crystals)

    def has(self, frame: Frame) -> bool:
        """Whether a labelled frame holds a molecule, or is a crystal, that is held out.

        A crystal with atoms off their places has another space group, at last none (1), which names no
        structure: it counts only where its compound is held out in every structure.
        """
        if not frame.pbc.any():
            names = molecule_names(frame.numbers, frame.positions, frame.cell, frame.pbc)
            return not self.everywhere.isdisjoint(names)
        formula = formula_of(frame.numbers)
        if (formula, ANY_GROUP) in self.crystals:
            return True
        if not self.has_compound(formula):
            return False
        group = space_group(frame)
        return group != NO_SYMMETRY and (formula, str(group)) in self.crystals


@cache
def held_out() -> HeldOut:
    """The lists of the package."""
    molecules = [line.split() for line in _lines(MOLECULES)]
    crystals = [line.split() for line in _lines(CRYSTALS)]
    return HeldOut(
        frozenset(name.removeprefix("hash:") for name, where in molecules if where == "everywhere"),
        frozenset(name.removeprefix("hash:") for name, _ in molecules),
        frozenset((formula, group) for formula, group in crystals),
    )


def space_group(frame: Frame) -> int:
    """International number of the space group; 1 where none is found."""
    import spglib

    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it will raise its errors one day
        found = spglib.get_symmetry_dataset((frame.cell, scaled, frame.numbers), symprec=SYMPREC)
    return 1 if found is None else int(found.number)


def exclusions(kind: str, path: Path) -> Path:
    """Write the list for ``jmp-calc sample --exclude``: molecules, or crystals by compound."""
    entries = [line.split()[0] for line in _lines(MOLECULES if kind == "molecules" else CRYSTALS)]
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{entry}\n" for entry in dict.fromkeys(entries)), encoding="utf-8")
    return path


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
