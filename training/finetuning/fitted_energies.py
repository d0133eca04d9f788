"""Energies per element that a new head lacks at its start, found by least squares on a few frames.

The old head that a new one starts from was trained with other reference energies; where isolated atoms are
the references, the difference is the binding energy, several eV per atom. Gradient steps would first spend
their time on it and spoil the backbone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..batches.dataset import FrameGraphs
from ..batches.tasks import Task
from ..data.frame import Frame, spread
from ..validation.validate import without_weight_gradients

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

N_FRAMES, MAX_EDGES = 32, 20_000
"""Frames and main edges that the fit uses."""


def with_fitted_energies(
    potential: Potential, head: str, frames: Sequence[Frame], device: torch.device
) -> Potential:
    """The network with a head that has the right mean energy for every composition, and so has every further
    one of its committee; the weights are those of ``potential``.

    References from least squares are corrected. Other references (isolated atoms, given ones) stay what they
    are, and the correction is added to the head's ``binding``, which vanishes for a lone atom. Without
    energies nothing changes.
    """
    labelled = [frame for frame in frames if frame.energy is not None and frame.n_atoms > 1]
    for name in (head, *potential.config.head(head).committee):
        potential = _with_fitted_head(potential, name, labelled, device)
    return potential


def _with_fitted_head(
    potential: Potential, head: str, labelled: Sequence[Frame], device: torch.device
) -> Potential:
    """The same of one head, from frames with energies."""
    from jmp_calc.model.potential import Potential

    config = potential.config.head(head)
    if config.kind != "energy" or config.reference_kind == "none" or not labelled:
        return potential
    missing = missing_energies(potential, head, labelled, device)
    if config.reference_kind == "least_squares":
        references = {z: energy + missing.get(z, 0.0) for z, energy in config.references.items()}
        config = dataclasses.replace(config, references=references)
    else:
        # The predictions have the binding of an earlier fit already.
        binding = {
            z: config.binding.get(z, 0.0) + missing.get(z, 0.0) for z in sorted({*config.binding, *missing})
        }
        config = dataclasses.replace(config, binding=binding)
    heads = tuple(config if known.name == head else known for known in potential.config.heads)
    return Potential.from_state(dataclasses.replace(potential.config, heads=heads), potential.state_dict())


def missing_energies(
    potential: Potential,
    head: str,
    frames: Sequence[Frame],
    device: torch.device,
    *,
    max_edges: int = MAX_EDGES,
) -> dict[int, float]:
    """Energy in eV per atom of each element that the predictions lack; of all solutions the smallest.

    From at most ``N_FRAMES`` frames spread over the data, and fewer where they have more than ``max_edges``
    main edges.
    """
    chosen = spread(frames, N_FRAMES)
    backbone = potential.config.backbone
    graphs = FrameGraphs(chosen, potential.config.policy, Task(head), qint_tags=backbone.qint_tags)
    numbers = np.unique(np.concatenate([frame.numbers for frame in chosen]))
    rows: list[np.ndarray] = []
    errors: list[float] = []
    edges = 0
    with without_weight_gradients(potential), torch.no_grad():
        # In random order, so that the first frames, for which there is room, are not all of one kind.
        for index in np.random.default_rng(0).permutation(len(chosen)).tolist():
            frame = chosen[index]
            edges += int(graphs.graph(index).n_edges)
            if rows and edges > max_edges:
                break
            target = graphs.collate([index], device)
            predicted = potential(target.batch, heads=head, forces="none").energy
            rows.append(np.array([(frame.numbers == z).sum() for z in numbers]) / frame.n_atoms)
            errors.append(float(target.energy[0] - predicted[0]) / frame.n_atoms)
    found = np.linalg.lstsq(np.array(rows), np.array(errors), rcond=1e-4)[0]
    return {int(z): float(energy) for z, energy in zip(numbers, found)}
