"""Ordinary files only: a named pipe, a device or a folder is refused instead of read, which could wait for
ever."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "it is a named pipe, not a file",
    stat.S_IFCHR: "it is a device, not a file",
    stat.S_IFBLK: "it is a device, not a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFDIR: "it is a folder, not a file",
}


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """The file at ``path``, opened for reading bytes; OSError, with the reason as ``strerror``, for anything
    else."""
    try:
        # Without O_NONBLOCK the opening of a pipe waits for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except ValueError as err:  # a zero byte
        raise OSError(errno.EINVAL, str(err), str(path)) from err
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise OSError(errno.EINVAL, _KINDS.get(kind, "it is no ordinary file"), str(path))
    return os.fdopen(handle, "rb")


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """All bytes of an ordinary file of at most ``limit`` bytes; OSError for any other."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return data


def exists(path: Path) -> bool:
    """As ``Path.exists``; False also for names that no file can have, such as one of 300 characters."""
    try:
        return path.exists()
    except OSError:
        return False
