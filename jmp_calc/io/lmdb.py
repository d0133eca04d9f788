"""LMDB files read by key: single-file environments, opened at first use, read-only and without a lock
file."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BadInputError, UsageError


class _Handle:
    """An open environment, which is closed when nobody refers to it any more."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment


_HANDLES: weakref.WeakValueDictionary[tuple[int, str], _Handle] = weakref.WeakValueDictionary()
"""By process and file: a handle does not survive forking, and one process may open a file only once."""


class LmdbFile:
    """One ``.lmdb`` or ``.aselmdb`` file; may be handed to other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: tuple[int, _Handle] | None = None

    def get(self, key: str | bytes) -> bytes | None:
        """The value of a key, or None; BadInputError for a file that is damaged or none."""
        with self._reading() as transaction:
            value = transaction.get(key.encode("ascii") if isinstance(key, str) else key)
        return None if value is None else bytes(value)

    def names(self) -> Iterator[str]:
        """All keys, in the order of their bytes; BadInputError for a file that is damaged or none."""
        with self._reading() as transaction:
            yield from (
                key.decode("ascii", "replace")
                for key in transaction.cursor().iternext(keys=True, values=False)
            )

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A transaction; what lmdb finds wrong with a page is a BadInputError."""
        try:
            with self._environment().begin() as transaction:
                yield transaction
        except import_lmdb().Error as error:
            raise BadInputError(
                f"{self.path.name} is damaged: {error}.", where=str(self.path), hint="fetch it again"
            ) from error

    def __len__(self) -> int:
        """Number of entries, of whatever kind."""
        return int(self._environment().stat()["entries"])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None}

    def _environment(self) -> Any:
        if self._handle is None or self._handle[0] != os.getpid():
            key = os.getpid(), str(self.path.resolve())
            handle = _HANDLES.get(key) or _Handle(_open(self.path))
            _HANDLES[key] = handle
            self._handle = os.getpid(), handle
        return self._handle[1].environment


def _close_inherited() -> None:
    """In a forked process: the parent's handles are closed, because a file may be open only once."""
    for handle in list(_HANDLES.values()):
        handle.environment.close()
    _HANDLES.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def import_lmdb() -> Any:
    """The module lmdb; UsageError with the command that installs it."""
    try:
        import lmdb
    except ImportError as error:
        raise UsageError("LMDB files need the package lmdb.", hint='pip install "jmp-calc[data]"') from error
    return lmdb


def _open(path: Path) -> Any:
    lmdb = import_lmdb()
    try:
        environment = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, readahead=False, meminit=False
        )
    except (lmdb.Error, OSError) as error:
        raise BadInputError(
            f"{path.name} is not a readable LMDB file: {error}.", where=str(path), hint="fetch it again"
        ) from error
    # LMDB maps the file: to read a page behind its end would end the program with SIGBUS.
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if path.stat().st_size < needed:
        environment.close()
        raise BadInputError(
            f"{path.name} is cut off: {path.stat().st_size} of {needed} bytes.",
            where=str(path),
            hint="fetch it again",
        )
    return environment
