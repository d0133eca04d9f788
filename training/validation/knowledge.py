"""What uncertainty and domain checks need of the training data: statistics of features, in one pass.

Sums are in float64. The pass goes over a sample of the training frames, spread evenly, whose size depends on
the network: a second moment of some tens of features needs hundreds of structures, not all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from jmp_calc.inference.uncertainty import LastLayer
from jmp_calc.zoo.knowledge import ElementStatistics, HeadStatistics, Knowledge

from ..batches.dataset import FrameGraphs
from ..batches.tasks import Task
from ..data.frame import Frame, spread
from .force_deviations import force_factor
from .validate import without_weight_gradients

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential, Readout

    from ..batches.dataset import TargetBatch

STRUCTURES = 4000
"""Most structures of a data set that are looked at."""
EDGES, LARGE = 400_000, 2_000_000
"""Main edges of the training structures of a head that are looked at, a quarter of them of its validation
frames; a tenth of both for networks of at least so many weights: seconds to a minute."""
BATCH_EDGES = 20_000
FORCE_EDGES = 4000
"""Main edges of the validation frames whose forces are looked at, a tenth for large networks: each takes as
many derivatives as there are directions."""
REGULARISERS = 10.0 ** np.arange(-9, 0)
"""Candidates, in units of the mean eigenvalue, the smallest first."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The frames of one data set under one head."""

    task: Task
    train: Sequence[Frame]
    valid: Sequence[Frame]


class SecondMoments:
    """Sums over vectors (n, F), from which mean and covariance follow."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._sum = np.zeros(width)
        self._products = np.zeros((width, width))

    def add(self, vectors: NDArray[np.float64]) -> None:
        """Vectors (n, F)."""
        self.count += len(vectors)
        self._sum += vectors.sum(axis=0)
        self._products += vectors.T @ vectors

    @property
    def about_zero(self) -> NDArray[np.float64]:
        """(F, F) mean of f fᵀ."""
        return self._products / self.count

    @property
    def mean(self) -> NDArray[np.float64]:
        """(F,)"""
        return self._sum / self.count

    @property
    def about_mean(self) -> NDArray[np.float64]:
        """(F, F) covariance, with a diagonal that rounding does not make negative."""
        covariance = self.about_zero - np.outer(self.mean, self.mean)
        np.fill_diagonal(covariance, covariance.diagonal().clip(min=0.0))
        return covariance


def knowledge_of(potential: Potential, sets: Sequence[Seen], device: torch.device) -> Knowledge:
    """Statistics of all energy heads that ``sets`` train, and of the elements in them."""
    elements: dict[int, SecondMoments] = {}
    heads: dict[str, HeadStatistics] = {}
    with without_weight_gradients(potential):
        for name in dict.fromkeys(seen.task.head for seen in sets):
            if potential.config.head(name).kind == "energy":
                own = [seen for seen in sets if seen.task.head == name]
                found = _head(potential, name, own, elements, device)
                heads.update({} if found is None else {name: found})
    return Knowledge(heads, _elements(elements))


def _head(
    potential: Potential,
    name: str,
    sets: Sequence[Seen],
    elements: dict[int, SecondMoments],
    device: torch.device,
) -> HeadStatistics | None:
    """Statistics of one head; None without validation energies, which they are calibrated by."""
    moments: SecondMoments | None = None
    errors: list[NDArray[np.float64]] = []
    features: list[NDArray[np.float64]] = []
    weights = sum(parameter.numel() for parameter in potential.parameters())
    room = (EDGES if weights < LARGE else EDGES // 10) // len(sets)
    for seen in sets:
        for target, found in _read(potential, seen, seen.train, room, device):
            rows = found.features.cpu().numpy()
            moments = moments or SecondMoments(rows.shape[1])
            moments.add(rows)
            _add_atoms(elements, target, found)
        for target, found in _read(potential, seen, seen.valid, room // 4, device):
            error = (target.energy - target.reference_energy - found.energy)[target.energy_mask]
            errors.append(error.cpu().numpy())
            features.append(found.features[target.energy_mask].cpu().numpy())
    if moments is None or not errors or not sum(map(len, errors)):
        return None
    statistics = calibrated(moments, np.concatenate(features), np.concatenate(errors))
    if statistics is None:
        return None
    source = LastLayer(potential, name, statistics)
    room = max(1, room * FORCE_EDGES // EDGES)
    targets = (target for seen in sets for target in _targets(potential, seen, seen.valid, room, device))
    return replace(statistics, force_factor=force_factor(potential, name, source, targets))


def calibrated(
    moments: SecondMoments, features: NDArray[np.float64], errors: NDArray[np.float64]
) -> HeadStatistics | None:
    """Statistics whose variances are those of ``errors`` (n,) in eV of structures with ``features`` (n, F).

    The scale squared is the mean ratio of squared errors to variances. The regulariser is the smallest under
    which the errors are as likely as under the best one, to within the standard error of the difference:
    validation structures like the training structures hardly tell them apart, and large ones let the
    deviations grow too fast away from these. None where the features or the errors do not vary.
    """
    covariance = moments.about_zero
    values, vectors = np.linalg.eigh(covariance)
    projected = (features @ vectors) ** 2
    found: list[tuple[float, float, NDArray[np.float64]]] = []
    for regulariser in REGULARISERS * float(values.mean()):
        if not regulariser > 0:
            continue
        variance = (projected / (values.clip(min=0.0) + regulariser)).sum(axis=1)
        inside = variance > 0
        ratios = errors[inside] ** 2 / variance[inside]
        square = float(np.mean(ratios)) if inside.any() else 0.0
        if np.isfinite(square) and square > 0:
            unlikely = np.log(square * variance[inside]) + ratios / square
            found.append((float(regulariser), float(np.sqrt(square)), unlikely))
    if not found:
        return None
    best = min(found, key=lambda one: float(one[2].mean()))
    regulariser, scale, _ = next(one for one in found if _as_likely(one[2], best[2]))
    return HeadStatistics(covariance, moments.count, regulariser, scale)


def _as_likely(unlikely: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether losses (n,) are larger than the best ones by no more than the standard error of the
    difference."""
    if len(unlikely) != len(best):
        return False
    more = unlikely - best
    return float(more.mean()) <= float(more.std()) / np.sqrt(len(more))


