"""Warnings that are given once and not at every step of a dynamics: elements, pairs, strange atoms."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .domain import FAR, Domain, warn_of_strange_atom
from .settings import check_covered, check_known, unknown, warn_of_uncovered, warn_of_unknown
from .unseen_pairs import unseen_pairs, warn_of_unseen_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..graph.build import Graph
    from ..model.config import HeadConfig, ModelConfig
    from ..zoo.knowledge import ElementStatistics
    from .settings import Elements

MOST = 3
"""Warnings of one kind: a screening over many crystals meets new pairs all the time."""


class Told:
    """What a model does not know of structures; each thing is told once."""

    def __init__(
        self, config: ModelConfig, model: str, elements: Elements, statistics: ElementStatistics | None
    ) -> None:
        """Args:
        config: with the heads.
        model: its name, for messages.
        elements: whether elements that were not trained on are an error or told.
        statistics: of descriptors; None: surroundings are not looked at.
        """
        self._config, self._model, self._any = config, model, elements == "any"
        self._domain = None if statistics is None else Domain(statistics)
        self._elements: set[int] = set()
        self._pairs: set[str] = set()
        self._warnings_of_pairs = 0
        self._atoms: set[int] = set()

    def __copy__(self) -> Told:
        """One that tells the next on its own."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        for name in ("_elements", "_pairs", "_atoms"):
            setattr(twin, name, copy.copy(getattr(self, name)))
        return twin

    def elements(self, head: HeadConfig, numbers: NDArray[np.int64]) -> None:
        """Of the atoms (N,) those that the head was not trained on; ModelError unless any are accepted."""
        if not self._any:
            check_covered(self._config, head, numbers, self._model)
            return
        new = set(numbers.tolist()) - self._elements
        if new:
            self._elements |= new
            warn_of_uncovered(head, new)

    def known(self, numbers: NDArray[np.int64]) -> None:
        """The same for descriptors of atoms (N,), which are the same for all heads."""
        if not self._any:
            check_known(self._config, numbers, self._model)
            return
        new = unknown(self._config, numbers) - self._elements
        if new:
            self._elements |= new
            warn_of_unknown(self._model, new)

    def pairs(self, head: HeadConfig, graph: Graph) -> None:
        """Neighbours that the training data of the head have not."""
        new = unseen_pairs(head, graph, self._pairs)
        if new:
            self._pairs |= set(new)
            self._warnings_of_pairs += 1
            if self._warnings_of_pairs <= MOST:
                last = self._warnings_of_pairs == MOST
                warn_of_unseen_pairs(head, new, graph.numbers, "; further pairs are not told" if last else "")

    def surroundings(self, graphs: Sequence[Graph], features: NDArray[np.floating]) -> None:
        """The farthest atom of every element whose final features (N, A) are far from the training data."""
        if self._domain is None:
            return
        numbers = np.concatenate([graph.numbers for graph in graphs])
        distances = self._domain.distances(numbers, features)
        place = np.concatenate([np.arange(graph.n_atoms) for graph in graphs])
        for atom in np.argsort(-distances).tolist():
            number = int(numbers[atom])
            if distances[atom] < FAR:
                return
            if number not in self._atoms:
                self._atoms.add(number)
                warn_of_strange_atom(self._model, int(place[atom]), number, float(distances[atom]))
