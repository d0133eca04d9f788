"""Where the data sets are published, and fetching their files: resumable, checked, unpacked."""

from __future__ import annotations

import lzma
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.zoo.download import Expected, download

from .base import choose

CATALOGUE = Path(__file__).with_name("catalogue.toml")
UNKNOWN = "not published"
MAX_BYTES = 1 << 40
"""Of a file whose size is not published; the largest set, OC20, has files of hundreds of gigabytes."""
_MAGIC = {".zip": (b"PK",), ".npz": (b"PK",), ".h5": (b"\x89HDF",), ".gz": (b"\x1f\x8b",), ".bz2": (b"BZ",)}
MAX_MEMBERS = 1_000_000
"""Of an archive with the archives in it."""
MAX_NESTING = 3
"""Archives inside each other; rMD17 has two."""
MAX_EXTENDED = 1 << 20
"""Bytes of an extended header in a tar archive."""
MAX_RATIO = 200
"""Bytes unpacked by bytes of the archive; text of numbers has about 10."""
FREE_BYTES = 1 << 30
"""That any archive may unpack to, however small it is."""
_PACKED = (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz")
_DISTRUST = "do not trust this file; fetch it from its publisher, or unpack it by hand"
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError,
)  # fmt: skip
"""NotImplementedError: a zip with unknown compression; RuntimeError: one with a password."""


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

    Entries that lead out of the folder are refused. BadInputError for a damaged archive, and before anything
    is written for one with more members, bytes or archives inside each other than any data set has.
    """
    if not path.name.endswith(_PACKED):
        return []
    return _unpack(path, folder, allowance(path), 1)


@dataclass
class Allowance:
    """What an archive with all archives in it may still unpack to."""

    name: str
    n_bytes: int
    n_members: int

    def take(self, n_bytes: int, where: Path) -> None:
        """One more member of this size; BadInputError if there is none left."""
        self.n_bytes, self.n_members = self.n_bytes - n_bytes, self.n_members - 1
        if self.n_bytes < 0:
            raise self.refusal("unpacks to far more bytes than data of its size have", where)
        if self.n_members < 0:
            raise self.refusal(f"has more members than any data set (the limit is {MAX_MEMBERS})", where)

    def refusal(self, fact: str, where: Path) -> BadInputError:
        """The error that says so of the outermost archive."""
        return BadInputError(f"{self.name} {fact}.", where=str(where), hint=_DISTRUST)


def allowance(path: Path) -> Allowance:
    """Of an archive that has not been opened."""
    return Allowance(path.name, path.stat().st_size * MAX_RATIO + FREE_BYTES, MAX_MEMBERS)


def _unpack(path: Path, folder: Path, left: Allowance, depth: int) -> list[str]:
    if depth > MAX_NESTING:
        raise left.refusal(f"has more than {MAX_NESTING} archives inside each other", path)
    try:
        names = (_unpack_zip if path.suffix == ".zip" else _unpack_tar)(path, folder, left)
    except DAMAGED as error:
        raise BadInputError(
            f"{path.name} cannot be unpacked: {error}.", where=str(path), hint="fetch it again"
        ) from error
    inner = [folder / name for name in dict.fromkeys(names) if name.endswith(_PACKED)]
    return [path.name, *(name for p in inner if p.is_file() for name in _unpack(p, folder, left, depth + 1))]


def _unpack_zip(path: Path, folder: Path, left: Allowance) -> list[str]:
    with zipfile.ZipFile(path) as archive:  # reading stops at the size that is stated
        for member in archive.infolist():
            left.take(member.file_size, path)
        archive.extractall(folder)  # drops absolute paths and .. by itself
        return archive.namelist()


class Member(tarfile.TarInfo):
    """One whose long name or other extended header, which tarfile reads at once, is of a sensible size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As tarfile's; ReadError for an extended header that is too long."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > MAX_EXTENDED:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def _unpack_tar(path: Path, folder: Path, left: Allowance) -> list[str]:
    with tarfile.open(path, tarinfo=Member) as archive:
        for member in archive:
            left.take(member.size, path)
    with tarfile.open(path, tarinfo=Member) as archive:
        archive.extractall(folder, filter="data")
        return archive.getnames()


def _publication(name: str, entry: dict[str, Any]) -> Publication:
    files = tuple(PublishedFile(**file) for file in entry.get("files", ()))
    rest = {key: value for key, value in entry.items() if key != "files"}
    return Publication(name=name, files=files, **rest)
