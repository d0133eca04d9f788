"""Crystals with one scalar property: the structure dictionaries of MatBench and QMOF, and frames made of
them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from jmp_calc.errors import BadInputError

from ...data.frame import Frame
from ..base import FrameSource

_HYDROGEN = {"D": 1, "T": 1}


@dataclass(frozen=True, eq=False)
class Crystal:
    """One periodic structure and its property."""

    identifier: str
    numbers: np.ndarray
    """(N,) uint8"""
    positions: np.ndarray
    """(N, 3) Å, as in the file: possibly outside the cell"""
    cell: np.ndarray
    """(3, 3) Å"""
    target: float | None
    """None: the data set has no value."""


class CrystalFrames(FrameSource):
    """Crystals of one task."""

    def __init__(self, path: Path, group: str, target: str, crystals: list[Crystal]) -> None:
        self.path, self.group, self.target, self.crystals = path, group, target, crystals

    def __len__(self) -> int:
        return len(self.crystals)

    @property
    def n_atoms(self) -> np.ndarray:
        """(crystals,) int64."""
        return np.array([len(crystal.numbers) for crystal in self.crystals], dtype=np.int64)

    def __getitem__(self, index: int) -> Frame:
        crystal = self.crystals[index]
        return Frame(
            numbers=crystal.numbers.astype(np.int64),
            positions=crystal.positions,
            cell=crystal.cell,
            pbc=np.ones(3, dtype=bool),
            energy=None,
            forces=None,
            stress=None,
            group=self.group,
            source=self.path.name,
            index=int(index),
            identifier=crystal.identifier,
            targets={} if crystal.target is None else {self.target: crystal.target},
        )


def parse_structure(data: Any, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (N,), positions (N, 3) Å and cell (3, 3) Å of a pymatgen Structure dictionary.

    Elements come from the species (labels may carry numbers). BadInputError, naming ``where`` and the site,
    for a partial occupancy and anything incomplete.
    """
    try:
        sites, cell = data["sites"], np.asarray(data["lattice"]["matrix"], dtype=float)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInputError(
            f"There is no structure with lattice and sites ({error!r}).", where=where
        ) from error
    if not sites or cell.shape != (3, 3):
        raise BadInputError(
            f"The structure has {len(sites)} sites and a lattice of shape {cell.shape}.", where=where
        )
    numbers = [_number(site, f"{where} site {i}") for i, site in enumerate(sites)]
    try:
        positions = np.array(
            [site["xyz"] if "xyz" in site else np.asarray(site["abc"], float) @ cell for site in sites],
            dtype=float,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadInputError(f"A site has no coordinates ({error!r}).", where=where) from error
    if positions.shape != (len(numbers), 3):
        raise BadInputError(f"The coordinates have shape {positions.shape}.", where=where)
    return np.array(numbers, dtype=np.uint8), positions, cell


def _number(site: Any, where: str) -> int:
    try:
        species = site["species"]
        symbol, occupancy = str(species[0]["element"]), float(species[0].get("occu", 1.0))
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise BadInputError(f"The site has no species ({error!r}).", where=where) from error
    if len(species) != 1 or abs(occupancy - 1.0) > 1e-6:
        raise BadInputError(
            "The site is partially occupied or shared.",
            where=where,
            hint="only ordered structures can be used",
        )
    number = _HYDROGEN.get(symbol) or atomic_numbers.get(symbol)
    if not number:
        raise BadInputError(f"{symbol!r} is not an element.", where=where)
    return number
