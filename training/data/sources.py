"""Where labelled frames come from: files, folders, patterns (``runs/*.traj``), or structures in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.files import Index, parse_index, select, suffix
from jmp_calc.io.files import find_files as existing_files
from jmp_calc.io.raw_frame import from_atoms
from jmp_calc.io.reader import SUFFIXES
from jmp_calc.io.schema import first_five

from .frame import LabelledSet
from .raw import RawFile

if TYPE_CHECKING:
    from ase import Atoms

Labelled: TypeAlias = "str | os.PathLike[str] | Atoms | Sequence[str | os.PathLike[str] | Atoms]"
"""A file, folder or pattern, or several; or structures that carry their labels in ``calc``, ``info``,
``arrays``."""
MEMORY = "structures in memory"
"""What messages call structures that come from no file."""
ISOLATED_TOLERANCE = 1e-4
"""eV between two energies of one isolated atom."""
SET_FILE = "set.json"
"""What makes a folder a record set."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Files, or structures in memory; never both."""

    files: tuple[Path, ...] = ()
    structures: tuple[Atoms, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.structures)

    @property
    def name(self) -> str:
        """What messages call the whole."""
        if self.structures:
            return MEMORY
        return self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"

    @property
    def where(self) -> str:
        """The place to name in errors."""
        return first_five([str(path) for path in self.files]) if self.files else MEMORY


def sources(given: Labelled | None) -> Sources:
    """The files or structures that are meant; none of None.

    BadInputError for a file, pattern or folder that gives nothing; UsageError for a file given twice, for
    files and structures together, and for what is neither.
    """
    from ase import Atoms

    if given is None:
        return Sources()
    if isinstance(given, Iterator):
        raise UsageError(
            "An iterator gives its structures only once.", hint="give a list: list(ase.io.iread(...))"
        )
    items = [given] if isinstance(given, (str, os.PathLike, Atoms)) else list(given)
    structures = tuple(item for item in items if isinstance(item, Atoms))
    paths = [Path(item) for item in items if isinstance(item, (str, os.PathLike))]
    if len(structures) + len(paths) < len(items):
        wrong = next(item for item in items if not isinstance(item, (str, os.PathLike, Atoms)))
        raise UsageError(
            f"{type(wrong).__name__} is neither a file nor a structure.",
            hint="give paths or ase.Atoms with their labels",
        )
    if structures and paths:
        raise UsageError("Files and structures were given together.", hint="give one kind")
    if not items:
        raise BadInputError("The list of structures is empty.")
    return Sources(structures=structures) if structures else Sources(find_files(paths))


def read_each(given: Sources, read: Callable[[Path | Sequence[Atoms]], LabelledSet]) -> LabelledSet:
    """All frames as one set, file after file; ``read`` makes the set of one file, or of structures in memory.

    BadInputError where files contradict each other: isolated atoms, or the kind of the target.
    """
    if not given.files:
        return _named(read(given.structures), given.name)
    names = own_names(given.files)
    parts = [_named(read(path), name) for path, name in zip(given.files, names, strict=True)]
    isolated: dict[int, float] = {}
    for part, path in zip(parts, given.files, strict=True):
        for number, energy in part.isolated.items():
            if abs(isolated.setdefault(number, energy) - energy) > ISOLATED_TOLERANCE:
                raise BadInputError(
                    f"An isolated atom of element {number} has {energy:.6f} eV here and "
                    f"{isolated[number]:.6f} eV in a file before.",
                    where=str(path),
                    hint="keep the one that belongs to these calculations",
                )
        if part.target_kind != parts[0].target_kind:
            raise BadInputError(
                f"The target is a {part.target_kind} here and a {parts[0].target_kind} in {names[0]}.",
                where=str(path),
                hint="say what it is with --target-kind",
            )
    return replace(
        parts[0],
        frames=tuple(frame for part in parts for frame in part.frames),
        isolated=isolated,
        messages=_grouped([part.messages for part in parts], names),
    )


def own_names(files: Sequence[Path]) -> list[str]:
    """The names of different files, with as many of their folders as it takes to tell those of one name
    apart: the same however their paths are spelled."""
    places = [Path(os.path.abspath(path)).parts for path in files]
    names = []
    for place in places:
        namesakes = [other for other in places if other[-1] == place[-1]]
        deepest = max(map(len, namesakes))
        count = next(n for n in range(1, deepest + 1) if len({p[-n:] for p in namesakes}) == len(namesakes))
        names.append("/".join(place[-count:]))
    return names


def _named(found: LabelledSet, name: str) -> LabelledSet:
    """The set with frames that say which of several files of one name they come from."""
    if all(frame.source == name for frame in found.frames):
        return found
    return replace(found, frames=tuple(replace(frame, source=name) for frame in found.frames))


def _grouped(messages: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[str, ...]:
    """Every message once, with the names of its files where there are several."""
    of: dict[str, list[str]] = {}
    for texts, name in zip(messages, names, strict=True):
        for text in texts:
            of.setdefault(text, []).append(name)
    if len(names) == 1:
        return tuple(of)
    return tuple(f"{first_five(files)}: {text}" for text, files in of.items())


def find_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """Files as given, those that a pattern names, and of each folder those with a known suffix, by name.

    BadInputError for what is not there, an LMDB file, a record set, or a folder without such files;
    UsageError for a file given twice.
    """
    for path in given:
        if (path / SET_FILE).is_file():
            raise BadInputError(
                f"{path} is a record set already.", where=str(path), hint="train on it as it is"
            )
        if suffix(path) == ".lmdb":
            raise BadInputError(
                f"{path.name} is an LMDB file, which says nothing of its layout.",
                where=str(path),
                hint="read OC20 and OC22 with --dataset oc20 or oc22",
            )
    return existing_files(given, SUFFIXES)


def raw_structures(structures: Sequence[Atoms], index: str | Index = ":") -> RawFile:
    """The chosen structures with what they carry.

    BadInputError where a calculator's results belong to another structure: one that several structures share
    keeps the results of the last, and positions may have changed since.
    """
    chosen = list(select(enumerate(structures), parse_index(index)))
    for number, atoms in chosen:
        calc = atoms.calc
        if getattr(calc, "results", None) and getattr(calc, "check_state", None) and calc.check_state(atoms):
            raise BadInputError(
                "The results of the calculator belong to another structure.",
                where=f"{MEMORY} frame {number}",
                hint="give every structure its own: atoms.calc = SinglePointCalculator(atoms, energy=..., "
                "forces=...), or put labels into atoms.info and atoms.arrays",
            )
    if not structures:
        raise BadInputError("No structures were given.", where=MEMORY)
    if not chosen:
        raise BadInputError(f"There is no frame {index!r}.", where=MEMORY, hint="count from 0; ':' is all")
    return RawFile(tuple(from_atoms(atoms, number) for number, atoms in chosen))
