"""Weights that users name: a file or folder as it is, a packed archive unpacked into the cache."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from ..errors import ModelError, UsageError
from ..io.summary import file_sha256
from ..zoo.registry import home

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
MOST_FILES, MOST_BYTES = 20_000, 4 << 30
"""Of an archive, unpacked; ANI-2x has 565 files of 55 MB."""
_DAMAGED = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def resolved_weights(path: Path) -> Path:
    """The absolute path of weights; of an archive the folder that it is unpacked to, once, by its SHA-256.

    Raises:
        UsageError: there is nothing at this path.
        ModelError: an archive that is damaged, too large, or would write outside its folder.
    """
    check_weights(path)
    if path.is_dir() or not path.name.lower().endswith(ARCHIVES):
        return path.absolute()
    target = home() / "teachers" / file_sha256(path)[:16]
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        _unpack(path, target)
    return target


def check_weights(path: Path) -> None:
    """UsageError where there is nothing at this path."""
    if not path.exists():
        raise UsageError("There are no weights at this path.", where=str(path), hint="check --weights")


def _unpack(path: Path, target: Path) -> None:
    """Unpack regular files into a folder that appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with tarfile.open(path) as archive:
            files = size = 0
            for member in archive:
                files, size = files + 1, size + member.size
                if files > MOST_FILES or size > MOST_BYTES:
                    raise tarfile.ReadError("it unpacks to more than weights need")
                archive.extract(member, temporary, filter="data")
        os.replace(temporary, target)
    except _DAMAGED as error:
        if target.is_dir():
            return  # another process was faster
        raise ModelError(
            f"The archive of weights cannot be unpacked: {error}.",
            where=str(path),
            hint="fetch it again, or unpack it and name the folder",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
