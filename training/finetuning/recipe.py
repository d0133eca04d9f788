"""One fine-tuning run of the JMP paper, and the settings of the training loop that it stands for
(``training.md`` part III)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import LossConfig, OptimConfig, StageConfig, TrainConfig
from ..targets.options import TargetTask

Variant = Literal["default", "paper", "code"]
ForceMode = Literal["conservative", "direct", "none"]
HeadKind = Literal["energy", "scalar", "spatial_extent"]
Pooling = Literal["sum", "mean", "max"]

JMP_L_RATES = (0.30, 0.55, 0.40, 0.30, 0.40, 0.55, 0.625)
"""Peak learning rate of the embedding and of blocks 1 to 6 as shares of ``lr``: not monotone, as
published."""
JMP_S_RATES = (0.30, 0.35, 0.40, 0.55, 0.625)
_DAYS_7 = 7 * 24 * 3600.0


@dataclass(frozen=True)
class FinetuneRecipe:
    """One run; every value of the task is here, and ``train_config`` turns it into settings of the loop."""

    name: str
    dataset: str
    """Family of readers, see training/datasets/registry.py."""
    member: str
    """Molecule, task or property within it."""
    target: str
    """``forces``, or the name of the scalar in ``Frame.targets``."""
    split: str
    unit: str
    """Of the target in ``Frame``."""
    reported_in: str
    """Unit of the published errors (they are mean absolute ones, for PDBBind the root mean square)."""
    cutoff: float
    """Å, of all four graphs under the official policy."""
    max_neighbors: int = 30
    conditional_neighbors: bool = False
    """30 neighbours up to 200 atoms, 10 up to 300, 5 above."""
    head: HeadKind = "scalar"
    head_bias: bool = True
    pooling: Pooling = "sum"
    force_mode: ForceMode = "none"
    linear_reference: bool = False
    """Whether energies per element are subtracted from the scalar."""
    normalise: bool = True
    """Whether the target is shifted and scaled by its mean and standard deviation over the training
    frames."""
    weight: float = 1.0
    """Of the loss in normalised units; it matters through clipping by value."""
    force_std: float | None = None
    """eV/Å: published component RMS of the training forces, to check the data by."""
    batch_size: int = 1
    precision: Literal["float32", "mixed"] = "mixed"
    """Of the published run; our loop trains in float32."""
    lr: float = 8e-5
    weight_decay: float = 0.1
    ema_decay: float | None = 0.99
    layerwise: bool = True
    block_rates_s: tuple[float, ...] = JMP_S_RATES
    """Of a network with four blocks (JMP-S); six blocks (JMP-L) have ``JMP_L_RATES``."""
    stages: StageConfig = StageConfig()
    max_epochs: int = 500
    max_time: float = _DAYS_7
    """Seconds."""
    patience: int = 50
    """Validations without improvement after which the run stops."""
    from_scratch: bool = False
    variant: Variant = "default"
    """Whose settings these are."""

    @property
    def target_task(self) -> TargetTask | None:
        """Target and head of a run on a scalar; None for forces."""
        if self.with_forces:
            return None
        assert self.head != "energy"
        return TargetTask(
            self.target, self.head, self.pooling, self.linear_reference, self.normalise, self.unit
        )

    @property
    def with_forces(self) -> bool:
        """Whether the run trains on forces (and not on a scalar)."""
        return self.target == "forces"

    def layer_rates(self, n_blocks: int) -> tuple[float, ...]:
        """Shares of the embedding and the blocks for a network with that many; () if there are none for
        it."""
        if not self.layerwise:
            return ()
        return {len(self.block_rates_s) - 1: self.block_rates_s, len(JMP_L_RATES) - 1: JMP_L_RATES}.get(
            n_blocks, ()
        )

    def train_config(self, n_blocks: int, scale: float) -> TrainConfig:
        """Settings of the loop.

        Args:
            n_blocks: interaction blocks of the network.
            scale: standard deviation of the training forces, eV/Å: the published weights and the clipping
                refer to errors divided by it. For a scalar it is ``scalar_unit`` of the loss, which the run
                finds itself.
        """
        weight = self.weight / scale
        loss = LossConfig(energy_weight=0.0, forces_weight=weight, stress_weight=0.0, structure_wise=False)
        if not self.with_forces:
            loss = LossConfig(
                energy_weight=0.0, forces_weight=0.0, stress_weight=0.0, scalar_weight=self.weight
            )
        optim = OptimConfig(
            method="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            clip_norm=None,
            clip_value=1.0,
            ema_decay=self.ema_decay,
            ema_warmup=False,  # as published
            layer_rates=self.layer_rates(n_blocks),
            stages=self.stages,
        )
        return TrainConfig(
            loss=loss,
            optim=optim,
            epochs=self.max_epochs,
            max_time=self.max_time,
            batch_size=self.batch_size,
            patience=self.patience,
            metric="forces_mae" if self.with_forces else "scalar_mae",
            forces=self.force_mode,
        )
