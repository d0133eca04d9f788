"""Files of named models on this machine and the record of their checksums.

``<home>/models/<name>/<file>`` with ``<file>.json`` beside it (checksum, size, time of the check). The
checksum of the first download from the publisher stays in ``<home>/hashes.json`` even when the file is
removed, so that a later download must be the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ModelError
from ..io.regular import open_regular, read_bounded
from ..io.schema import parse
from .archive import TorchArchive
from .container import describe_model, write_atomically
from .download import Expected, Progress, download, locked
from .header import plain_json
from .registry import RegistryEntry, home, require_home

OFFLINE = "JMP_CALC_OFFLINE"
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    """What is known about a cached file; ``size`` and ``mtime_ns`` tell whether the checksum is still
    valid."""

    sha256: str
    size: int
    mtime_ns: int
    source: str
    """Address, or the path that was given to ``models add``."""
    published: bool
    """False: added by hand and not identical to the published file as far as that is known."""


@dataclass(frozen=True)
class CachedFile:
    """A verified file of a named model."""

    path: Path
    sha256: str
    published: bool = True


def offline() -> bool:
    """Whether JMP_CALC_OFFLINE forbids downloads."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def cached_path(name: str, entry: RegistryEntry) -> Path:
    """Where the file of a named model is or will be."""
    if entry.bundled is not None:
        return entry.bundled
    return home() / "models" / name / Path(urlsplit(entry.url or "").path).name


