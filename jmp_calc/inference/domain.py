"""Atoms whose surroundings are unlike any of the training data, by the distance of their descriptors.

The model file has mean and covariance of the final descriptors of every element over the training data. The
distance of an atom is that of Mahalanobis divided by the root of the number of features: about 1 for an atom
of the training data. Pairs of elements that never met are told apart from this (``unseen_pairs.py``).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import JMPWarning
from ..model.elements import symbol

if TYPE_CHECKING:
    from ..zoo.knowledge import ElementStatistics

FARTHEST = 10_000.0
"""Distances beyond are told as such: atoms that were all alike have no spread to count in."""
FAR = 10.0
"""Distance from which an atom is told. Training frames and their like reach 1 to 3 (docs/uncertainty.md)."""


class Domain:
    """Distances from the training data of a network with D features, element by element."""

    def __init__(self, statistics: ElementStatistics) -> None:
        self._statistics = statistics
        self._known = {int(z): place for place, z in enumerate(statistics.numbers)}
        self._whitening: dict[int, NDArray[np.float64]] = {}

    def distances(self, numbers: NDArray[np.int64], features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) of atoms with atomic numbers (N,) and final descriptors (N, D); 0 for elements without
        statistics."""
        found = np.zeros(len(numbers))
        for number in np.unique(numbers).tolist():
            if number in self._known:
                rows = numbers == number
                away = features[rows] - self._statistics.mean[self._known[number]]
                found[rows] = np.linalg.norm(away @ self._whitened(number), axis=1)
        return found

    def _whitened(self, number: int) -> NDArray[np.float64]:
        """(D, D) whose product with a deviation (D,) has the distance as its length."""
        if number not in self._whitening:
            place = self._known[number]
            covariance = self._statistics.covariance[place].astype(np.float64)
            count, width = int(self._statistics.counts[place]), len(covariance)
            # Few atoms leave directions without any spread, in which everything would be far.
            share = width / (width + count)
            even = np.trace(covariance) / width
            values, vectors = np.linalg.eigh((1 - share) * covariance + share * even * np.eye(width))
            floor = max(1e-6 * float(values.max()), np.finfo(np.float64).tiny)
            self._whitening[number] = vectors / np.sqrt(width * values.clip(min=floor))
        return self._whitening[number]


def warn_of_strange_atom(model: str, atom: int, number: int, distance: float) -> None:
    """JMPWarning that names the farthest atom of an element (atomic number) and its distance."""
    times = f"{distance:.0f}" if distance < FARTHEST else f"more than {FARTHEST:.0f}"
    warnings.warn(
        JMPWarning(
            f"The surroundings of atom {atom} ({symbol(number)}) are unlike the training data of {model}: "
            f"{times} times as far from their mean as usual. What it gives there is a guess."
        ),
        stacklevel=2,
    )
