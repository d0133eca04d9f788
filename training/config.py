"""Typed settings of a training run: loss, optimizer and schedule, loop. Defaults live here and nowhere else.

Every class checks itself, so that a run stops before the data are read when a number cannot be meant.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from jmp_calc.arguments import plain
from jmp_calc.errors import UsageError
from jmp_calc.graph.dropout import Compensation
from jmp_calc.inference.memory import Checkpointing

from .data.target_labels import TargetKind

EnergyLoss = Literal["huber", "l1", "l2"]
ForcesLoss = Literal["norm", "l1", "l2", "huber"]
StressLoss = Literal["huber", "l1", "l2"]
ScalarLoss = Literal["huber", "l1", "l2", "cross_entropy", "norm"]
ForcesMode = Literal["conservative", "direct", "none"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
StageLimit = Literal["epochs", "time"]
Method = Literal["adamw", "soap"]
CompileChoice = Literal["auto", "on", "off"]
WeightSet = Literal["averaged", "raw"]
"""Which weights a validation, a file or an error belongs to: averaged over steps, or as they are."""
Metric = Literal["loss", "forces_mae", "energy_mae", "scalar_mae", "balanced_accuracy", "vector_mae"]


@dataclass(frozen=True)
class LossConfig:
    """What is compared, how, and with which weight; all weights refer to eV/atom, eV/Å and eV/Å³."""

    energy_weight: float = 2.0
    """Weight of the error of the energy, in the units of the task (fine-tuning: eV per atom)."""
    forces_weight: float = 1.0
    """Weight of the force error per atom."""
    stress_weight: float = 20.0
    """Weight of the stress error (mean over the nine components)."""
    scalar_weight: float = 0.0
    """Weight of the error of the target in units of ``scalar_unit``, for a head that gives one instead of
    energies."""
    energy: EnergyLoss = "huber"
    """Form of the energy loss."""
    forces: ForcesLoss = "norm"
    """norm: length of the error vector of each atom, as in JMP; the others work by component."""
    stress: StressLoss = "huber"
    """Form of the stress loss, by component."""
    scalar: ScalarLoss = "l1"
    """Form of the loss of a target, in units of its standard deviation: l1 as in JMP. A class has
    cross_entropy, a vector norm (the length of the error)."""
    scalar_unit: float | None = None
    """Label units that count as an error of 1; None: standard deviation over the training frames."""
    class_weights: tuple[float, ...] = ()
    """Weights of the frames of each class in the cross-entropy; empty: 1, or as the task of the target
    says."""
    huber_delta: float = 0.01
    """Error (eV/atom, eV/Å, eV/Å³, scalar units) above which a Huber loss is linear."""
    structure_wise: bool = True
    """Forces: mean over the atoms of a structure, then over structures (JMP); else over all atoms of a
    batch."""

    def __post_init__(self) -> None:
        plain(self)
        weights = self.energy_weight, self.forces_weight, self.stress_weight
        for name in ("energy_weight", "forces_weight", "stress_weight", "scalar_weight"):
            _check(
                getattr(self, name) >= 0 and math.isfinite(getattr(self, name)),
                name,
                "must be finite and >= 0",
            )
        _check(sum(weights) + self.scalar_weight > 0, "loss", "has only zero weights")
        _check(
            sum(weights) == 0 or self.scalar_weight == 0,
            "scalar_weight",
            "cannot be combined with weights of energies, forces or stress",
        )
        _check(self.scalar_unit is None or self.scalar_unit > 0, "scalar_unit", "must be positive")
        _check(self.huber_delta > 0, "huber_delta", "must be positive")
        _check_choice(self.energy, ("huber", "l1", "l2"), "energy loss")
        _check_choice(self.forces, ("norm", "l1", "l2", "huber"), "forces loss")
        _check_choice(self.stress, ("huber", "l1", "l2"), "stress loss")
        _check_choice(self.scalar, get_args(ScalarLoss), "scalar loss")
        _check(
            all(weight > 0 and math.isfinite(weight) for weight in self.class_weights),
            "class_weights",
            "must be positive",
        )


@dataclass(frozen=True)
class StageConfig:
    """The three stages of JMP fine-tuning, in epochs: warm-up, cosine, reduce on plateau (``training.md``
    section 16)."""

    warmup_epochs: int = 5
    """Epochs in which the learning rate rises."""
    warmup_start: float = 0.1
    """Learning rate at the first step, as a share of each group's peak."""
    cosine_epochs: int = 32
    """0 with no warm-up: plateau only."""
    cosine_after_warmup: bool = False
    """Whether the cosine epochs count from the end of the warm-up (paper) or from the start (code)."""
    final_lr: float = 0.1
    """Where the cosine of every group ends, as a share of the common peak."""
    plateau_patience: int = 3
    """Validations without improvement after which the next one reduces the learning rate."""
    plateau_factor: float = 0.8
    """What the learning rate is multiplied with then."""
    plateau_threshold: float = 1e-4
    """Relative improvement of the metric that counts."""
    plateau_eps: float = 1e-8
    """Smaller reductions are not made; 0 lets the learning rate fall below ``stop_below``."""
    stop_below: float = 1e-8
    """Training ends when the largest learning rate is below."""
    limit: StageLimit = "epochs"
    """epochs: as published; time: warm-up and cosine are shortened alike, so that the cosine ends within
    ``max_time``."""

    def __post_init__(self) -> None:
        plain(self)
        _check(self.warmup_epochs >= 0, "warmup_epochs", "must be >= 0")
        _check(self.cosine_epochs >= 0, "cosine_epochs", "must be >= 0")
        _check(
            self.cosine_after_warmup
            or self.cosine_epochs == self.warmup_epochs == 0
            or self.cosine_epochs > self.warmup_epochs,
            "cosine_epochs",
            "must be more than warmup_epochs",
        )
        _check(0 <= self.warmup_start <= 1, "warmup_start", "must lie in [0, 1]")
        _check(0 < self.final_lr <= 1, "final_lr", "must lie in (0, 1]")
        _check(0 < self.plateau_factor < 1, "plateau_factor", "must lie in (0, 1)")
        _check(self.plateau_patience >= 0, "plateau_patience", "must be >= 0")
        _check_choice(self.limit, get_args(StageLimit), "limit")

    @property
    def end_epoch(self) -> int:
        """Epoch at which the cosine ends and the plateau stage begins."""
        return self.cosine_epochs + (self.warmup_epochs if self.cosine_after_warmup else 0)


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer, warm-up and cosine, clipping and averaging of weights."""

    method: Method | None = None
    """Method: adamw, or soap (Adam in turned axes); None: soap for networks of up to 3 million
    weights."""
    lr: float | None = None
    """Peak learning rate; None: from the size of the network (fine-tuning only)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the averages of the gradient and of its square per step."""
    eps: float = 1e-8
    """Added to the root of the averaged square."""
    weight_decay: float = 0.01
    """Share of a weight that is taken off per step, times the learning rate."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises."""
    warmup_start: float = 0.2
    """Learning rate at the first step, as a share of the peak."""
    final_lr: float = 0.02
    """Learning rate at the end of the cosine, as a share of the peak."""
    clip_norm: float | None = 10.0
    """Largest global norm of the gradient; None: no clipping."""
    clip_value: float | None = None
    """Largest absolute value of every gradient element (JMP fine-tuning), applied before the norm; None: no
    limit."""
    layer_rates: tuple[float, ...] = ()
    """Peak learning rates of the embedding and of each block, as shares of ``lr``; the rest has ``lr``.
    Empty: all."""
    stages: StageConfig | None = None
    """Schedule by epochs instead of ``warmup_steps``, ``warmup_start`` and ``final_lr``."""
    ema_decay: float | None = 0.99
    """Decay of the averaged weights per step; None: no averaging."""
    ema_warmup: bool = True
    """Average over about the last tenth of the steps until that is as long as ``ema_decay`` says; false: the
    same decay from the first step, as in JMP, where short runs are mostly their start weights."""
    pcgrad: bool = False
    """Project out conflicts between the gradients of the data sets (Yu et al. 2020)."""

    def __post_init__(self) -> None:
        plain(self)
        _check(self.lr is None or (self.lr > 0 and math.isfinite(self.lr)), "lr", "must be positive")
        _check(all(0 <= beta < 1 for beta in self.betas), "betas", "must lie in [0, 1)")
        _check(self.weight_decay >= 0, "weight_decay", "must be >= 0")
        _check(self.warmup_steps >= 0, "warmup_steps", "must be >= 0")
        _check(0 <= self.warmup_start <= 1, "warmup_start", "must lie in [0, 1]")
        _check(0 <= self.final_lr <= 1, "final_lr", "must lie in [0, 1]")
        _check(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "must be positive")
        _check(self.clip_value is None or self.clip_value > 0, "clip_value", "must be positive")
        _check(all(0 < rate <= 1 for rate in self.layer_rates), "layer_rates", "must lie in (0, 1]")
        _check(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", "must lie in (0, 1)")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the numbers of a run, beside the data and the start model."""

    loss: LossConfig = field(default_factory=LossConfig)
    """What is compared."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How the weights move."""
    epochs: int | None = None
    """Passes over the data; None: 100, or as many as max_time allows."""
    max_time: float | None = None
    """Seconds of wall time; the schedule reaches its end within them."""
    max_steps: int | None = None
    """Optimizer steps after which the run ends; schedules by step end there, stages by epoch are cut off."""
    batch_size: int | None = None
    """Largest number of structures in a batch; None: 4, or a 500th of a large training set, at most 32. All
    processes of a distributed run share a batch, so that their number does not change the run."""
    max_edges_per_batch: int = 20_000
    """Largest number of main-graph edges in a batch (a single larger structure is its own batch)."""
    accumulate: int = 1
    """Batches whose gradients are added for one optimizer step: larger steps in the memory of one batch."""
    precision: Precision = "32-true"
    """What matrix products of the network are computed in: as the weights (32-true), or bfloat16 or float16
    beside float32 weights; geometry, sums of energies and the loss stay what they are."""
    patience: int | None = None
    """Validations without improvement after which the run stops; None: never."""
    metric: Metric = "loss"
    """What the best model is chosen by, and what stops the run and reduces the learning rate: a validation
    error."""
    validate_every: int | None = None
    """Steps between validations; None: whole epochs, so many that validation takes a small share of the
    time."""
    forces: ForcesMode = "conservative"
    """none: no derivative is computed, for targets."""
    conservative_after: float | None = None
    """Share of the run after which direct forces give way to conservative ones; None: never."""
    edge_dropout: float = 0.0
    """Probability that an edge is left out of a training graph (pre-training of JMP: 0.1)."""
    edge_dropout_compensation: Compensation = "output_sums"
    """What is scaled up for the edges left out: the sums of the output blocks (code) or all remaining edges
    (paper)."""
    activation_checkpointing: Checkpointing = "auto"
    """What is kept for the gradients: on keeps little and computes it again, off keeps all, auto what the
    free memory allows."""
    compile: CompileChoice = "auto"
    """Compiled training steps, on a CPU: on has a program made beside the run, whose first steps are computed
    as ever; auto does so where the run is long enough to earn it, and takes one that is there already."""
    freeze: str = "none"
    """What stays as it is: none, embedding, backbone, or the number of interaction blocks (with the
    embedding)."""
    lora_rank: int | None = None
    """Rank of the updates that are trained instead of the weights of the backbone (LoRA); None: no
    such updates."""
    lora_alpha: float | None = None
    """α of these updates (α/r) B A; None: twice the rank."""
    processes: int = 1
    """Processes that share each batch on a CPU, one thread each: faster than threads for a small network.
    With more than one, a script needs ``if __name__ == "__main__":`` around its work, because the processes
    import it."""
    seed: int = 0
    """Random seed of new weights and of the order of the data."""
    save_every_s: float = 120.0
    """Seconds between saved states when validations are further apart; may change in a resumed run."""

    def __post_init__(self) -> None:
        plain(self)
        _check(self.seed >= 0, "seed", "must be >= 0")
        _check(self.save_every_s >= 0, "save_every_s", "must be >= 0 (seconds)")
        _check(self.processes > 0, "processes", "must be positive")
        _check(self.epochs is None or self.epochs > 0, "epochs", "must be positive")
        _check(self.max_time is None or self.max_time > 0, "max_time", "must be positive (seconds)")
        _check(self.max_steps is None or self.max_steps > 0, "max_steps", "must be positive")
        _check(self.batch_size is None or self.batch_size > 0, "batch_size", "must be positive")
        _check(self.accumulate > 0, "accumulate", "must be positive")
        _check(self.max_edges_per_batch > 0, "max_edges_per_batch", "must be positive")
        _check_choice(self.precision, ("32-true", "bf16-mixed", "16-mixed"), "precision")
        _check(self.validate_every is None or self.validate_every > 0, "validate_every", "must be positive")
        _check(
            self.conservative_after is None or (self.forces == "direct" and 0 < self.conservative_after < 1),
            "conservative_after",
            "must lie between 0 and 1, with forces direct",
        )
        _check(self.processes == 1 or not self.optim.pcgrad, "pcgrad", "needs one process")
        _check(self.patience is None or self.patience > 0, "patience", "must be positive")
        _check_choice(self.metric, get_args(Metric), "metric")
        _check_choice(self.forces, ("conservative", "direct", "none"), "forces")
        _check(
            (self.forces == "none") == (self.loss.scalar_weight > 0),
            "forces",
            "must be none for scalars only",
        )
        _check(0 <= self.edge_dropout < 1, "edge_dropout", "must lie in [0, 1)")
        _check_choice(self.edge_dropout_compensation, get_args(Compensation), "edge_dropout_compensation")
        _check_choice(self.activation_checkpointing, ("auto", "on", "off"), "activation_checkpointing")
        _check_choice(self.compile, get_args(CompileChoice), "compile")
        _check(
            self.freeze in ("none", "embedding", "backbone") or self.freeze.isdecimal(),
            "freeze",
            "must be none, embedding, backbone or a number of blocks",
        )
        _check(self.lora_rank is None or self.lora_rank > 0, "lora_rank", "must be positive")
        _check(self.lora_rank is None or self.freeze == "none", "lora_rank", "cannot be combined with freeze")
        _check(
            self.lora_alpha is None or (self.lora_rank is not None and self.lora_alpha > 0),
            "lora_alpha",
            "must be positive, with a lora_rank",
        )

    def for_target(self, kind: TargetKind = "scalar") -> TrainConfig:
        """The same settings for a target: its loss alone, no derivatives, best model by its error.

        The loss is that of the settings for a scalar, cross-entropy for a class, the length of the error for
        a vector. A kind that the labels have yet to say counts as scalar.
        """
        forms: dict[TargetKind, tuple[ScalarLoss, Metric]] = {
            "scalar": (self.loss.scalar, "scalar_mae"),
            "class": ("cross_entropy", "balanced_accuracy"),
            "vector": ("norm", "vector_mae"),
        }
        form, metric = forms[kind]
        loss = dataclasses.replace(
            self.loss,
            energy_weight=0.0,
            forces_weight=0.0,
            stress_weight=0.0,
            scalar_weight=self.loss.scalar_weight or 1.0,
            scalar=form,
        )
        return dataclasses.replace(self, loss=loss, forces="none", metric=metric)

    @property
    def n_epochs(self) -> int | None:
        """Number of epochs after which the run ends; None: only max_time or max_steps ends it."""
        return (
            self.epochs
            if self.epochs is not None or self.max_time is not None or self.max_steps is not None
            else 100
        )

    @property
    def final_forces(self) -> ForcesMode:
        """How the finished network is meant to predict forces."""
        return self.forces if self.conservative_after is None else "conservative"


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain nested dict of the settings, ready for JSON or YAML."""
    data = dataclasses.asdict(config)
    data["loss"]["class_weights"] = list(config.loss.class_weights)
    data["optim"]["betas"] = list(config.optim.betas)
    data["optim"]["layer_rates"] = list(config.optim.layer_rates)
    return data


def config_diff(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines ``key: old -> new`` for every setting that differs between two nested dicts."""
    lines: list[str] = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += config_diff(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines


def _check(good: bool, name: str, demand: str) -> None:
    if not good:
        raise UsageError(
            f"{name} {demand}.", where=f"training setting {name}", hint="jmp-calc finetune --help"
        )


def _check_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise UsageError(
            f"{name} cannot be {value!r}.",
            where=f"training setting {name}",
            hint=f"choose one of {', '.join(choices)}",
        )
