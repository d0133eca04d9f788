"""The loss of pre-training on many sets, the gradients of a step and of its shares, and the errors that are reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jmp_calc.model.potential import Potential, Prediction

from .config import OptimConfig
from .loss import NORM_EPS, elementwise, masked_mean
from .packed import Packed
from .parallel import balanced
from .stream import DENSE_DEGREE, PackedBatch, PackedGraphs, Step

ENERGY_LENGTH = 0.1
"""Å: energy errors per atom count in units of this times the force scale of the set."""
HUBER_DELTA = 0.01
FORCE_SCALE_RANGE = (0.3, 2.0)
"""eV/Å: bounds of the force scale of a set (else nearly relaxed sets would be fitted below their noise)."""


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a run, from the ``[train]`` table of a recipe."""

    lr: float = 2e-3
    final_lr: float = 0.01
    warmup_steps: int = 300
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 5.0
    max_edges_per_batch: int = 80_000
    max_structures_per_batch: int = 160
    max_frame_edges: int = 1_000_000
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 0.2

    @property
    def optim(self) -> OptimConfig:
        """The part that the shared optimizer code reads."""
        return OptimConfig(
            lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay, warmup_steps=self.warmup_steps,
            warmup_start=0.05, final_lr=self.final_lr, clip_norm=self.clip_norm, ema_decay=self.ema_decay,
        )


def force_scale(force_rms: float) -> float:
    """Unit of force errors of a set, eV/Å."""
    return float(np.clip(force_rms, *FORCE_SCALE_RANGE))


def part_loss(prediction: Prediction, part: PackedBatch, config: PretrainConfig) -> Tensor:
    """(4,) total, energy, forces, stress of one part, as its share of the mean over the structures of the step.

    All errors are divided by the scale of the set, so that no level of theory or temperature dominates.
    """
    target, scale = part.target, part.force_scale
    share = part.target.batch.n_structures / part.step_structures
    wanted = target.energy - target.reference_energy
    error = ((prediction.energy - wanted) / part.atoms).float() / (ENERGY_LENGTH * scale)
    energy = masked_mean(elementwise(error, "huber", HUBER_DELTA), target.energy_mask)
    assert prediction.forces is not None
    difference = (prediction.forces - target.forces).float()
    per_atom = torch.sqrt(difference.square().sum(dim=1) + NORM_EPS**2)
    sums = per_atom.new_zeros(len(scale)).index_add(0, target.batch.structure, per_atom)
    forces = (sums / part.atoms.float() / scale).mean()
    stress = energy.new_zeros(())
    if prediction.stress is not None:
        strain_error = elementwise((prediction.stress - target.stress).float(), "huber", 1e-3).mean(dim=(1, 2))
        stress = masked_mean(strain_error * part.volume / part.atoms.float() / scale, target.stress_mask)
    weighted = (config.energy_weight * energy, config.forces_weight * forces, config.stress_weight * stress)
    return share * torch.stack((weighted[0] + weighted[1] + weighted[2], *weighted))


@dataclass(frozen=True)
class StepShare:
    """Frame numbers that one process evaluates, in parts of similar density, and the structures of the whole step."""

    parts: Step
    step_structures: int


@dataclass(frozen=True)
class ShareGradients:
    """Gradients of one share of a step on the CPU (called in every process of a GradientPool)."""

    data: PackedGraphs
    config: PretrainConfig

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Add the gradients; returns the loss terms (4,)."""
        parts = [self.data.part(indices, share.step_structures) for indices in share.parts]
        return torch.stack([backward(potential, part, self.config) for part in parts]).sum(dim=0)


def backward(potential: Potential, part: PackedBatch, config: PretrainConfig) -> Tensor:
    """Add the gradients of one part; returns the loss terms (4,)."""
    prediction = potential(part.target.batch, heads=part.target.heads, stress=part.has_stress, create_graph=True)
    terms = part_loss(prediction, part, config)
    terms[0].backward()
    return terms.detach()


def step_shares(step: Step, packed: Packed, processes: int) -> list[StepShare]:
    """The frames of a step in at most ``processes`` shares of about equal numbers of edges."""
    frames = [frame for part in step for frame in part]
    shares = []
    for group in balanced([float(packed.n_edges[frame]) for frame in frames], processes):
        dense = [packed.degree[frames[i]] > DENSE_DEGREE for i in group]
        parts = [[frames[i] for i, flag in zip(group, dense) if flag == wanted] for wanted in (False, True)]
        shares.append(StepShare([part for part in parts if part], len(frames)))
    return shares


def errors(prediction: Prediction, part: PackedBatch) -> Tensor:
    """(S, 6) float64: sums of absolute errors and counts of energy per atom, force and stress components."""
    target, structure = part.target, part.target.batch.structure
    assert prediction.forces is not None
    energy = ((prediction.energy - target.energy + target.reference_energy) / part.atoms).abs()
    forces = part.atoms.new_zeros(len(part.atoms)).index_add(
        0, structure, (prediction.forces - target.forces).abs().sum(dim=1).double()
    )
    stress, stress_count = torch.zeros_like(energy), torch.zeros_like(energy)
    if prediction.stress is not None:
        difference = (prediction.stress - target.stress).abs().sum(dim=(1, 2)).double()
        stress = torch.where(target.stress_mask, difference, stress)
        stress_count = 9.0 * target.stress_mask
    mask = target.energy_mask
    return torch.stack(
        [torch.where(mask, energy, torch.zeros_like(energy)), mask.double(), forces, 3.0 * part.atoms, stress,
         stress_count.double()], dim=1,
    ).detach()
