"""Files that appear complete or not at all, whatever ends the process while they are written.

The content goes to ``.NAME.<random>.tmp`` beside the file, is forced to disk and renamed. A process that is
killed leaves the temporary file; ``remove_partial`` takes it away when nobody writes into the folder any
more.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to; it replaces ``path`` at the end of the block unless the block raises.

    OSErrors name ``path``, also those of a file object, which name nothing themselves.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp files are private
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
    except OSError as err:
        if err.filename is None or str(err.filename) == name:
            err.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: str | os.PathLike[str]) -> None:
    """Force to disk what was written to a file; nothing where there is none."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        os.fsync(file.fileno())


def remove_partial(folder: Path, names: Iterable[str]) -> None:
    """Delete what killed processes left of the files ``names``; the caller holds the lock of the folder."""
    for name in names:
        for path in folder.glob(f".{glob.escape(name)}.*.tmp"):
            path.unlink(missing_ok=True)