def _read(
    potential: Potential, seen: Seen, frames: Sequence[Frame], room: int, device: torch.device
) -> Iterator[tuple[TargetBatch, Readout]]:
    """A sample of the frames with at most ``room`` main edges, in batches, with what the head reads of
    them."""
    for target in _targets(potential, seen, frames, room, device):
        yield target, potential.readout(target.batch, seen.task.head)


def _targets(
    potential: Potential, seen: Seen, frames: Sequence[Frame], room: int, device: torch.device
) -> Iterator[TargetBatch]:
    """A sample of the frames with at most ``room`` main edges, or one frame, in batches."""
    if not len(frames):
        return
    config = potential.config
    sample = spread(frames, STRUCTURES)
    graphs = FrameGraphs(sample, config.policy, seen.task, qint_tags=config.backbone.qint_tags)
    batch, used, filled = list[int](), 0, 0
    for index in np.random.default_rng(0).permutation(len(sample)).tolist():
        edges = int(graphs.graph(index).n_edges)
        if used and used + edges > room:
            break
        if batch and filled + edges > BATCH_EDGES:
            yield graphs.collate(batch, device)
            batch, filled = [], 0
        batch.append(index)
        used, filled = used + edges, filled + edges
    yield graphs.collate(batch, device)


def _add_atoms(elements: dict[int, SecondMoments], target: TargetBatch, found: Readout) -> None:
    numbers = target.batch.numbers.cpu().numpy()
    descriptors = found.descriptors.to(torch.float64).cpu().numpy()
    for number in np.unique(numbers).tolist():
        rows = descriptors[numbers == number]
        elements.setdefault(number, SecondMoments(rows.shape[1])).add(rows)


def _elements(elements: Mapping[int, SecondMoments]) -> ElementStatistics | None:
    if not elements:
        return None
    numbers = sorted(elements)
    moments = [elements[number] for number in numbers]
    return ElementStatistics(
        np.array(numbers, dtype=np.int64),
        np.array([item.count for item in moments], dtype=np.int64),
        np.stack([item.mean for item in moments]).astype(np.float32),
        np.stack([item.about_mean for item in moments]).astype(np.float32),
    )
