"""``jmp-calc preprocess``: labelled files or a data set as a record set (:mod:`.records`), streamed.

Each process writes the frames of a contiguous share into a shard of its own; the order of frames is that of
the input however many processes there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from jmp_calc.errors import UsageError

from ..data.frame import Frame
from ..data.screen import OnBad, Screen
from ..data.stream import LabelOptions, stream_labelled
from ..datasets.export import open_part
from ..datasets.registry import family
from .record_set import RecordSet, SourceFile
from .shares import Progress, Share, write_shares
from .writer import RecordWriter

_HASH_BLOCK = 1 << 20


class Inputs(Protocol):
    """What is to be written."""

    def files(self) -> tuple[Path, ...]:
        """The files that hold the frames."""
        ...

    def shares(self, count: int) -> list[Share]:
        """At most ``count`` shares of about equal length, in the order of the frames."""
        ...


@dataclass(frozen=True)
class FileInputs:
    """Labelled files in any format that ASE reads."""

    paths: tuple[Path, ...]
    labels: LabelOptions = LabelOptions()

    def files(self) -> tuple[Path, ...]:
        """The files themselves."""
        return self.paths

    def shares(self, count: int) -> list[Share]:
        """Files by bytes; one file is never divided."""
        ends = np.cumsum([path.stat().st_size for path in self.paths])
        share = np.minimum((ends - 1) * count // max(int(ends[-1]), 1), count - 1)
        groups = [[p for p, i in zip(self.paths, share, strict=True) if i == k] for k in range(count)]
        return [_Files(tuple(group), self.labels) for group in groups if group]


@dataclass(frozen=True)
class _Files:
    paths: tuple[Path, ...]
    labels: LabelOptions

    def frames(self, screen: Screen, position: Callable[[float | None], None]) -> Iterator[Frame]:
        sizes = [path.stat().st_size for path in self.paths]
        for number, path in enumerate(self.paths):
            done, size, total = sum(sizes[:number]), sizes[number], max(sum(sizes), 1)

            def within(
                fraction: float | None, done: int = done, size: int = size, total: int = total
            ) -> None:
                known = fraction is not None or len(sizes) > 1
                position((done + (fraction or 0.0) * size) / total if known else None)

            yield from stream_labelled(path, self.labels, screen, within)


@dataclass(frozen=True)
class DataSetInput:
    """One member of a data set of ``jmp-calc data list``, or a part of its split."""

    name: str
    member: str
    folder: Path
    part: str = "all"
    split: str | None = None

    def files(self) -> tuple[Path, ...]:
        """The file of the set, or all files of its folder."""
        source, _ = open_part(self.name, self.member, self.folder)
        if source.path.is_dir():
            return tuple(sorted(p for p in source.path.iterdir() if p.is_file()))
        return (source.path,)

    def shares(self, count: int) -> list[Share]:
        """Ranges of frames."""
        _, indices = open_part(self.name, self.member, self.folder, self.part, self.split)
        edges = np.linspace(0, len(indices), min(count, max(len(indices), 1)) + 1).astype(int).tolist()
        return [_Range(self, start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


@dataclass(frozen=True)
class _Range:
    data: DataSetInput
    start: int
    stop: int

    def frames(self, screen: Screen, position: Callable[[float | None], None]) -> Iterator[Frame]:
        data = self.data
        source, indices = open_part(data.name, data.member, data.folder, data.part, data.split)
        for done in range(self.start, self.stop):
            frame = source.readable(int(indices[done]))
            position((done - self.start) / (self.stop - self.start))
            if screen.accepts(frame):
                yield frame


def preprocess(
    inputs: Inputs,
    out: Path,
    *,
    min_atoms: int = 1,
    on_bad: OnBad = "fail",
    workers: int = 1,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> RecordSet:
    """Write all frames of ``inputs`` to the record set ``out``; an error or interruption leaves nothing
    there.

    Args:
        inputs: files, or a data set.
        out: folder of the record set.
        min_atoms: smaller frames are left out and counted (4 in the pre-training of JMP).
        on_bad: whether a bad frame is an error or left out and counted.
        workers: processes.
        overwrite: replace an earlier record set.
        say: takes progress and what was left out.
    """
    with RecordWriter(out, overwrite=overwrite) as writer:
        paths = inputs.files()
        say(f"hashing {len(paths)} files")
        sources = [_source(path) for path in paths]
        shards, counts = write_shares(
            inputs.shares(workers), writer.part, Screen(on_bad, min_atoms), Progress(say)
        )
        say("statistics")
        records = writer.finish(shards, sources=sources, min_atoms=min_atoms, left_out=counts)
    left_out = Screen(counts=counts).message()
    if left_out:
        say(f"warning: {left_out}")
    return records


def data_set(name: str, member: str | None, folder: Path, part: str, split: str | None) -> DataSetInput:
    """A data set by name; without a member the only one, or ``train``; UsageError if that is not clear."""
    members = family(name).members
    if member is None and len(members) > 1 and "train" not in members:
        raise UsageError(
            f"{name} has several members.", where="--member", hint=f"choose one of {', '.join(members)}"
        )
    return DataSetInput(name, member or (members[0] if len(members) == 1 else "train"), folder, part, split)


def _source(path: Path) -> SourceFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
            size += len(block)
    return SourceFile(str(path), size, digest.hexdigest())
