"""ASE's LMDB databases (``.aselmdb``, as fairchem publishes them): zlib-packed JSON rows, read without
ase-db-backends."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BadInputError
from .files import Index, select
from .images import row_atoms
from .lmdb import LmdbFile
from .raw_frame import RawFrame, RawStream, from_atoms

MAX_ROW_BYTES = 1 << 28
_RESERVED = {"nextid", "deleted_ids", "metadata"}


def stream_aselmdb(path: Path, index: Index) -> RawStream:
    """Selected rows in the order of their ids (deleted ones are not there), one after the other.

    Reading raises BadInputError naming the row for one that is damaged or has no structure.
    """
    stream = RawStream(fraction=0.0)
    stream.frames = select(_rows(path, stream), index)
    return stream


def _rows(path: Path, stream: RawStream) -> Iterator[RawFrame]:
    file = LmdbFile(path)
    names = set(file.names())
    ids = sorted(int(name) for name in names if name.isdigit())
    if not ids and not names & _RESERVED:
        raise BadInputError(
            f"{path.name} is no ASE database.",
            where=str(path),
            hint="OC20 and OC22 databases are read with the data set's own reader",
        )
    for index, number in enumerate(ids):
        stream.fraction = (index + 1) / len(ids)
        yield _raw(_row(file.get(str(number)), f"{path} row {number}"), index, f"{path} row {number}")


def _row(data: bytes | None, where: str) -> dict[str, Any]:
    from ase.io.jsonio import decode

    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data or b"", MAX_ROW_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"more than {MAX_ROW_BYTES} bytes")
        row = decode(text.decode("utf-8"))
    # ASE's decoder raises whatever a broken text makes it raise.
    except Exception as error:
        raise BadInputError(
            f"The row cannot be read: {error}.", where=where, hint="fetch the file again"
        ) from error
    if not isinstance(row, dict):
        raise BadInputError(f"The row is a {type(row).__name__}.", where=where)
    return row


def _raw(row: dict[str, Any], index: int, where: str) -> RawFrame:
    from ase.db.row import AtomsRow

    try:
        atoms = row_atoms(AtomsRow({key: value for key, value in row.items() if value is not None}))
    # ASE's classes raise whatever a row that is none makes them raise.
    except Exception as error:
        raise BadInputError(f"The row has no structure ({error!r}).", where=where) from error
    return from_atoms(atoms, index)
