"""What a fine-tuning starts from and which data it reads: the settings beside those of the training
itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jmp_calc.errors import UsageError
from jmp_calc.graph.policy import CONDITIONAL_NEIGHBORS, FewerNeighbors
from jmp_calc.inference.settings import portable

from ..audit.audit import check_codes
from ..batches.replay import SHARE
from ..config import TrainConfig
from ..data.keys import LabelKeys
from ..data.label_units import LabelUnits, StressSign
from ..data.screen import OnBad
from ..targets.options import TargetTask
from .recipes import FinetuneRecipe

if TYPE_CHECKING:
    from .recipes import FinetuneRecipe


SCRATCH = "scratch:"


@dataclass(frozen=True)
class ModelOptions:
    """What to start from and what to keep."""

    model: str = "jmp-xs"
    """Name or path; with the prefix ``scratch:`` only its architecture is used."""
    head: str = "finetuned"
    """Name of the new head."""
    init_head: str = "auto"
    """Old head that the new one starts from: auto (smallest force error on a few frames), scratch, or a
    name."""
    keep_heads: bool = False
    """Keep the old heads in the written file; after full fine-tuning they no longer fit the backbone."""
    graph: str = "smooth"
    """Graph policy for official weights: smooth, or official to reproduce published numbers."""
    cutoff: float | None = None
    """Å, of official graphs (and of smooth ones made from them); None: the model's."""
    max_neighbors: int | None = None
    """Neighbours of official graphs; None: the model's."""
    fewer_neighbors: tuple[FewerNeighbors, ...] | None = None
    """Fewer of them in large structures; None: as the model."""
    head_bias: bool | None = None
    """Whether the hidden layers of a new head have a bias; None: as the old heads."""
    level_of_theory: str = "as in the training data"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.graph not in ("smooth", "official"):
            raise UsageError(f"Graph cannot be {self.graph!r}.", hint="choose smooth or official")
        if not self.head.isidentifier() and not self.head.replace("-", "_").isidentifier():
            raise UsageError(f"{self.head!r} is not a name for a head.", hint="use letters, digits, - and _")
        if self.from_scratch and self.keep_heads:
            raise UsageError(
                "A network from scratch has no old heads to keep.", hint="leave out --keep-heads"
            )

    @property
    def from_scratch(self) -> bool:
        """Whether new random weights are used."""
        return self.model.startswith(SCRATCH)

    @property
    def absolute_model(self) -> str:
        """``model``, with the absolute path if it is one."""
        path = portable(self.model.removeprefix(SCRATCH))
        return f"{SCRATCH}{path}" if self.from_scratch else path

    def for_recipe(self, recipe: FinetuneRecipe) -> ModelOptions:
        """The same with the graphs and the new head of a published task; an old head that was named stays."""
        scratch = recipe.from_scratch and not self.from_scratch
        return dataclasses.replace(
            self,
            model=SCRATCH + self.model if scratch else self.model,
            cutoff=recipe.cutoff,
            max_neighbors=recipe.max_neighbors,
            fewer_neighbors=CONDITIONAL_NEIGHBORS if recipe.conditional_neighbors else (),
            head_bias=recipe.head_bias,
            init_head="scratch" if self.init_head == "auto" else self.init_head,
        )


@dataclass(frozen=True)
class DataOptions:
    """Which frames are used for what, and how their labels are read."""

    train: str | Path
    valid: str | Path | None = None
    test: str | Path | None = None
    keys: LabelKeys = field(default_factory=LabelKeys)
    index: str = ":"
    """Frames of the training file, as a slice."""
    valid_fraction: float = 0.1
    """Share of the training file used for validation when there is no file for it."""
    valid_every: int | None = None
    """Every n-th frame for validation instead of contiguous blocks (for files without trajectories)."""
    references: str | Path | dict[str, float] = "auto"
    """auto, isolated, lstsq, energies by symbol (eV), a YAML file of them, or a file of isolated atoms, with
    the keys and units of the training frames."""
    allow_missing: tuple[str, ...] = ()
    """Labels that some or all frames may lack; they are masked."""
    allow_truncated: bool = False
    allow: tuple[str, ...] = ()
    """Codes of audit findings that are accepted, such as ``duplicates``."""
    energy_unit: str | None = None
    length_unit: str | None = None
    forces_unit: str | None = None
    """Unit of the forces where they are not in that of energies per length, such as hartree/bohr."""
    stress_unit: str | None = None
    """Unit of the stress, such as GPa or kbar."""
    stress_sign: StressSign = "tension"
    """What is positive: tension as in ASE, or pressure as VASP prints it."""
    groups: tuple[str, ...] = ()
    """Only frames with one of these config_types or formulas; empty: all."""
    target: TargetTask | None = None
    """A scalar, class or vector to train on instead of energies, forces and stresses."""
    recipe: FinetuneRecipe | None = None
    """Data set and split of a published task; ``train`` is then the folder (or file) of the data set."""
    split: str | None = None
    """Another split of the data set than the recipe's."""
    test_frames: int | None = None
    """Size of a random subset of the recipe's test frames; None: all."""
    on_bad: OnBad = "fail"
    """Whether a bad frame of the recipe's data set is an error or left out and counted."""
    retain: tuple[str, ...] = ()
    """FILE or FILE:HEAD: earlier data that are evaluated under an old head before, during and after training;
    keys and units are those of the training frames."""
    replay: tuple[str, ...] = ()
    """The same for earlier data that are trained on, each under its old head, beside the new ones."""
    replay_share: float = SHARE
    """Share of the structures of every step that are replayed."""
    n_train: int | None = None
    """Size of a random subset of the training frames; None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_codes(self.allow)
        self.units.scales()

    @property
    def units(self) -> LabelUnits:
        """Units of all files."""
        return LabelUnits(
            energy=self.energy_unit,
            length=self.length_unit,
            forces=self.forces_unit,
            stress=self.stress_unit,
            stress_sign=self.stress_sign,
        )


def refuse_old_weights(options: ModelOptions, config: TrainConfig) -> None:
    """UsageError for settings about the weights of the start model in a run that takes its architecture
    only."""
    about = {
        "--freeze": config.freeze != "none",
        "--lora-rank": config.lora_rank is not None,
        "--head": options.init_head not in ("auto", "scratch"),
    }
    given = [name for name, is_given in about.items() if is_given]
    if options.from_scratch and given:
        raise UsageError(
            f"--from-scratch and {given[0]} contradict each other.",
            where=f"start model {options.model}",
            hint="leave one of them out: new weights are all trained, under one new head",
        )
