"""Data sets of a pre-training that are read from record folders while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError, UsageError

from ..data.frame import Frame
from ..records.record_set import RecordSet
from .filters import wanted_labels
from .mixture import Mixture, MixtureSet, holdout_reason
from .pack import PackedSet
from .source_set import LazyFrames, Part, SourceSet

TYPICAL_NEIGHBORS = 30
"""Main edges per atom of the published graphs, for records whose edges were not counted."""


class Wanted(LazyFrames):
    """The frames of records with the labels that a set of the recipe trains on."""

    def __init__(self, frames: Sequence[Frame], item: MixtureSet) -> None:
        self._frames, self._item = frames, item

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> Frame:
        """One frame without the labels that are not wanted."""
        return wanted_labels(self._frames[index], self._item)


def record_set(item: MixtureSet, folder: Path, mixture: Mixture) -> SourceSet:
    """A set that is read from ``jmp-calc preprocess`` folders while training: every frame, with the labels
    that are wanted.

    UsageError if the records come from a held-out file, BadInputError if they have no forces, or no energies
    that are wanted.
    """
    records = RecordSet(folder / item.records)
    statistics, count = records.statistics, len(records)
    for source in records.info.sources:
        reason = holdout_reason(source.path)
        if reason is not None:
            raise UsageError(
                f"{source.path} is held out ({reason}) and must not be trained on.",
                where=item.records,
                hint=f"take it out of set {item.name!r}",
            )
    if (item.energy and statistics.energy_std is None) or statistics.force_rms is None:
        raise BadInputError("The records have no energies or no forces.", where=str(records.path))
    others = RecordSet(folder / item.valid_records) if item.valid_records else None
    n_valid = 0 if others else min(mixture.validation_max, max(1, int(mixture.validation_fraction * count)))
    if count - n_valid < 1:
        raise BadInputError(f"{count} records are too few to train on.", where=str(records.path))
    train = Part(Wanted(records, item), 0, count - n_valid)
    valid = (
        Part(Wanted(others, item), 0, min(len(others), mixture.validation_max))
        if others
        else Part(Wanted(records, item), len(train), count)
    )
    references = statistics.references if item.energy else {}
    energy_std = statistics.energy_std if item.energy and statistics.energy_std is not None else 1.0
    valid_sizes = others.sizes[: len(valid)] if others else records.sizes[len(train) :]
    described = PackedSet(
        name=item.name,
        head=item.head,
        weight=item.weight,
        references=references,
        full_rank=item.energy and statistics.rank == len(references),
        force_rms=statistics.force_rms,
        energy_std=energy_std,
        n_train=len(train),
        n_valid=len(valid),
        dropped=records.info.left_out,
        licence=item.licence,
        source=item.source,
        citation=item.citation,
        files=tuple(source.path for source in records.info.sources),
    )
    return SourceSet(
        described,
        train,
        valid,
        with_edges(records.sizes[: len(train)]),
        with_edges(valid_sizes),
        energy_std,
        statistics.mean_atoms,
        records.info.fingerprint,
    )


def with_edges(sizes: np.ndarray) -> np.ndarray:
    """The same sizes (n_frames, 3), with ``TYPICAL_NEIGHBORS`` per atom where the edges are not known."""
    unknown = sizes[:, 1] == 0
    if not unknown.any():
        return sizes
    filled = np.array(sizes)
    filled[unknown, 1] = TYPICAL_NEIGHBORS * filled[unknown, 0]
    filled[unknown, 2] = TYPICAL_NEIGHBORS
    return filled
