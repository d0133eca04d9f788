"""The training loss: energy per atom, forces, stress, or a target, each with its mask.

To train on something else, change ``loss_terms``; nothing else in the package knows what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from jmp_calc.model.segment import segment_sizes, segment_sum

from .config import LossConfig
from .distributed.world import World

if TYPE_CHECKING:
    from jmp_calc.model.potential import Prediction

    from .batches.dataset import TargetBatch

NORM_EPS = 1e-6
"""Added in quadrature to every error vector (in units of the scale), because the length of a zero vector has
no gradient."""


@dataclass(frozen=True)
class LossTerms:
    """Weighted terms of one batch (scalars with gradient); ``total`` is their sum."""

    total: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    scalar: Tensor


def loss_terms(prediction: Prediction, target: TargetBatch, config: LossConfig) -> LossTerms:
    """Loss of one batch: every term is a mean over the structures that have the label.

    Args:
        prediction: energy (S,) eV (of a target: label units, logits or vectors), forces (N, 3) eV/Å or None,
            stress (S, 3, 3) eV/Å³ or None.
        target: the same with masks, units and weights; structures without a label do not count. Its reference
            energy is what the energies of the data set have beyond those of the head (zero in fine-tuning).
        config: weights and forms.
    """
    zero = prediction.energy.new_zeros((), dtype=torch.float32)
    energy = forces = stress = scalar = zero
    if config.energy_weight > 0:
        # In float64, as forces and stresses are: total energies reach 1e5 eV and float32 has 1e-2 eV there.
        missing = prediction.energy - (target.energy - target.reference_energy)
        per_structure = elementwise(missing / target.energy_unit, config.energy, config.huber_delta)
        per_structure = above(target.energy_margin, missing.detach().abs(), per_structure)
        energy = config.energy_weight * masked_mean(per_structure * target.weights, target.energy_mask)
    if config.forces_weight > 0 and prediction.forces is not None:
        forces = config.forces_weight * forces_term(prediction.forces - target.forces, target, config)
    if config.stress_weight > 0 and prediction.stress is not None:
        error = (prediction.stress - target.stress) / target.stress_unit[:, None, None]
        per_structure = elementwise(error, config.stress, config.huber_delta).mean(dim=(1, 2))
        stress = config.stress_weight * masked_mean(per_structure * target.weights, target.stress_mask)
    if config.scalar_weight > 0:
        per_structure = target_losses(prediction.energy, target.target_value, config)
        scalar = config.scalar_weight * masked_mean(per_structure * target.weights, target.target_mask)
    return LossTerms(energy + forces + stress + scalar, energy, forces, stress, scalar)


def target_losses(output: Tensor, label: Tensor, config: LossConfig) -> Tensor:
    """Loss (S,) of what a head gives for each structure: scalars, logits of classes, or vectors."""
    if config.scalar == "cross_entropy":
        return cross_entropy(output, label, config.class_weights)
    error = ((output - label) / (config.scalar_unit or 1.0)).float()
    return (
        error_length(error)
        if config.scalar == "norm"
        else elementwise(error, config.scalar, config.huber_delta)
    )


@dataclass(frozen=True)
class LossShare:
    """A part of a batch that one process evaluates, and the share that each of its loss terms has in the
    batch."""

    target: TargetBatch
    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    scalar: float = 1.0

    def of(self, terms: LossTerms) -> Tensor:
        """(5,) total, energy, forces, stress, scalar of this part as summands of the terms of the batch."""
        parts = torch.stack(
            [
                self.energy * terms.energy,
                self.forces * terms.forces,
                self.stress * terms.stress,
                self.scalar * terms.scalar,
            ]
        )
        return torch.cat([parts.sum().reshape(1), parts])


def loss_shares(
    targets: Sequence[TargetBatch], config: LossConfig, world: World = World()
) -> list[LossShare]:
    """Parts whose loss terms add up to those of one batch with the structures of all ``targets``, of all
    processes."""
    if len(targets) == 1 and world.size == 1:
        return [LossShare(targets[0])]
    counts = np.array([label_counts(target, config) for target in targets], dtype=np.int64).reshape(-1, 4)
    totals = world.total(torch.from_numpy(counts.sum(axis=0))).clamp(min=1)
    return [LossShare(target, *row) for target, row in zip(targets, (counts / totals.numpy()).tolist())]


def label_counts(target: TargetBatch, config: LossConfig) -> tuple[int, int, int, int]:
    """How many energies, forces, stresses and targets the means of the loss are taken over."""
    energy, forces, stress, scalar = (int(count) for count in target.labelled.sum(axis=0))
    if not config.structure_wise:
        forces = int(target.n_atoms[target.labelled[:, 1]].sum())
    return energy, forces, stress, scalar


def forces_term(error: Tensor, target: TargetBatch, config: LossConfig) -> Tensor:
    """Unweighted force term of errors (N, 3): per atom, then per structure (``structure_wise``) or over all
    atoms of the batch."""
    structure = target.batch.structure
    scaled = error / target.forces_unit[structure, None]
    if config.forces == "norm":
        per_atom = torch.sqrt(scaled.square().sum(dim=1) + NORM_EPS**2)
    else:
        per_atom = elementwise(scaled, config.forces, config.huber_delta).mean(dim=1)
    per_atom = above(target.forces_margin[structure], error.detach().norm(dim=1), per_atom)
    if not config.structure_wise:
        return masked_mean(per_atom * target.weights[structure], target.forces_mask[structure])
    counts = atoms_per_structure(target).clamp(min=1)
    sums = segment_sum(per_atom, structure, target.batch.n_structures)
    return masked_mean(sums / counts.to(sums.dtype) * target.weights, target.forces_mask)


def above(margin: Tensor, error: Tensor, values: Tensor) -> Tensor:
    """Loss values where the error is larger than its margin (threshold loss, paper Eq. 2), zero elsewhere; of
    one shape."""
    # A margin of 0 keeps all: NaN is not smaller than anything either.
    return torch.where(error < margin, torch.zeros_like(values), values)


def atoms_per_structure(target: TargetBatch) -> Tensor:
    """Number of atoms of every structure, shape (S,), float64."""
    return segment_sizes(target.batch.structure, target.batch.n_structures).to(torch.float64)


def elementwise(error: Tensor, kind: str, huber_delta: float) -> Tensor:
    """Loss of every element: |x|, x², or Huber scaled so that it is |x| - delta/2 for large errors; the shape
    stays."""
    if kind == "l1":
        return error.abs()
    if kind == "l2":
        return error.square()
    size = error.abs()
    return torch.where(size < huber_delta, 0.5 * size.square() / huber_delta, size - 0.5 * huber_delta)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the entries with a true mask of the same shape; exactly zero if there is none."""
    # where and not multiplication: a label that is missing may be stored as NaN.
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)


def error_length(error: Tensor) -> Tensor:
    """Length of error vectors (S, 3) in units of the scale, (S,)."""
    return torch.sqrt(error.square().sum(dim=1) + NORM_EPS**2)


def cross_entropy(logits: Tensor, number: Tensor, weights: Sequence[float]) -> Tensor:
    """-w log p of the true class of every structure, (S,) float32; of a single logit (S,), of yes (1) against
    no (0).

    Not divided by the mean weight of a batch, so that parts of a batch add up.
    """
    if logits.dim() == 1:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    true = number.long()
    losses = torch.nn.functional.cross_entropy(logits.float(), true, reduction="none")
    return losses * losses.new_tensor(weights)[true] if weights else losses
