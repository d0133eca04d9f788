"""Writing record sets (:mod:`.records`): shards, which several processes can write side by side, and the
finished folder.

Everything is written into ``DIR.part``, which becomes ``DIR`` when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.lmdb import LmdbFile, import_lmdb
from jmp_calc.io.outdir import LOCK_NAME, locked, make_folder

from ..data.frame import Frame
from .format import FORMAT_VERSION, Tables, decode, encode
from .record_set import SET_FILE, SIZES_FILE, RecordSet, SetInfo, Shard, SourceFile, record_key
from .statistics import EnergyMoments, StatisticsSum

_BATCH_BYTES = 16 << 20
_FIRST_MAP = 1 << 26
_OWN = re.compile(
    rf"records-\d+\.(lmdb|sizes)|{re.escape(SET_FILE)}|{re.escape(SIZES_FILE)}|{re.escape(LOCK_NAME)}"
)
_SIZES = ".sizes"
"""Rows of sizes.npy of one shard, until they are joined."""


@dataclass(frozen=True, eq=False)
class WrittenShard:
    """A closed shard and what its frames add to the statistics; may travel between processes."""

    shard: Shard
    sums: StatisticsSum


class ShardWriter:
    """One LMDB file of records, and their sizes beside it."""

    def __init__(self, folder: Path, number: int) -> None:
        """``number``: place of the shard in the set."""
        self._path = folder / f"records-{number:04d}.lmdb"
        self._map_bytes = _FIRST_MAP
        self._lmdb = import_lmdb()
        self._environment = self._lmdb.open(
            str(self._path),
            subdir=False,
            map_size=self._map_bytes,
            sync=False,
            lock=False,
            meminit=False,
        )
        self._sizes = self._path.with_suffix(_SIZES).open("wb")
        self._tables, self._hash = Tables(), hashlib.sha256()
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self.sums = StatisticsSum()

    def add(self, frame: Frame, edges: int = 0, degree: int = 0) -> None:
        """Append a frame; ``edges``, ``degree``: main edges, most of them at one atom, 0 if not known."""
        data = encode(frame, self._tables)
        self._pending.append((record_key(self.sums.count), data))
        self._pending_bytes += len(data)
        self._hash.update(data)
        self._sizes.write(np.array([frame.n_atoms, edges, degree], dtype="<i4").tobytes())
        self.sums.add(frame)
        if self._pending_bytes >= _BATCH_BYTES:
            self._flush()

    def close(self) -> WrittenShard:
        """Write what is left and make it durable."""
        self._flush()
        self._environment.sync(True)
        self.abandon()
        shard = Shard(
            self._path.name,
            self.sums.count,
            self._path.stat().st_size,
            self._hash.hexdigest(),
            self._tables.to_dict(),
        )
        return WrittenShard(shard, self.sums)

    def abandon(self) -> None:
        """Close the files as they are."""
        self._environment.close()
        self._sizes.close()

    def _flush(self) -> None:
        while self._pending:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, data in self._pending:
                        transaction.put(key, data, append=True)
                self._pending, self._pending_bytes = [], 0
            except self._lmdb.MapFullError:  # the whole transaction is undone and written again
                self._map_bytes *= 2
                self._environment.set_mapsize(self._map_bytes)
            except self._lmdb.DiskError as error:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path)) from error


class RecordWriter:
    """A record set in the making::

        with RecordWriter(folder) as writer:
            for frame in frames:
                writer.add(frame)
            records = writer.finish()

    Left without ``finish``, also by an interruption, it leaves nothing behind.
    """

    def __init__(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """UsageError if ``folder`` exists and is not an earlier record set that ``overwrite`` allows to
        replace, or holds the working directory."""
        place = Path(folder).resolve()
        if Path.cwd().is_relative_to(place):
            raise UsageError(
                f"A record set replaces its folder, and {place} holds the working directory.",
                where=str(folder),
                hint="choose another -o DIR, such as records/NAME",
            )
        self.folder = place if Path(folder).name == ".." else Path(folder)
        self.part = self.folder.with_name(self.folder.name + ".part")
        self._shard: ShardWriter | None = None
        self._stack = ExitStack()
        _check_target(self.folder, overwrite)

    def __enter__(self) -> RecordWriter:
        make_folder(self.part)
        _refuse_foreign(self.part)
        self._stack.enter_context(locked(self.part))
        for path in self.part.iterdir():  # of an earlier run that was killed
            if path.name != LOCK_NAME:
                path.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._shard is not None:
                self._shard.abandon()
            shutil.rmtree(self.part, ignore_errors=True)

    def add(self, frame: Frame, edges: int = 0, degree: int = 0) -> None:
        """Append a frame to the only shard; see ShardWriter.add."""
        if self._shard is None:
            self._shard = ShardWriter(self.part, 0)
        self._shard.add(frame, edges, degree)

    def finish(
        self,
        shards: Sequence[WrittenShard] = (),
        *,
        sources: Sequence[SourceFile] = (),
        min_atoms: int = 1,
        left_out: Mapping[str, int] | None = None,
    ) -> RecordSet:
        """Complete the set and put it in its place; BadInputError if it has no frame.

        Args:
            shards: written into ``self.part`` by ShardWriter, in order; empty: what ``add`` was given.
            sources: files that the frames came from.
            min_atoms: smaller frames were left out.
            left_out: frames that were left out, by reason.
        """
        if self._shard is not None:
            shards = (*shards, self._shard.close())
            self._shard = None
        total = StatisticsSum()
        for written in shards:
            total.merge(written.sums)
        if total.count == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted((left_out or {}).items()))
            raise BadInputError(
                "No frame is left for the record set.",
                where=str(self.folder),
                hint=f"left out: {reasons}" if reasons else None,
            )
        kept = tuple(written.shard for written in shards)
        _join_sizes(self.part, kept, total.count)
        info = SetInfo(
            total.statistics(_residuals(self.part, kept, total)),
            kept,
            tuple(sources),
            min_atoms,
            dict(left_out or {}),
            _fingerprint(kept),
        )
        info.write(self.part)
        self._publish()
        return RecordSet(self.folder)

    def _publish(self) -> None:
        """Rename the part folder; an older set is out of the way for a moment only, and comes back if that
        fails."""
        (self.part / LOCK_NAME).unlink(missing_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.", dir=self.folder.parent))
        earlier = aside / self.folder.name
        try:
            if self.folder.exists():
                os.replace(self.folder, earlier)
            os.replace(self.part, self.folder)
        except BaseException:
            if earlier.exists() and not self.folder.exists():
                os.replace(earlier, self.folder)
            raise
        finally:
            if self.folder.exists() or not earlier.exists():
                shutil.rmtree(aside, ignore_errors=True)


def _check_target(folder: Path, overwrite: bool) -> None:
    """UsageError if ``folder`` is in the way; only a record set is ever replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / SET_FILE).is_file():
        raise UsageError(
            f"{folder} exists and is not a record set.", where=str(folder), hint="choose another -o DIR"
        )
    if not overwrite:
        raise UsageError(
            f"The record set {folder} exists already.",
            where=str(folder),
            hint="--overwrite replaces it, -o DIR writes elsewhere",
        )
    _refuse_foreign(folder)


