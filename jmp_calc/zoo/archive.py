"""The zip container that ``torch.save`` writes, read without trusting any number in it.

Entries are located from the central directory and checked against their local headers; tensor data are read
straight into their destination, so nothing is held twice and nothing is extracted to disk.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..errors import ModelError
from ..io.regular import open_regular

MAX_PICKLE_BYTES = 16 * 1024**2
"""The pickle of jmp-l (734 + 3 x 585 tensors, no data) is below 1 MB."""
MAX_ENTRIES = 200_000
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CHUNK = 16 * 1024**2
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Entry:
    """Place of one stored (uncompressed) zip entry in the file, bytes."""

    start: int
    size: int
    crc: int


class TorchArchive:
    """A ``torch.save`` zip file opened for reading (a context manager); raises ModelError if it is not
    one."""

    def __init__(
        self, path: str | Path, *, max_entries: int = MAX_ENTRIES, max_pickle_bytes: int = MAX_PICKLE_BYTES
    ) -> None:
        self.path, self._max_pickle_bytes = Path(path), max_pickle_bytes
        self._sound: set[str] = set()
        """Storages whose checksum was found right."""
        self._file = _open(self.path)
        try:
            self._entries = _locate_entries(self._file, self.path, max_entries)
            self._root = self._find_root()
            self._check_byte_order()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._file.close()

    def pickle_bytes(self) -> bytes:
        """The bytes of ``data.pkl``."""
        entry = self._entries[f"{self._root}/data.pkl"]
        if entry.size > self._max_pickle_bytes:
            raise self._error(
                f"its data.pkl has {entry.size} bytes, more than the {self._max_pickle_bytes} allowed"
            )
        return self._read_checked(entry)

    def storage_size(self, key: str) -> int:
        """Bytes of the storage called ``key``; ModelError if the file has none."""
        return self._storage(key).size

    def read_storage(self, key: str, offset: int, target: memoryview) -> None:
        """Fill ``target`` (bytes) from the storage ``key`` at ``offset``, after the test of the storage's
        checksum."""
        entry = self._storage(key)
        if offset < 0 or offset + len(target) > entry.size:
            raise self._error(f"a tensor reaches beyond the end of storage {key}")
        if len(target) < entry.size and key not in self._sound:  # several tensors may share one storage
            self._check_storage(key, entry)
            self._sound.add(key)
        self._file.seek(entry.start + offset)
        crc, done = 0, 0
        while done < len(target):
            count = self._file.readinto(target[done : done + _CHUNK])  # type: ignore[attr-defined]
            if not count:
                raise self._error("the file ends inside a tensor", "it is truncated: fetch it again")
            crc = zlib.crc32(target[done : done + count], crc)
            done += count
        if len(target) == entry.size and crc != entry.crc:
            raise self._damaged(key)

    def _check_storage(self, key: str, entry: Entry) -> None:
        """Read a whole storage for its checksum."""
        self._file.seek(entry.start)
        crc, left = 0, entry.size
        while left and (part := self._file.read(min(left, _CHUNK))):
            crc, left = zlib.crc32(part, crc), left - len(part)
        if left or crc != entry.crc:
            raise self._damaged(key)

    def _damaged(self, key: str) -> ModelError:
        return self._error(f"the checksum of storage {key} is wrong", "the file is damaged: fetch it again")

    def _storage(self, key: str) -> Entry:
        entry = self._entries.get(f"{self._root}/data/{key}")
        if entry is None:
            raise self._error(f"the tensor storage {key!r} is missing", "the file is damaged: fetch it again")
        return entry

    def _find_root(self) -> str:
        names = [name for name in self._entries if name.endswith("/data.pkl") and name.count("/") == 1]
        roots = [name.removesuffix("/data.pkl") for name in names]
        if len(roots) != 1:
            raise self._error("the zip archive has no single <name>/data.pkl, so torch.save did not write it")
        root = roots[0]
        if f"{root}/constants.pkl" in self._entries or any(
            n.startswith(f"{root}/code/") for n in self._entries
        ):
            raise self._error(
                "it is a TorchScript archive, which contains code", "give a checkpoint (.pt) instead"
            )
        return root

    def _check_byte_order(self) -> None:
        entry = self._entries.get(f"{self._root}/byteorder")
        if entry is not None and (entry.size > 16 or self._read_checked(entry) != b"little"):
            raise self._error(
                "its numbers are not little-endian", "write the file on a little-endian machine"
            )

    def _read_checked(self, entry: Entry) -> bytes:
        self._file.seek(entry.start)
        data = self._file.read(entry.size)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise self._error("a zip entry is damaged (wrong length or checksum)", "fetch the file again")
        return data

    def _error(self, fact: str, hint: str | None = None) -> ModelError:
        return ModelError(f"Cannot read the checkpoint: {fact}.", where=str(self.path), hint=hint)


def _open(path: Path) -> BinaryIO:
    try:
        file = open_regular(path)
    except OSError as err:
        raise ModelError(f"Cannot open the model file: {err.strerror}.", where=str(path)) from err
    head = file.read(64)
    if head[:2] != b"PK":
        file.close()
        raise ModelError(
            f"This is not a torch.save zip archive: {_guess(head)}.", where=str(path), hint=_hint(head)
        )
    return file


def _guess(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.lstrip()[:1] == b"<":
        return "it is an HTML or XML page"
    if head[:1] == b"\x80":
        return "it is a bare pickle (the .pt format before PyTorch 1.6), which is never read"
    return "it is a file of text" if _is_text(head) else "unknown file type"


def _hint(head: bytes) -> str:
    if head[:1] == b"\x80":
        return (
            "official JMP checkpoints are zip archives; load and save the file again with a recent "
            "PyTorch you trust"
        )
    if head and head.lstrip()[:1] != b"<" and _is_text(head):
        return "a model is a .pt or .safetensors file; structures go to the argument STRUCT of other commands"
    return "fetch the file again"


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)


def _locate_entries(file: BinaryIO, path: Path, max_entries: int) -> dict[str, Entry]:
    """Name -> place of every entry; refuses compressed, encrypted, overlapping, doubled or lying entries."""

    def error(fact: str, hint: str | None = None) -> ModelError:
        return ModelError(f"Cannot read the checkpoint: {fact}.", where=str(path), hint=hint)

    try:
        with zipfile.ZipFile(file) as archive:
            infos, directory = archive.infolist(), archive.start_dir
    except (
        zipfile.BadZipFile,
        ValueError,
        struct.error,
        NotImplementedError,
        UnicodeDecodeError,
        OSError,
    ) as err:
        raise error(f"broken zip archive ({err})", "it is truncated or damaged: fetch it again") from err
    if len(infos) > max_entries:
        raise error(f"the zip archive has {len(infos)} entries, more than any checkpoint")
    entries: dict[str, Entry] = {}
    end = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        name = info.orig_filename
        if name in entries:
            raise error(f"the zip archive has two entries called {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise error(
                f"the zip entry {name!r} is compressed or encrypted", "torch.save writes plain entries only"
            )
        if info.file_size != info.compress_size:
            raise error(f"the zip entry {name!r} states two different sizes")
        start = _data_start(file, info)
        if start is None or info.header_offset < end or start + info.file_size > directory:
            raise error(f"the zip entry {name!r} overlaps another one or lies outside the file")
        end = start + info.file_size
        entries[name] = Entry(start, info.file_size, info.CRC)
    return entries


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int | None:
    """Offset of the entry's first data byte, None if its local header is not what the directory says."""
    if info.header_offset < 0:
        return None
    file.seek(info.header_offset)
    raw = file.read(_LOCAL_HEADER.size)
    if len(raw) != _LOCAL_HEADER.size:
        return None
    fields = _LOCAL_HEADER.unpack(raw)
    signature, method, name_length, extra_length = fields[0], fields[3], fields[9], fields[10]
    name = file.read(name_length)
    if signature != b"PK\x03\x04" or method != zipfile.ZIP_STORED:
        return None
    if name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
        return None
    return info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
