"""The structures of a run, which are read once for every step of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..io.files import parse_structure
from ..io.reader import UNLABELLED_SUFFIXES
from ..io.structures import NamedFrame, given_structures, iter_named

if TYPE_CHECKING:
    from ase import Atoms

    Structure: TypeAlias = str | os.PathLike[str] | Atoms


class Source:
    """Files, patterns and folders, or structures in memory."""

    def __init__(self, structures: Structure | Sequence[Structure], index: str | None = None) -> None:
        """The errors of ``given_structures``."""
        self._items = given_structures(structures, UNLABELLED_SUFFIXES, index)
        self._index = index

    @property
    def specs(self) -> tuple[str, ...]:
        """Files, and FILE@INDEX."""
        return tuple(item for item in self._items if isinstance(item, str))

    @property
    def paths(self) -> list[str]:
        """The files."""
        return list(dict.fromkeys(str(parse_structure(spec).path) for spec in self.specs))

    def frames(self) -> Iterator[NamedFrame]:
        """All structures in order; errors of the files when they are reached."""
        in_memory = itertools.count()
        for item in self._items:
            if isinstance(item, str):
                yield from iter_named([item], index=self._index)
            else:
                yield NamedFrame(item, "structures", next(in_memory))
