"""The inputs of a compiled training step in their order, where it is traced and where it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jmp_calc.graph.batch import filled, flat
from jmp_calc.model.heads import ChosenHeads

from ..loss import LossShare
from .spec import numbered_names

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

    from ..batches.dataset import TargetBatch

LABELS = (
    *("energy", "energy_mask", "forces", "forces_mask", "stress", "stress_mask", "reference_energy"),
    *("energy_unit", "forces_unit", "stress_unit", "energy_margin", "forces_margin", "weights"),
)
"""Tensors of a TargetBatch that the loss of energies, forces and stress reads."""
UNITS = ("energy_unit", "forces_unit", "stress_unit")


@dataclass(frozen=True, eq=False)
class NetworkInputs:
    """The weights and constants of a network that a program reads, and which heads it has."""

    potential: Potential
    heads: tuple[str, ...]
    weights: dict[str, torch.nn.Parameter]
    """By their names in the network of the program."""
    scales: dict[str, Tensor]
    """Fitted scale factors (), alike."""

    @classmethod
    def of(cls, potential: Potential, heads: Sequence[str]) -> NetworkInputs:
        """Those of a network, which are read anew at every call: an optimizer may have moved them."""
        weights = dict(potential.named_parameters())
        buffers = {name: value for name, value in potential.named_buffers() if name.endswith(".scale_factor")}
        return cls(
            potential,
            tuple(heads),
            {new: weights[old] for new, old in numbered_names(weights, heads).items()},
            {new: buffers[old] for new, old in numbered_names(buffers, heads).items()},
        )

    def tensors(self) -> list[Tensor]:
        """Weights, scale factors and tables of the heads, of any shape."""
        device = next(iter(self.weights.values())).device
        tables = [table.on(device) for table in self.potential.tables(self.heads)]
        return [*(weight.detach() for weight in self.weights.values()), *self.scales.values(), *tables]

    @contextmanager
    def replaced(self, tensors: Sequence[Tensor]) -> Iterator[dict[str, Tensor]]:
        """Inside, the tables of the network are those of ``tensors`` (in the order of ``tensors()``); gives
        its weights and scale factors by name."""
        named = [*self.weights, *self.scales]
        with ExitStack() as stack:
            for table, values in zip(self.potential.tables(self.heads), tensors[len(named) :], strict=True):
                stack.enter_context(table.replaced(values))
            yield dict(zip(named, tensors))

    def choice(self, target: TargetBatch) -> list[Tensor]:
        """The number (N,) of the head of every atom; nothing where there is one head for all."""
        if len(self.heads) == 1:
            return []
        numbers = torch.tensor([self.heads.index(head) for head in target.heads])
        return [numbers.to(target.energy.device)[target.batch.structure]]

    def chosen(self, choice: Sequence[Tensor]) -> ChosenHeads:
        """The heads of a call with that choice."""
        configs = tuple(self.potential.config.head(head) for head in self.heads)
        return ChosenHeads(configs, choice[0] if choice else None)


def part_tensors(part: LossShare, network: NetworkInputs) -> list[Tensor]:
    """Tensors (of any shape) of a part of a step: its batch, labels, heads and shares of the loss terms."""
    target = served(part.target)
    shares = target.energy.new_tensor([part.energy, part.forces, part.stress, part.scalar])
    labels = [getattr(target, name) for name in LABELS]
    return [*flat(target.batch), *labels, *network.choice(target), shares]


def refilled(example: TargetBatch, tensors: Sequence[Tensor]) -> tuple[TargetBatch, list[Tensor], Tensor]:
    """The batch with the tensors of ``part_tensors``, the choice of heads, the shares (4,) of the terms."""
    count = len(flat(example.batch))
    batch = filled(example.batch, tensors[:count])
    batch = replace(batch, n_structures=batch.cell.shape[0])
    labels = dict(zip(LABELS, tensors[count:]))
    *choice, shares = tensors[count + len(LABELS) :]
    return replace(example, batch=batch, **labels), choice, shares  # type: ignore[arg-type]


def served(target: TargetBatch) -> TargetBatch:
    """The same batch with at least two structures and two elements, because sizes of 1 are never symbols.

    The second structure has no atoms and no labels, the second element no atom.
    """
    batch = target.batch
    if batch.lone_numbers.shape[0] == 1:
        batch = replace(batch, lone_numbers=batch.lone_numbers.repeat(2))
    if batch.n_structures > 1:
        return replace(target, batch=batch)
    of_structures = [name for name in LABELS if name != "forces"]
    labels = {name: _with_empty(getattr(target, name), 1 if name in UNITS else 0) for name in of_structures}
    batch = replace(batch, n_structures=2, cell=_with_empty(batch.cell, 0))
    return replace(target, batch=batch, heads=(*target.heads, target.heads[0]), **labels)  # type: ignore[arg-type]


def _with_empty(rows: Tensor, value: int) -> Tensor:
    return torch.cat([rows, rows.new_full((1, *rows.shape[1:]), value)])
