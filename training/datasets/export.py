"""A data set as extended XYZ, for every program that reads it: streamed, so that its size does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.atomic import replacing
from jmp_calc.io.write import write_extxyz

from ..data.frame import Frame
from ..data.screen import OnBad, Screen
from ..data.to_ase import to_atoms
from .base import SEED, FrameSource
from .registry import family

PARTS = ("all", "train", "valid", "test")
_CHUNK = 500


def export(
    name: str,
    member: str,
    folder: Path,
    out: Path,
    *,
    part: str = "all",
    split: str | None = None,
    frames: int | None = None,
    on_bad: OnBad = "fail",
    min_atoms: int = 1,
) -> tuple[int, str | None]:
    """Write frames of a data set with labels in eV and Å; returns how many, and a sentence on those left out.

    Args:
        name: data set.
        member: molecule, task or part.
        folder: where its files are.
        out: extended XYZ file.
        part: part of ``split`` (default: the one of the JMP paper), or all.
        split: name of a split.
        frames: a random subset (seed 42) of that size.
        on_bad: whether a bad frame is an error or left out.
        min_atoms: smaller frames are left out (4 in the pre-training of JMP).

    Raises:
        BadInputError: no frame is left.
    """
    source, indices = open_part(name, member, folder, part, split)
    if frames is not None and frames < len(indices):
        indices = np.sort(np.random.default_rng(SEED).choice(indices, frames, replace=False))
    screen = Screen(on_bad, min_atoms)
    written, stream = 0, screen.frames(source.readable(int(i)) for i in indices)
    with replacing(out) as temporary:
        while chunk := [_atoms(frame) for frame in islice(stream, _CHUNK)]:
            write_extxyz(temporary, chunk, append=written > 0)
            written += len(chunk)
        if not written:
            raise BadInputError(
                f"No frame of {name} {member} is left.", where=str(source.path), hint=screen.message()
            )
    return written, screen.message()


def open_part(
    name: str, member: str, folder: Path, part: str = "all", split: str | None = None
) -> tuple[FrameSource, Sequence[int] | np.ndarray]:
    """A data set and the numbers of the frames of one part of a split (``all``: every frame); UsageError if
    it has no splits."""
    chosen = family(name)
    source = chosen.open(folder, member)
    if part == "all":
        return source, range(len(source))
    if chosen.split is None:
        raise UsageError(f"{name} has no splits; its parts are {', '.join(chosen.members)}.", where="--part")
    parts = chosen.split(source, folder, member, split or chosen.splits[0])
    return source, {"train": parts.train, "valid": parts.valid, "test": parts.test}[part]


def _atoms(frame: Frame) -> object:
    atoms = to_atoms(frame)
    if frame.identifier is not None:
        atoms.info["identifier"] = frame.identifier
    if frame.tags is not None:
        atoms.set_tags(frame.tags)
    return atoms
