"""``sample``: structures worth labelling, as a Python function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import names
from ..checks import check_sound
from ..errors import UsageError
from ..io.files import find_structures
from ..io.reader import UNLABELLED_SUFFIXES
from ..io.structures import iter_named
from .run import SampleResult, sample_set
from .settings import STRUCTURES, SampleSettings, read_elements

if TYPE_CHECKING:
    from ase import Atoms


def sample(
    what: str | Sequence[str | os.PathLike[str] | Atoms],
    *,
    count: int = 1000,
    start: int = 0,
    seed: int = 0,
    atoms: tuple[int, int] | None = None,
    elements: Sequence[str] | None = None,
    shares: Mapping[str, float] | None = None,
    exclude: str | os.PathLike[str] | None = None,
    like: Sequence[str | os.PathLike[str] | Atoms] = (),
    calc: Any = None,
    temperature: tuple[float, float] = (100.0, 1500.0),
    processes: int = 1,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> SampleResult:
    """Draw structures worth labelling: molecules by valence rules, crystals by prototypes, or one's own.

    Sample ``i`` depends on the seed and on ``i`` alone. Near copies and structures with overlapping atoms are
    left out and counted. Isolated atoms of all elements stand before sample 0.

    Args:
        what: "molecules" (needs RDKit), "crystals", or a list of structures and of files of them, which are
            rattled, strained, scaled, deprived of atoms and heated in turn.
        count: how many samples to draw. Default: 1000.
        start: number of the first sample; shards of one set differ in it. Default: 0.
        seed: random seed. Default: 0.
        atoms: least and largest number of atoms of a sample; 2 to 30 for molecules and 1 to 40
            for crystals if none are given. Default: None.
        elements: symbols of the elements to use; all that the kind has if none are given. Default: None.
        shares: how many samples are of a kind, relative to the others; those of
            docs/sampling.md if none are given. Default: None.
        exclude: file of what must not be drawn, one SMILES or one composition per line. Default: None.
        like: crystals, or files of them, whose structure types half of the crystals have, with elements that
            are like theirs; atomic positions are theirs too, relaxed or hot. Default: ().
        calc: calculator that relaxes half of the crystals for a few steps, and heats half of one's own
            structures by short molecular dynamics; None: neither. Default: None.
        temperature: lowest and highest temperature of short dynamics, K. Default: (100.0, 1500.0).
        processes: how many processes draw. Default: 1.
        out: folder for samples.extxyz; a run that was stopped goes on with what is there. Default: None.
        prefix: put PREFIX- before the name of the file. Default: ''.
        quiet: no progress. Default: True.

    Returns:
        frames and counts. ``info`` of a frame has ``sample_kind``, ``sample_id``, and ``graph`` (SMILES) or
        ``prototype`` and ``composition``.

    Raises:
        UsageError: settings that contradict each other, or RDKit is missing.
        BadInputError: a list of exclusions that cannot be read.
    """
    settings = SampleSettings(
        what=what if isinstance(what, str) else STRUCTURES,
        count=count,
        start=start,
        seed=seed,
        atoms=atoms,
        elements=None if elements is None else read_elements(" ".join(names(elements, "elements"))),
        shares=shares,
        exclude=None if exclude is None else Path(exclude),
        like=read_own(like),
        structures=() if isinstance(what, str) else read_own(what),
        calc=calc,
        temperature=temperature,
    )
    return sample_set(settings, processes=processes, out=out, prefix=prefix, quiet=quiet)


def read_own(given: Sequence[str | os.PathLike[str] | Atoms]) -> tuple[Atoms, ...]:
    """One's own structures, from files where they are names, each with its ``origin``; also one alone.

    Raises:
        BadInputError: a file that cannot be read, or a structure that no calculator can take. UsageError:
            neither.
    """
    from ase import Atoms

    found = []
    for number, one in enumerate([given] if isinstance(given, str | os.PathLike | Atoms) else given):
        if isinstance(one, Atoms):
            found.append(_with_origin(one, f"structure {number}"))
        elif not isinstance(one, str | os.PathLike):
            raise UsageError(
                f"Structure {number} is of type {type(one).__name__}, neither Atoms nor a file.",
                hint="give Atoms objects, or names of files",
            )
        else:
            specs = find_structures([os.fspath(one)], UNLABELLED_SUFFIXES)
            found += [_with_origin(f.atoms, f"{Path(f.spec).name}@{f.number}") for f in iter_named(specs)]
    return tuple(found)


def _with_origin(atoms: Atoms, origin: str) -> Atoms:
    check_sound(atoms, where=origin)
    copy = atoms.copy()
    copy.info["origin"] = origin
    return copy
