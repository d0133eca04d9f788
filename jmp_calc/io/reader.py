"""The one door to files of structures: every command and the training read their frames here."""

from __future__ import annotations

import codecs
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInputError
from ..unread import check_whole_sites
from .ase_files import ase_frames, known_by_name
from .aselmdb import stream_aselmdb
from .extxyz import stream_extxyz
from .files import DAMAGED_PACKING, Index, check_file, damaged_packing, open_bytes, suffix
from .header import typed_value
from .npz import stream_npz
from .raw_frame import RawFrame, RawStream, from_atoms

XYZ_SUFFIXES = (".xyz", ".extxyz", ".exyz")
SUFFIXES = (*XYZ_SUFFIXES, ".traj", ".db", ".aselmdb", ".npz")
"""Files that are taken from a folder of structures, packed (.gz, .bz2, .xz) or not."""
UNLABELLED_SUFFIXES = (*SUFFIXES, ".cif", ".pdb", ".vasp")
"""The same where no labels are needed."""


def stream_file(path: Path, index: Index, *, allow_truncated: bool = False) -> RawStream:
    """The selected frames of a file in any format, one after the other where the format allows it.

    Raises BadInputError, at once or when the place is reached, for a file that is missing, no file, empty,
    unreadable, of unknown format, damaged, or cut short (unless allowed: then the complete frames are read),
    and for structures whose sites are not fully occupied by one element.
    """
    check_file(path)
    kind = suffix(path)
    with _readable(path):
        if kind in XYZ_SUFFIXES or (not kind and not known_by_name(path) and _starts_with_count(path)):
            stream = stream_extxyz(path, index, allow_truncated)
        elif kind == ".npz":
            stream = stream_npz(path, index)
        elif kind == ".aselmdb":
            stream = stream_aselmdb(path, index)
        else:
            stream = RawStream(
                from_atoms(atoms, number)
                for number, atoms in ase_frames(path, index, allow_truncated=allow_truncated)
            )
    stream.frames = _guarded(stream.frames, path)
    return stream


def _starts_with_count(path: Path) -> bool:
    with open_bytes(path) as stream:
        return stream.readline(100).removeprefix(codecs.BOM_UTF8).strip().isdigit()


def _guarded(frames: Iterator[RawFrame], path: Path) -> Iterator[RawFrame]:
    with _readable(path):
        for raw in frames:
            sites = {key: value for key, value in raw.info.items() if "occ" in str(key).lower()}
            sites = {key: typed_value(v) if isinstance(v, str) else v for key, v in sites.items()}
            check_whole_sites(sites, raw.arrays, where=f"{path}, frame {raw.index}")
            yield raw


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED_PACKING as error:
        raise damaged_packing(path) from error
    except (OSError, lzma.LZMAError) as error:
        raise BadInputError(
            f"The file cannot be read: {error}.", where=str(path), hint="check the file and its permissions"
        ) from error
