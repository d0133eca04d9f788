"""Which structures are computed together: decided by the input alone, so that a resumed run asks the same.

Molecules and periodic structures are apart, since a model may have a head for each.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import JMPError
from ..io.structures import NamedFrame, iter_named
from ..workflows.outcomes import content_key

if TYPE_CHECKING:
    from ase import Atoms

ATOMS_PER_UNIT = 4096
"""A unit is closed when it has so many atoms, however few structures that are."""


@dataclass(frozen=True, eq=False)
class Unreadable:
    """A file that could not be read, or not further than this."""

    spec: str
    frame: int
    error: JMPError


@dataclass(frozen=True, eq=False)
class Place:
    """One structure of the input, without its atoms."""

    number: int
    file: str
    frame: int
    formula: str
    n_atoms: int


@dataclass(frozen=True, eq=False)
class Unit:
    """Structures that a worker computes together."""

    places: tuple[Place, ...]
    structures: tuple[Atoms, ...]
    keys: tuple[str, ...]
    """SHA-256 of what each of them is."""

    @property
    def key(self) -> str:
        """SHA-256 of what they are together."""
        return hashlib.sha256(" ".join(self.keys).encode()).hexdigest()


def read(given: Sequence[str | Atoms], *, index: str | None = None) -> Iterator[NamedFrame | Unreadable]:
    """The structures of files and in memory, in their order; a file with a fault ends there and is told."""
    in_memory = itertools.count()
    for spec in given:
        if not isinstance(spec, str):
            yield NamedFrame(spec, "", next(in_memory))
            continue
        count = 0
        try:
            for frame in iter_named([spec], index=index):
                yield frame
                count += 1
        except JMPError as error:
            yield Unreadable(spec, count, error)


def planned(
    frames: Iterable[NamedFrame | Unreadable], size: int
) -> Iterator[Unit | tuple[Place, Unreadable]]:
    """Units of up to ``size`` structures of one kind, and what cannot be read, as they are complete."""
    open_units: dict[bool, list[tuple[Place, Atoms]]] = {False: [], True: []}
    for number, frame in enumerate(frames):
        if isinstance(frame, Unreadable):
            yield Place(number, frame.spec, frame.frame, "", 0), frame
            continue
        atoms = frame.atoms
        place = Place(number, frame.spec, frame.number, atoms.get_chemical_formula(), len(atoms))
        members = open_units[bool(np.any(atoms.pbc))]
        members.append((place, atoms))
        if len(members) == size or sum(place.n_atoms for place, _ in members) >= ATOMS_PER_UNIT:
            yield _unit(members)
            members.clear()
    for members in open_units.values():
        if members:
            yield _unit(members)


def _unit(members: Sequence[tuple[Place, Atoms]]) -> Unit:
    structures = tuple(atoms for _, atoms in members)
    return Unit(tuple(place for place, _ in members), structures, tuple(map(content_key, structures)))