def _refuse_foreign(folder: Path) -> None:
    """UsageError if a folder that is about to be emptied has files that are not of a record set."""
    foreign = sorted(path.name for path in folder.iterdir() if _OWN.fullmatch(path.name) is None)
    if foreign:
        raise UsageError(
            f"{folder} has other files too: {', '.join(foreign[:4])}.",
            where=str(folder),
            hint="choose another -o DIR, or take them out",
        )


def _join_sizes(folder: Path, shards: Sequence[Shard], count: int) -> None:
    """sizes.npy from the rows of all shards, which are removed."""
    path = folder / SIZES_FILE
    with path.open("wb") as target:
        np.lib.format.write_array_header_1_0(
            target, {"descr": "<i4", "fortran_order": False, "shape": (count, 3)}
        )
        for shard in shards:
            part = (folder / shard.file).with_suffix(_SIZES)
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, target)
            part.unlink()
        target.flush()
        os.fsync(target.fileno())


def _residuals(folder: Path, shards: Sequence[Shard], total: StatisticsSum) -> EnergyMoments:
    """All energies relative to the first solution, from the records as they were written (which this proves
    readable)."""
    residuals = EnergyMoments(total.moments.solve()[0])
    for shard in shards:
        file, tables = LmdbFile(folder / shard.file), Tables.from_dict(shard.tables)
        for number in range(shard.count):
            frame = decode(file.get(record_key(number)) or b"", tables, f"{file.path} record {number}")
            if frame.energy is not None:
                residuals.add(frame.numbers, frame.energy)
    return residuals


def _fingerprint(shards: Sequence[Shard]) -> str:
    content = [FORMAT_VERSION, [[shard.count, shard.sha256, shard.tables] for shard in shards]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
