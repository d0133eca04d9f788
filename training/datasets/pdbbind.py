"""PDBBind v2013 core (``datasets.md`` section 11): 193 complexes of ligand and pocket with their binding
affinity."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError

from ..data.frame import Frame
from .base import FrameSource, Parts, choose, find_file, molecule_frame, shuffled_parts
from .formats.molfile import joined, read_pdb, sdf_blocks

TARGET = "-log10 K"
SPLITS = ("random",)
_ROOTS = ("", "v2013-core/", "pdbbind/v2013-core/")


class Complexes(FrameSource):
    """Ligand atoms followed by pocket atoms; read from their files when asked for."""

    def __init__(self, path: Path, entries: list[tuple[str, float, Path]]) -> None:
        """``entries``: identifier, -log10 K, folder."""
        self.path, self._entries = path, entries
        self._sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def n_atoms(self) -> np.ndarray:
        """(complexes,) int64; the files are read at first use."""
        if self._sizes is None:
            self._sizes = np.array([frame.n_atoms for frame in self], dtype=np.int64)
        return self._sizes

    def __getitem__(self, index: int) -> Frame:
        name, label, folder = self._entries[index]
        ligand = folder / f"{name}_ligand.sdf"
        for path in (ligand, folder / f"{name}_pocket.pdb"):
            if not path.is_file():
                raise BadInputError(f"The complex {name} has no {path.name}.", where=str(path))
        molecule = next(sdf_blocks(ligand), None)
        if molecule is None:
            raise BadInputError(f"{ligand.name} has no molecule.", where=str(ligand))
        numbers, positions = joined(molecule[1], read_pdb(folder / f"{name}_pocket.pdb"))
        return molecule_frame(
            numbers,
            positions,
            self.path.name,
            int(index),
            "pdbbind",
            identifier=name,
            targets={TARGET: label},
        )


def open_pdbbind(folder: Path, member: str = "core") -> FrameSource:
    """The complexes of ``pdbbind_v2013_core.csv`` in its order; the pocket is used, not the whole protein.

    Raises:
        BadInputError: naming the row.
    """
    choose(member, ("core",), "part of PDBBind")
    names = [f"{up}pdbbind_v2013_core.csv" for up in ("", "pdbbind/", "../")]
    table = find_file(folder, names, "PDBBind")
    root = next(
        (
            table.parent / r
            for r in _ROOTS
            if (table.parent / r).is_dir() and _has_complexes(table.parent / r)
        ),
        folder,
    )
    entries = []
    with table.open(newline="", encoding="utf-8") as file:
        for i, row in enumerate(csv.DictReader(file)):
            try:
                name, label = row["pdb_id"], float(row["label"])
            except (KeyError, TypeError, ValueError) as error:
                raise BadInputError(
                    f"The row has no pdb_id and label ({error!r}).", where=f"{table} row {i}"
                ) from error
            if not math.isfinite(label):
                raise BadInputError(f"The label is {label}.", where=f"{table} row {i} key label")
            entries.append((name, label, root / name))
    if not entries:
        raise BadInputError(f"{table.name} has no rows.", where=str(table))
    return Complexes(table, entries)


def split_pdbbind(source: FrameSource, split: str = "random") -> Parts:
    """80 / 10 / 10 % of the legacy shuffle with seed 42 (the official one is unseeded)."""
    choose(split, SPLITS, "split of PDBBind")
    count = len(source)
    return shuffled_parts(count, int(0.8 * count), int(0.9 * count) - int(0.8 * count))


def _has_complexes(folder: Path) -> bool:
    return any(folder.glob("*/*_ligand.sdf"))