def read_record(path: Path) -> Record | None:
    """The record beside a cached file; None if there is none.

    Raises:
        ModelError: the record is damaged or cannot be read.
    """
    try:
        data = read_bounded(record_path(path), MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise ModelError(
            f"The record of a cached model cannot be read: {err.strerror}.", where=str(record_path(path))
        ) from err
    try:
        return parse(Record, plain_json(data.decode("utf-8")), str(record_path(path)))
    except (ValueError, ModelError) as err:
        raise ModelError(
            "The record of a cached model is damaged.",
            where=str(record_path(path)),
            hint="remove the model and fetch or add it again",
        ) from err


def record_path(path: Path) -> Path:
    """Path of the record beside a cached file."""
    return path.with_name(path.name + ".json")


def checked(name: str, entry: RegistryEntry, *, rehash: bool = False) -> CachedFile | None:
    """The cached file after its check, None if it is not there.

    The hash is computed again only if size or time differ from the record, or with ``rehash``.

    Raises:
        ModelError: the file differs from what was recorded.
    """
    path = cached_path(name, entry)
    if not path.is_file():
        return None
    if entry.bundled is not None:
        return _checked_bundled(path, entry)
    record, status = read_record(path), path.stat()
    if (
        record is not None
        and not rehash
        and (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)
    ):
        return CachedFile(path, record.sha256, record.published)
    found = sha256_of(path)
    if record is None:  # a crash between the two writes of fetch or add, or a file put there by hand
        record = _record(path, found, "found in the cache", _is_published(name, entry, found, status.st_size))
        _write_record(path, record)
    elif found != record.sha256:
        raise ModelError(
            f"The file of {name} is not the one that was recorded: checksum {found[:16]}… instead of "
            f"{record.sha256[:16]}….",
            where=str(path),
            hint=f"run: jmp-calc models remove {name}, then fetch or add it again",
        )
    elif os.access(path.parent, os.W_OK):
        _write_record(path, _record(path, found, record.source, record.published))
    return CachedFile(path, found, record.published)


def fetch(name: str, entry: RegistryEntry, *, progress: Progress | None = None) -> CachedFile:
    """The file of a named model, downloaded and recorded if it is not in the cache.

    Raises:
        ModelError: nothing may be fetched, the bundled file is missing, or a download fails.
    """
    present = checked(name, entry)
    if present is not None:
        return present
    if entry.url is None:
        raise ModelError(
            f"The bundled file of {name} is missing.", where=str(entry.bundled), hint="install again"
        )
    path = cached_path(name, entry)
    require_home()
    if offline():
        raise ModelError(
            f"{name} is not on this machine and {OFFLINE} forbids to fetch it.",
            where=entry.url,
            hint=f"fetch it elsewhere and run: jmp-calc models add {name} PATH",
        )
    known = entry.sha256 or _known_hashes().get(entry.url)
    expected = Expected(entry.size, known, _magic(path), check=_check_whole)
    sha256 = download(entry.url, path, expected, progress=progress)
    with locked(path):
        if read_record(path) is None:
            _write_record(path, _record(path, sha256, entry.url, True))
            if entry.sha256 is None:
                _remember_hash(entry.url, sha256)
    return CachedFile(path, sha256)


def add(name: str, entry: RegistryEntry, source: Path) -> CachedFile:
    """Register a file that was fetched by other means: it is linked or copied into the cache and recorded.

    Raises:
        ModelError: there is a different file already, or the checksum is known and different.
    """
    if entry.bundled is not None:
        raise ModelError(
            f"{name} is part of the package and cannot be replaced.", hint="use the path of your file"
        )
    require_home()
    target, found = cached_path(name, entry), sha256_of(source)
    if entry.sha256 is not None and found != entry.sha256:
        raise ModelError(
            f"This is not the published file of {name}: its checksum is {found[:16]}….", where=str(source)
        )
    present = checked(name, entry)
    if present is not None:
        if present.sha256 == found:
            return present
        raise ModelError(
            f"Another file is registered as {name}.",
            where=str(target),
            hint=f"run first: jmp-calc models remove {name}",
        )
    published = _is_published(name, entry, found, source.stat().st_size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            _place(source, target)
            _write_record(target, _record(target, found, str(source.absolute()), published))
    except OSError as err:
        raise ModelError(
            f"Cannot write to the model folder: {err.strerror}.",
            where=str(target.parent),
            hint="set JMP_CALC_HOME to a folder that you can write to",
        ) from err
    return CachedFile(target, found, published)


def remove(name: str, entry: RegistryEntry) -> bool:
    """Delete the cached file, parts of downloads and the record; False if there was nothing.

    Raises:
        ModelError: the model is part of the package.
    """
    if entry.bundled is not None:
        raise ModelError(f"{name} is part of the package and cannot be removed.")
    path = cached_path(name, entry)
    if not path.parent.is_dir():
        return False
    with locked(path):
        names = (path, record_path(path), *(Path(f"{path}{end}") for end in (".part", ".part.json", ".new")))
        present = [item for item in names if item.exists()]
        for item in present:
            item.unlink()
    return bool(present)


def sha256_of(path: Path) -> str:
    """Hex digest of a file; ModelError if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise ModelError(f"Cannot read the file: {err.strerror}.", where=str(path)) from err


def _checked_bundled(path: Path, entry: RegistryEntry) -> CachedFile:
    found = sha256_of(path)
    if entry.sha256 is not None and found != entry.sha256:
        raise ModelError(
            f"The file of {path.stem} is damaged: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}….",
            where=str(path),
            hint="install jmp-calc again: pip install --force-reinstall --no-deps jmp-calc",
        )
    return CachedFile(path, found)


def _check_whole(path: Path) -> None:
    """ModelError for a model file without its end; the archive of an official one has its directory there."""
    with open_regular(path) as file:
        official = file.read(2) == b"PK"
    if not official:
        describe_model(path)
        return
    with TorchArchive(path):
        pass


def _magic(path: Path) -> tuple[bytes, ...]:
    return (b"PK",) if path.suffix == ".pt" else ()


def _is_published(name: str, entry: RegistryEntry, sha256: str, size: int) -> bool:
    known = entry.sha256 or _known_hashes().get(entry.url or "")
    return sha256 == known if known is not None else entry.size is None or size == entry.size


def _place(source: Path, target: Path) -> None:
    new = Path(f"{target}.new")  # not the .part of a download, which the next one writes into
    new.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), new)  # the published files have gigabytes: no second copy on one disk
    except OSError:
        shutil.copyfile(source, new)
    os.replace(new, target)


def _record(path: Path, sha256: str, source: str, published: bool) -> Record:
    status = path.stat()
    return Record(sha256, status.st_size, status.st_mtime_ns, source, published)


def _write_record(path: Path, record: Record) -> None:
    write_atomically(record_path(path), [json.dumps(asdict(record), indent=1).encode()])


def _known_hashes() -> dict[str, str]:
    """Address -> checksum of the first download on this machine; ModelError if they cannot be read."""
    path = home() / "hashes.json"
    try:
        data = plain_json(read_bounded(path, MAX_RECORD_BYTES).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as err:
        raise ModelError(
            "The checksums of earlier downloads cannot be read.",
            where=str(path),
            hint="remove the file; then the next download of a model is taken as the right one",
        ) from err
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ModelError("The checksums of earlier downloads are damaged.", where=str(path), hint="remove it")
    return data


def _remember_hash(url: str, sha256: str) -> None:
    path = home() / "hashes.json"
    with locked(path):
        write_atomically(path, [json.dumps({url: sha256} | _known_hashes(), indent=1).encode()])


def forget_hash(entry: RegistryEntry) -> None:
    """Drop the checksum of the first download, so that the publisher may have a new file."""
    path, known = home() / "hashes.json", _known_hashes()
    if known.pop(entry.url or "", None) is not None:
        with locked(path):
            write_atomically(path, [json.dumps(known, indent=1).encode()])
