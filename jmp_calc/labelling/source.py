"""The structures of a run, which are read once for every step of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..io.files import find_structures, parse_structure
from ..io.reader import UNLABELLED_SUFFIXES
from ..io.structures import NamedFrame, iter_named

if TYPE_CHECKING:
    from ase import Atoms

    Structure: TypeAlias = str | os.PathLike[str] | Atoms


class Source:
    """Files, patterns and folders, or structures in memory."""

    def __init__(self, structures: Structure | Sequence[Structure], index: str | None = None) -> None:
        """BadInputError for files that are not there, UsageError for one that is given twice."""
        single = isinstance(structures, str | os.PathLike) or hasattr(structures, "positions")
        given: Any = [structures] if single else structures
        self._atoms = [item for item in given if hasattr(item, "positions")]
        names = [os.fspath(item) for item in given if not hasattr(item, "positions")]
        self.specs = find_structures(names, UNLABELLED_SUFFIXES)
        self._index = index

    @property
    def paths(self) -> list[str]:
        """The files."""
        return list(dict.fromkeys(str(parse_structure(spec).path) for spec in self.specs))

    def frames(self) -> Iterator[NamedFrame]:
        """All structures in order; errors of the files when they are reached."""
        yield from iter_named(self.specs, index=self._index)
        for number, atoms in enumerate(self._atoms):
            yield NamedFrame(atoms, "structures", number)
