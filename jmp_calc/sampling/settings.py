"""What is to be sampled, and what may be asked together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import plain
from ..errors import UsageError
from ..model.elements import SYMBOLS, symbol
from .species import CRYSTAL_ELEMENTS

if TYPE_CHECKING:
    from ase import Atoms

MOLECULES, CRYSTALS, STRUCTURES = "molecules", "crystals", "structures"
MOLECULE_ELEMENTS = frozenset(SYMBOLS.index(name) for name in "H B C N O F Si P S Cl Br I".split())
MOLECULE_SHARES = {
    "conformer": 0.07,
    "relaxed": 0.09,
    "rattled": 0.19,
    "torsion": 0.13,
    "thermal": 0.17,
    "pair": 0.13,
    "cluster": 0.05,
    "stretched": 0.08,
    "path": 0.06,
    "dimer": 0.03,
}
"""Kinds of molecular samples, and how many of all samples are of each."""
CRYSTAL_SHARES = {
    "perfect": 0.04,
    "strained": 0.12,
    "rattled": 0.19,
    "volume": 0.11,
    "vacancy": 0.06,
    "swap": 0.04,
    "disorder": 0.07,
    "surface": 0.07,
    "random": 0.03,
    "melted": 0.12,
    "mixture": 0.08,
    "dimer": 0.07,
}
"""The same of crystals."""
RELAXED_SHARES = {"relaxed": 0.5, **{kind: 0.5 * share for kind, share in CRYSTAL_SHARES.items()}}
"""The same where a calculator is given."""
STRUCTURE_SHARES = {"rattled": 0.45, "strained": 0.2, "volume": 0.15, "vacancy": 0.2}
"""The same of one's own structures; molecules are rattled only."""
HEATED_SHARES = {"thermal": 0.5, **{kind: 0.5 * share for kind, share in STRUCTURE_SHARES.items()}}
"""The same where a calculator is given."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What to sample; the fields are the arguments of ``sample`` and explained there."""

    what: str
    count: int = 1000
    start: int = 0
    seed: int = 0
    atoms: tuple[int, int] | None = None
    elements: tuple[str, ...] | None = None
    shares: Mapping[str, float] | None = None
    exclude: str | Path | None = None
    like: tuple[Atoms, ...] = field(default=(), repr=False)
    """Crystals whose structure types are drawn too."""
    structures: tuple[Atoms, ...] = field(default=(), repr=False)
    """One's own, of what is "structures"."""
    calc: Any = field(default=None, repr=False)
    temperature: tuple[float, float] = (100.0, 1500.0)

    def __post_init__(self) -> None:
        plain(self)
        if self.what not in (MOLECULES, CRYSTALS, STRUCTURES):
            raise UsageError(f"Nothing is known about '{self.what}'.", hint=f"{MOLECULES} or {CRYSTALS}")
        self._check_own()
        self._check_like()
        for name, least in (("count", 1), ("start", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"The argument {name} must be {least} or more, got {getattr(self, name)}.")
        self._check_atoms()
        self._check_shares()
        self.numbers  # noqa: B018  refuses unknown elements

    @property
    def numbers(self) -> frozenset[int]:
        """Atomic numbers that samples are made of; UsageError for one that the kind has not."""
        if self.what == STRUCTURES:
            return frozenset(int(number) for atoms in self.structures for number in atoms.numbers)
        known = MOLECULE_ELEMENTS if self.what == MOLECULES else CRYSTAL_ELEMENTS
        if self.elements is None:
            return known
        wrong = [name for name in self.elements if name not in SYMBOLS or SYMBOLS.index(name) not in known]
        if wrong:
            raise UsageError(
                f"No {self.what} are drawn with {', '.join(wrong)}.",
                hint=f"choose from {' '.join(symbol(number) for number in sorted(known))}",
            )
        return frozenset(SYMBOLS.index(name) for name in self.elements)

    @property
    def default_shares(self) -> Mapping[str, float]:
        """Kinds of distortions, and how many of all samples are of each."""
        if self.what == STRUCTURES:
            return STRUCTURE_SHARES if self.calc is None else HEATED_SHARES
        if self.what == MOLECULES:
            return MOLECULE_SHARES
        return CRYSTAL_SHARES if self.calc is None else RELAXED_SHARES

    @property
    def all_shares(self) -> Mapping[str, float]:
        """Those that were given in place of the defaults; kinds without a share are left out."""
        return {
            kind: share for kind, share in {**self.default_shares, **(self.shares or {})}.items() if share
        }

    @property
    def size(self) -> tuple[int, int]:
        """Least and largest number of atoms of a sample."""
        return self.atoms or ((2, 30) if self.what == MOLECULES else (1, 40))

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, as plain data; the defaults filled in."""
        own = self.what == STRUCTURES
        return {
            "what": self.what,
            "count": self.count,
            "start": self.start,
            "seed": self.seed,
            **({"n_structures": len(self.structures)} if own else {"atoms": list(self.size)}),
            "elements": [symbol(number) for number in sorted(self.numbers)],
            "shares": dict(self.all_shares),
            "exclude": None if self.exclude is None else str(self.exclude),
            **({"n_like": len(self.like)} if self.like else {}),
            **({"temperature": list(self.temperature)} if own and self.calc is not None else {}),
        }

    def _check_own(self) -> None:
        """UsageError for what has a meaning for the other kinds of samples only."""
        own = self.what == STRUCTURES
        if own and not self.structures:
            raise UsageError("No structure was given.", hint="name files of structures")
        for name in ("atoms", "elements", "exclude"):
            if own and getattr(self, name) is not None:
                raise UsageError(f"The argument {name} has no meaning for one's own structures.")
        if self.calc is not None and self.what == MOLECULES:
            raise UsageError(
                "A calculator relaxes crystals and heats one's own structures, no molecules.",
                hint="sample crystals, or name files of structures",
            )
        low, high = self.temperature
        if not (math.isfinite(high) and 0 < low <= high):
            raise UsageError(
                f"There are no temperatures from {low} to {high} K.", hint="for instance 100-1500"
            )

    def _check_like(self) -> None:
        """UsageError for structure types of crystals that nothing is made of."""
        from .like import lends

        if not self.like:
            return
        if self.what != CRYSTALS:
            raise UsageError("Structure types are those of crystals.", hint="sample crystals --like FILE")
        most = self.size[1]
        if not any(lends(atoms, most) for atoms in self.like):
            raise UsageError(
                f"None of the structures to be like is a crystal of at most {most} atoms, without Po to Ra.",
                hint="give one that is periodic in three directions, or larger --atoms",
            )

    def _check_atoms(self) -> None:
        least, most = self.size
        if not 1 <= least <= most <= 200:
            raise UsageError(
                f"No sample has {least} to {most} atoms.", hint="give the least and the largest, as 10-30"
            )

    def _check_shares(self) -> None:
        given = self.shares or {}
        wrong = [kind for kind in given if kind not in self.default_shares]
        if wrong:
            raise UsageError(
                f"Unknown kind of {self.what}: {', '.join(wrong)}.",
                hint=f"choose from {', '.join(self.default_shares)}",
            )
        if any(not (math.isfinite(share) and share >= 0) for share in given.values()) or not self.all_shares:
            raise UsageError("Shares are numbers from 0 up, not all of them 0.")


def read_elements(text: str) -> tuple[str, ...]:
    """Symbols from a list such as "H,C,N,O" or "H C N O"."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def read_temperatures(text: str) -> tuple[float, float]:
    """Lowest and highest temperature from "100-1500" or "300"; UsageError for anything else."""
    low, _, high = text.partition("-")
    try:
        return float(low), float(high or low)
    except ValueError as error:
        raise UsageError(f"'{text}' is no range of temperatures.", hint="write 100-1500 or 300") from error


def read_atoms(text: str) -> tuple[int, int]:
    """Least and largest number from "10-30" or "20"; UsageError for anything else."""
    least, _, most = text.partition("-")
    if not (least.isdecimal() and (most or least).isdecimal()):
        raise UsageError(f"'{text}' is no range of numbers of atoms.", hint="write 10-30 or 20")
    return int(least), int(most or least)
