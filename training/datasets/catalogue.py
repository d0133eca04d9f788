"""Where the data sets are published, and fetching their files: resumable, checked, unpacked."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.zoo.download import Expected, download

from .base import choose

CATALOGUE = Path(__file__).with_name("catalogue.toml")
UNKNOWN = "not published"
MAX_BYTES = 1 << 40
"""Of a file whose size is not published; the largest set, OC20, has files of hundreds of gigabytes."""
_MAGIC = {".zip": (b"PK",), ".npz": (b"PK",), ".h5": (b"\x89HDF",), ".gz": (b"\x1f\x8b",), ".bz2": (b"BZ",)}
_PACKED = (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz")


@dataclass(frozen=True)
class PublishedFile:
    """One file of a data set as its publisher offers it."""

    name: str
    url: str | None = None
    """None: the address is not known here."""
    size: int | None = None
    """Bytes."""
    about: str = ""
    """Size in words where the number of bytes is not known."""
    sha256: str | None = None
    md5: str | None = None
    unpack: bool = True


@dataclass(frozen=True)
class Publication:
    """One data set."""

    name: str
    title: str
    page: str
    """Of the publisher, for people."""
    licence: str = "see the publisher's page"
    files: tuple[PublishedFile, ...] = ()


def load_catalogue(path: Path = CATALOGUE) -> dict[str, Publication]:
    """All publications by name."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _publication(name, entry) for name, entry in entries.items()}


def fetch(
    publication: Publication,
    folder: Path,
    names: Sequence[str] = (),
    *,
    unpack: bool = True,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Download files of a data set into ``folder`` and unpack archives there; returns the downloaded files.

    What is there already is not fetched again, and an interrupted download goes on where it stopped.
    UsageError for an unknown name, or if no address is known; ModelError if the download fails or the
    checksum is wrong.
    """
    known = {file.name: file for file in publication.files}
    chosen = [known[choose(name, tuple(known), f"file of {publication.name}")] for name in names] or list(
        known.values()
    )
    if not chosen or any(file.url is None for file in chosen):
        raise UsageError(
            "No address is known for "
            f"{', '.join(f.name for f in chosen if f.url is None) or publication.name}.",
            where=publication.page,
            hint="fetch it by hand from the publisher's page",
        )
    fetched = []
    for file in chosen:
        assert file.url is not None
        target = folder / file.name
        expected = Expected(
            file.size,
            file.sha256,
            _MAGIC.get(target.suffix, ()),
            md5=file.md5,
            what="data",
            home="choose with -o",
            by_hand=f"or fetch the file by other means and put it into {folder}",
            max_bytes=MAX_BYTES,
        )
        found = download(file.url, target, expected)
        checked = "checked" if file.sha256 or file.md5 else "no checksum published"
        say(f"{target}  sha256 {found}  {checked}")
        fetched.append(target)
        if unpack and file.unpack:
            for name in unpack_archive(target, folder):
                say(f"unpacked {name}")
    return fetched


def unpack_archive(path: Path, folder: Path) -> list[str]:
    """Unpack a zip or tar archive, and the archives inside it, into ``folder``; returns the names of what was
    unpacked.

    Entries that lead out of the folder are refused. BadInputError for a damaged archive.
    """
    if not path.name.endswith(_PACKED):
        return []
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                archive.extractall(folder)  # drops absolute paths and .. by itself
        else:
            with tarfile.open(path) as archive:
                names = archive.getnames()
                archive.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise BadInputError(
            f"{path.name} cannot be unpacked: {error}.", where=str(path), hint="fetch it again"
        ) from error
    inner = [folder / name for name in names if name.endswith(_PACKED)]
    return [path.name, *(name for p in inner if p.is_file() for name in unpack_archive(p, folder))]


def _publication(name: str, entry: dict[str, Any]) -> Publication:
    files = tuple(PublishedFile(**file) for file in entry.get("files", ()))
    rest = {key: value for key, value in entry.items() if key != "files"}
    return Publication(name=name, files=files, **rest)
