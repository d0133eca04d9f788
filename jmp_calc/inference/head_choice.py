"""The head that computes where none is named: the default for what the first structure is, and then for good.

Energies of two heads have nothing in common, so that an evaluation never changes from one to the other: a
structure of another kind than the first is an error that says how to choose.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import JMPWarning, ModelError, UsageError
from ..lattice import VACUUM, gaps
from ..model.config import HeadConfig, ModelConfig, StructureKind
from .settings import Output, Settings, choose_head

_KINDS: tuple[StructureKind, ...] = ("molecules", "periodic")
_ONE = {"molecules": "a molecule", "periodic": "periodic"}
_ALL = {"molecules": "molecules", "periodic": "periodic structures"}


class Structure(Protocol):
    """What decides for a head: an ASE structure or a frame of training data, with N atoms."""

    @property
    def numbers(self) -> Any:
        """(N,) atomic numbers."""
        ...

    @property
    def positions(self) -> Any:
        """(N, 3) Å."""
        ...

    @property
    def cell(self) -> Any:
        """(3, 3) Å, rows are lattice vectors."""
        ...

    @property
    def pbc(self) -> Any:
        """(3,) which directions are periodic."""
        ...


@dataclass(frozen=True)
class Decided:
    """The structure that has decided which default head computes."""

    kind: StructureKind
    formula: str


class HeadChoice:
    """The head of one evaluation: known from the start, or taken at the first structure and kept."""

    def __init__(
        self, config: ModelConfig, settings: Settings, gives: Output, decided: Decided | None = None
    ) -> None:
        """ModelError where the settings name no head that there is, or none can be taken; as
        ``choose_head``."""
        self._model = settings.model
        warn_of_old_name(config, settings)
        self._lock = threading.Lock()
        self.decided = decided
        """None: no structure has decided, or none has to."""
        self._heads: dict[StructureKind, HeadConfig] = {
            kind: choose_head(config, settings, gives=gives, kind=kind) for kind in _KINDS
        }

    @property
    def head(self) -> HeadConfig | None:
        """The head, or None before the first structure where there are two defaults."""
        if self.decided is not None:
            return self._heads[self.decided.kind]
        one, other = self.possible
        return one if one.name == other.name else None

    @property
    def possible(self) -> tuple[HeadConfig, HeadConfig]:
        """The heads for molecules and for periodic structures."""
        return self._heads["molecules"], self._heads["periodic"]

    @property
    def certain(self) -> HeadConfig:
        """The head; UsageError before the first structure where there are two defaults."""
        if self.head is None:
            raise UsageError(
                f"{self._model} has two default heads, and no structure has decided yet: {self.words}.",
                hint="choose one with head='NAME' (--head NAME)",
            )
        return self.head

    @property
    def words(self) -> str:
        """What is, or will be, computed with."""
        molecules, periodic = self.possible
        if self.decided is not None:
            kind = self.decided.kind
            return f"default for {_ALL[kind]}, decided by the first structure, {self.decided.formula}"
        return f"{molecules.name} for molecules, {periodic.name} for periodic structures"

    def candidate(self, structure: Structure) -> HeadConfig:
        """The head for a structure, without deciding; ModelError for one of another kind than the first."""
        kind = kind_of(structure.pbc)
        if self.decided is None or self.decided.kind == kind:
            return self._heads[kind]
        chosen, other = self._heads[self.decided.kind].name, self._heads[kind].name
        raise ModelError(
            f"Head {chosen!r}, the default for {_ALL[self.decided.kind]}, was chosen by the first structure, "
            f"{self.decided.formula}; this structure, {_formula(structure)}, is {_ONE[kind]}.",
            hint=f"compute it apart (the default for {_ALL[kind]} is {other!r}), or choose one head for all "
            "with head='NAME' (--head NAME)",
        )

    def decide(self, structure: Structure) -> str | None:
        """Let a structure decide if it is the first; returns what the user is to be told, once.

        Raises:
            ModelError: a structure of another kind than the first.
        """
        with self._lock:
            head = self.candidate(structure)
            if self.head is not None:
                return None
            kind = kind_of(structure.pbc)
            self.decided = Decided(kind, _formula(structure))
        if kind == "periodic" and is_in_vacuum(structure):
            warnings.warn(JMPWarning(self._of_a_box(head)), stacklevel=2)
        return (
            f"Head {head.name!r} of {self._model}: {self.words}; head='NAME' (--head NAME) chooses another."
        )

    def _of_a_box(self, head: HeadConfig) -> str:
        assert self.decided is not None
        molecules = self._heads["molecules"].name
        return (
            f"{self.decided.formula} has vacuum along every periodic direction. Head {head.name!r}, the "
            f"default for periodic structures, computes it; for a molecule in a box choose "
            f"head={molecules!r} (--head {molecules}), or set pbc=False."
        )

    def __copy__(self) -> HeadChoice:
        """What is decided is kept, what is not is decided by each on its own."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._lock = threading.Lock()
        return twin


def warn_of_old_name(config: ModelConfig, settings: Settings) -> None:
    """JMPWarning with the present name, where the settings have an old name of a head."""
    present = config.head_aliases.get(settings.head or "")
    if present is not None:
        text = f"Head {settings.head!r} of {settings.model} is called {present!r} now"
        warnings.warn(JMPWarning(f"{text}: write head={present!r} (--head {present})."), stacklevel=2)


def kind_of(pbc: Any) -> StructureKind:
    """Periodic if any direction (3,) is."""
    return "periodic" if np.any(pbc) else "molecules"


def is_in_vacuum(structure: Structure) -> bool:
    """Whether ``VACUUM`` lies between the atoms and their images along every periodic direction."""
    positions, cell = np.asarray(structure.positions, dtype=float), np.asarray(structure.cell, dtype=float)
    return bool((gaps(positions, cell, np.asarray(structure.pbc, dtype=bool)) >= VACUUM).all())


def _formula(structure: Structure) -> str:
    from ase.symbols import Symbols

    return str(Symbols(np.asarray(structure.numbers)).get_chemical_formula())
