"""Molecules of QM9 with their scalar properties, whichever of its files they were read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.frame import Frame
from .base import FrameSource, molecule_frame

TARGETS = (
    "mu",
    "alpha",
    "eps_HOMO",
    "eps_LUMO",
    "delta_eps",
    "R_2_Abs",
    "ZPVE",
    "U_0",
    "U",
    "H",
    "G",
    "c_v",
    "U_0_ATOM",
    "U_ATOM",
    "H_ATOM",
    "G_ATOM",
    "A",
    "B",
    "C",
)
"""Order of the graph form; the first twelve are the benchmark."""


class QM9Frames(FrameSource):
    """Molecules with their properties as columns."""

    def __init__(
        self,
        path: Path,
        offset: np.ndarray,
        numbers: np.ndarray,
        positions: np.ndarray,
        names: tuple[str, ...],
        targets: np.ndarray,
    ) -> None:
        """Args:
        path: the file.
        offset: (F + 1,) first atom of each molecule.
        numbers: (A,).
        positions: (A, 3) Å.
        names: ``gdb_k`` of each molecule.
        targets: (F, 19) float64 in ``UNITS``; NaN where a form lacks a property.
        """
        self.path, self._offset, self._numbers, self._positions = path, offset, numbers, positions
        self.names, self.targets = names, targets

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_atoms(self) -> np.ndarray:
        """(molecules,) int64."""
        return np.diff(self._offset)

    def __getitem__(self, index: int) -> Frame:
        atoms = slice(int(self._offset[index]), int(self._offset[index + 1]))
        present = zip(TARGETS, self.targets[index].tolist())
        return molecule_frame(
            self._numbers[atoms],
            self._positions[atoms],
            self.path.name,
            int(index),
            "qm9",
            identifier=self.names[index],
            targets={name: value for name, value in present if not np.isnan(value)},
        )
