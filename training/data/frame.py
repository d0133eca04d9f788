"""One labelled structure, and a set of them with what was found while reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .keys import LabelKeys
from .target_labels import TargetKind


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure with its labels; a missing label is None."""

    numbers: np.ndarray
    """(N,) int64"""
    positions: np.ndarray
    """(N, 3) float64, Å"""
    cell: np.ndarray
    """(3, 3) float64, Å, rows are lattice vectors; zeros without a cell"""
    pbc: np.ndarray
    """(3,) bool"""
    energy: float | None
    """eV"""
    forces: np.ndarray | None
    """(N, 3) float64, eV/Å; those of constrained atoms as well"""
    stress: np.ndarray | None
    """(3, 3) float64, eV/Å^3, positive = tension; only for frames periodic in at least two directions"""
    group: str
    """``config_type`` of the file, or "default"."""
    source: str
    """Name of the file."""
    index: int
    """Number of the frame in its file, from 0."""
    tags: np.ndarray | None = None
    """(N,) int64 tags of the atoms where the file has them."""
    head: str | None = None
    """``head`` entry of the file, if any."""
    fixed: np.ndarray | None = None
    """(N,) bool: atoms that the calculation held in place, be it along one direction; None: not known or
    none."""
    origin: str | None = None
    """Molecular graph (SMILES) or composition that a sampled frame was made from, where its file says it."""
    prototype: str | None = None
    """Structure type that a sampled crystal was made from, where its file says it."""
    molecules: tuple[str, ...] = ()
    """Names of the molecules (``bonding.graph_name``) that a sampled frame was made from."""
    identifier: str | None = None
    """Name of the structure in its data set, where it has one."""
    targets: dict[str, float] = field(default_factory=dict)
    """Scalar properties by name, in the units of their data set; of a class its number, once the classes are
    known."""
    classes: dict[str, str] = field(default_factory=dict)
    """Names of classes by name of the property."""
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    """(3,) float64 vectors by name of the property, in the units of their data set."""

    @property
    def where(self) -> str:
        """The place to name in messages."""
        return f"{self.source} frame {self.index}"

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Cell volume in Å^3 (0 without a cell)."""
        return float(abs(np.linalg.det(self.cell)))


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """The training frames of one file, its isolated atoms, and what was decided while reading."""

    frames: tuple[Frame, ...]
    isolated: dict[int, float] = field(default_factory=dict)
    """Energy in eV of isolated atoms by atomic number."""
    keys_used: LabelKeys = LabelKeys()
    messages: tuple[str, ...] = ()
    target_kind: TargetKind = "scalar"
    """What the target was read as."""


def spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """At most ``count`` of the frames at even distances, the first and the last among them."""
    return list(each_of(frames, count))


def each_of(frames: Sequence[Frame], count: int) -> Iterator[Frame]:
    """The same one by one, for sequences that read their frames when they are asked for."""
    for index in np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int).tolist():
        yield frames[index]
