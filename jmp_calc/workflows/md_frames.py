"""Compressed trajectories: extxyz in gzip, which ASE, OVITO and ``analyse`` read as they are.

Frames are compressed together, a block at each restart file: what a killed run loses are frames that its
restart writes again.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..io.atomic import replacing, sync
from ..io.write import write_extxyz
from .stats import TrajectoryFile, frames_until

if TYPE_CHECKING:
    from ase import Atoms

BLOCK = 64
"""Frames that are compressed together at most."""
COPIED = 1 << 20
"""Bytes at a time."""


class CompressedTrajectory(TrajectoryFile):
    """Frames of extxyz appended to a gzip file in blocks."""

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self._waiting: list[Atoms] = []
        super().__init__(path, resume_step=resume_step)

    def _cut(self, step: int) -> None:
        """Drop frames after a step, and what is damaged; blocks of a file that is whole stay as they are."""
        with gzip.open(self.path, "rb") as stream:
            length, self.count, self.last_step = frames_until(_Sound(stream), step)
        with gzip.open(self.path, "rb") as stream:
            sound = _Sound(stream)
            kept = _copied(sound, None, length)
            if kept == length and not sound.read(1) and not sound.damaged:
                return
        with (
            replacing(self.path) as new,
            gzip.open(self.path, "rb") as stream,
            gzip.open(new, "wb") as target,
        ):
            _copied(_Sound(stream), target, length)

    def append(self, frame: Atoms) -> None:
        """Keep one frame, whose info has its step, for the next block."""
        self._waiting.append(frame)
        self.count, self.last_step = self.count + 1, int(frame.info["step"])
        if len(self._waiting) >= BLOCK:
            self._write()

    def sync(self) -> None:
        """Write and force all frames to disk."""
        self._write()
        if self.path.exists():
            sync(self.path)

    def _write(self) -> None:
        if not self._waiting:
            return
        text = io.StringIO()
        write_extxyz(text, self._waiting)
        with open(self.path, "ab") as stream:
            stream.write(gzip.compress(text.getvalue().encode(), mtime=0))
        self._waiting = []


class _Sound:
    """The lines of a compressed file up to where it is damaged."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream, self.damaged = stream, False

    def readline(self) -> bytes:
        """The next line; b"" at the end, or where the file cannot be read on."""
        return self._guarded(self.stream.readline)

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        return self._guarded(lambda: self.stream.read(size))

    def tell(self) -> int:
        """Bytes of text before here."""
        return self.stream.tell()

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (EOFError, OSError, zlib.error):
            self.damaged = True
            return b""


def _copied(source: _Sound, target: gzip.GzipFile | None, length: int) -> int:
    """Copy so many bytes (or read them, without a target); returns how many there were."""
    done = 0
    while done < length:
        part = source.read(min(COPIED, length - done))
        if not part:
            break
        if target is not None:
            target.write(part)
        done += len(part)
    return done
