"""The data sets of a pre-training as one sequence of frames: from a pack in memory, or from record folders on disk."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from .labels import Frame
from .mixture import Mixture, MixtureSet
from .packed import Packed
from .tasks import Task

FORCE_SCALE_RANGE = (0.3, 2.0)
"""eV/Å: bounds of the force scale of a set (else nearly relaxed sets would be fitted below their noise)."""
ENERGY_LENGTH = 0.1
"""Å: energy errors per atom count in units of this times the force scale of the set."""


@dataclass(frozen=True, eq=False)
class SourceSet:
    """One data set: its frames, apart for training and validation, and the statistics of the training frames."""

    name: str
    train: Sequence[Frame]
    valid: Sequence[Frame]
    train_sizes: np.ndarray
    """(frames, 3) atoms, main edges, most main edges of one atom; may be a memory map."""
    valid_sizes: np.ndarray
    references: Mapping[int, float]
    """Linear reference, eV by atomic number."""
    energy_std: float
    """eV: population standard deviation of the referenced total energies."""
    force_rms: float
    """eV/Å, by component."""
    mean_atoms: float


class Joined(Sequence[Frame]):
    """Several sequences of frames, one after the other; frames are read when they are asked for."""

    def __init__(self, parts: Sequence[Sequence[Frame]]) -> None:
        self._parts = parts
        self._first = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def __len__(self) -> int:
        return int(self._first[-1])

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        part = bisect_right(self._first, index) - 1
        return self._parts[part][index - self._first[part]]


class PackedFrames(Sequence[Frame]):
    """Some frames of a pack."""

    def __init__(self, packed: Packed, indices: np.ndarray) -> None:
        self._packed, self._indices = packed, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self._packed.frame(int(i)) for i in self._indices[index]]
        return self._packed.frame(int(self._indices[index]))


def packed_sets(packed: Packed, mixture: Mixture, valid_frames: int | None = None) -> list[SourceSet]:
    """The sets of a pack without frames that are too large for the mixture; fewer validation frames where asked for."""
    atoms = np.diff(packed.offset)
    sizes = np.stack([atoms, packed.n_edges, packed.degree], axis=1).astype(np.int64)
    references = packed.reference_energies()
    sources = []
    for number, item in enumerate(packed.sets):
        members = packed.set_index == number
        train = np.flatnonzero(members & ~packed.valid & (packed.n_edges <= mixture.max_frame_edges))
        valid = np.flatnonzero(members & packed.valid)[:valid_frames]
        if not len(train):
            continue
        rest = (packed.energy - references)[train]
        sources.append(SourceSet(
            item.name, PackedFrames(packed, train), PackedFrames(packed, valid), sizes[train], sizes[valid],
            item.references, float(np.nanstd(rest)) if np.isfinite(rest).any() else 1.0, item.force_rms,
            float(atoms[train].mean()),
        ))
    return sources


def task_of(source: SourceSet, item: MixtureSet, mixture: Mixture) -> Task:
    """The units in which the errors of a set enter the loss.

    ``jmp``: referenced energies in units of their standard deviation, forces of their root mean square, force errors times
    the mean number of atoms (``training.md`` sections 3 and 8). ``force_scale``: energies per atom, forces and virials per
    atom in units of the force scale, so that no level of theory or temperature dominates.
    """
    task = Task(item.head, item.name, references=source.references, energy_margin=item.energy_margin,
                forces_margin=item.forces_margin, cutoff=item.cutoff)
    if mixture.normalisation == "jmp":
        return replace(task, energy_unit=source.energy_std or 1.0, energy_per_atom=False,
                       forces_unit=source.force_rms / round(source.mean_atoms))
    scale = force_scale(source.force_rms)
    return replace(task, energy_unit=ENERGY_LENGTH * scale, forces_unit=scale, stress_unit=None)


def force_scale(force_rms: float) -> float:
    """Unit of force errors of a set, eV/Å."""
    return float(np.clip(force_rms, *FORCE_SCALE_RANGE))
