"""Many structures in few evaluations: the plan behind ``JMPCalculator.batch``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from ..errors import JMPError
from ..machine.device import free_memory
from ..model.cost import GraphCounts
from .evaluator import Evaluator
from .memory import ROOM
from .properties import needs_gradient

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.build import Graph

Result = TypeVar("Result")

WINDOW = 256
"""Structures whose graphs are in memory at once; within a window they are sorted by size."""
CPU_BYTES = 2**29
"""Estimated bytes of a batch on a CPU: far more than it takes to make the number of operations
unimportant."""


def evaluate_many(
    evaluator: Evaluator, structures: Sequence[Atoms], properties: Sequence[str]
) -> list[dict[str, Any]]:
    """Results of all structures in their order."""

    def compute(together: Sequence[Atoms], graphs: Sequence[Graph]) -> list[dict[str, Any]]:
        return evaluator.results(together, graphs, properties)

    return in_batches(evaluator, structures, properties, compute)


def in_batches(
    evaluator: Evaluator,
    structures: Sequence[Atoms],
    properties: Sequence[str],
    compute: Callable[[Sequence[Atoms], Sequence[Graph]], list[Result]],
) -> list[Result]:
    """What ``compute`` makes of each structure, in their order; it is called with those that are evaluated
    together."""
    results: list[Result] = []
    for first in range(0, len(structures), WINDOW):
        results += _Window(
            evaluator, structures[first : first + WINDOW], properties, compute, first
        ).results()
    return results


class _Window(Generic[Result]):
    """Structures that are evaluated together, in batches of similar density and limited memory."""

    def __init__(
        self,
        evaluator: Evaluator,
        structures: Sequence[Atoms],
        properties: Sequence[str],
        compute: Callable[[Sequence[Atoms], Sequence[Graph]], list[Result]],
        first: int,
    ) -> None:
        self.evaluator, self.structures, self.compute, self.first = evaluator, structures, compute, first
        self.gradient = needs_gradient(properties)
        self.graphs = evaluator.prepare_all(structures, properties, "structure", first)
        self.found: dict[int, Result] = {}

    def results(self) -> list[Result]:
        """In the order of the structures."""
        for chosen in self._batches():
            self._evaluate(chosen)
        return [self.found[number] for number in range(len(self.structures))]

    def _batches(self) -> Iterator[list[int]]:
        """Neighbours in size together: sums are padded to the largest number of edges of an atom in the
        batch."""
        needed = [self.evaluator.needed_bytes(GraphCounts.of(graph), self.gradient) for graph in self.graphs]
        free = free_memory(self.evaluator.device)
        room = ROOM * free if free is not None else float("inf")
        if self.evaluator.device.type == "cpu":
            room = min(room, CPU_BYTES)
        order = sorted(
            range(len(self.graphs)), key=lambda i: (self.graphs[i].n_edges / self.graphs[i].n_atoms, i)
        )
        most_edges = self.evaluator.edges_together
        chosen: list[int] = []
        taken, edges = 0.0, 0
        for number in order:
            if chosen and (taken + needed[number] > room or edges + self.graphs[number].n_edges > most_edges):
                yield chosen
                chosen, taken, edges = [], 0.0, 0
            chosen.append(number)
            taken += needed[number]
            edges += self.graphs[number].n_edges
        if chosen:
            yield chosen

    def _evaluate(self, chosen: list[int]) -> None:
        """One batch; halved where it does not fit after all."""
        graphs = [self.graphs[i] for i in chosen]
        try:
            found = self.compute([self.structures[i] for i in chosen], graphs)
        except torch.OutOfMemoryError as error:
            if len(chosen) == 1:
                raise self.evaluator.out_of_memory(graphs[0]) from error
            half = len(chosen) // 2
            self._evaluate(chosen[:half])
            self._evaluate(chosen[half:])
            return
        except JMPError as error:
            raise type(error)(error.fact, where=self._names(chosen), hint=error.hint) from error
        self.found.update(zip(chosen, found))

    def _names(self, chosen: list[int]) -> str:
        numbers = sorted(self.first + number for number in chosen)
        return (
            f"among structures {numbers[0]} to {numbers[-1]}"
            if len(numbers) > 1
            else f"structure {numbers[0]}"
        )
