"""Arrays of numpy archives (.npz), bounded before anything is allocated; nothing is unpickled."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import BadInputError
from .files import UNPACKED_FREELY, UNPACKED_RATIO

_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, OverflowError, SyntaxError, MemoryError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What numpy and zipfile raise for damaged files."""


def load_arrays(source: Path | IO[bytes], path: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The named arrays, or all, of the archive ``source``, which messages call ``path``.

    BadInputError naming file and array for one that is missing, damaged, of objects, or larger than a file of
    that size can hold.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = list(members) if names is None else list(names)
            missing = [name for name in wanted if name not in members]
            if missing:
                raise BadInputError(
                    f"{path.name} has no array {missing[0]!r}; its arrays: {sorted(members)[:12]}.",
                    where=str(path),
                    hint="is this the file of another data set?",
                )
            _refuse_bomb([members[name] for name in wanted], path)
            return {name: _array(archive, members[name], f"{path} array {name}") for name in wanted}
    except _DAMAGE as error:
        raise BadInputError(
            f"{path.name} is not a readable plain numpy archive: {error}.",
            where=str(path),
            hint="fetch it again, or write it with numpy.savez",
        ) from error


def _refuse_bomb(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    unpacked = sum(info.file_size for info in members)
    if unpacked > UNPACKED_FREELY + UNPACKED_RATIO * sum(info.compress_size for info in members):
        raise BadInputError(
            f"{path.name} unpacks to {unpacked / 1e9:.3g} GB, far more than numbers shrink to.",
            where=str(path),
            hint="get the file from its publisher",
        )


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        else:
            raise BadInputError(f"The array has version {version}.", where=where)
        if dtype.hasobject or any(n < 0 for n in shape):
            raise BadInputError(
                "The array holds Python objects, not plain numbers or text.",
                where=where,
                hint="save plain arrays with numpy.savez",
            )
        if math.prod(shape) * max(dtype.itemsize, 1) > info.file_size:
            raise BadInputError(
                f"The array of shape {shape} is larger than the file.",
                where=where,
                hint="fetch the file again",
            )
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
