"""A pre-training recipe as a whole: mixture of sets, network, training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jmp_calc.errors import UsageError

from ..config import TrainConfig
from ..run.job import STATE_FILE
from ..validation.history import METRICS, TASKS
from .chain import CURVE_FILE, Stage, StageOptions, stage_of
from .mixture import Mixture, changed, mixture_of, parse_table, read_recipe

Architecture = Literal["jmp-xs", "jmp-s", "jmp-l"]


@dataclass(frozen=True)
class NetworkOptions:
    """The ``[model]`` table of a recipe."""

    architecture: Architecture = "jmp-xs"
    cutoff: float = 12.0
    """Å, of the graphs of jmp-s and jmp-l (jmp-xs has its own)."""
    max_neighbors: int = 30
    """Of the main graph of jmp-s and jmp-l."""
    tags: Literal["ignore", "atoms"] = "ignore"
    """atoms: quadruplets only near atoms with tag 1 or 2, where the data have tags (jmp-s and jmp-l)."""
    dropout: float = 0.0
    """Probability that a feature is dropped in the dense layers of the atom updates, in training."""
    head_width: int | None = None
    """Width of the hidden layers of the heads; None: 32 for jmp-xs, as published (256) for the others."""
    head_layers: int | None = None
    """None: 3 for jmp-xs, 5 for the others."""

    @property
    def subtract_lone_atom(self) -> bool:
        """Whether a lone atom has the energy of its reference: in jmp-xs, not in the published networks."""
        return self.architecture == "jmp-xs"


PACK_FILE = "mixture.npz"


OUTPUTS = (
    STATE_FILE,
    METRICS,
    TASKS,
    "recipe.yaml",
    "report.yaml",
    "tasks.svg",
    PACK_FILE,
    "nan-batch.extxyz",
)


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that a recipe file says."""

    mixture: Mixture
    model: NetworkOptions
    train: TrainConfig
    content: dict[str, Any]
    """The file as it is."""
    stage: Stage | None = None
    """Of a chain; None: the run stands alone."""

    @property
    def seed(self) -> int:
        """Of the order of frames, and of those that are made."""
        return self.mixture.seed if self.stage is None else self.stage.seed(self.mixture.seed)


def staged(recipe: PretrainRecipe, options: StageOptions) -> PretrainRecipe:
    """The recipe as one stage of a chain, where the options say so.

    UsageError or BadInputError if the stage before cannot be used.
    """
    stage = stage_of(options, recipe.mixture.name)
    return recipe if stage is None else replace(recipe, stage=stage, train=stage.training(recipe.train))


def load_recipe(name_or_path: str | Path, changes: Sequence[str] = ()) -> PretrainRecipe:
    """Read and check a recipe (name or TOML file); UsageError names the table and key that cannot be meant.

    ``changes``: settings to replace, each written as ``train.optim.lr=1e-3``.
    """
    return recipe_of(changed(read_recipe(name_or_path), changes), str(name_or_path))


def recipe_of(content: dict[str, Any], where: str) -> PretrainRecipe:
    """The same from the content of a recipe; ``where`` is named in errors.

    Raises:
        UsageError: unknown tables, no learning rate, no forces.
    """
    unknown = sorted(set(content) - {"mixture", "model", "train", "heads", "sets"})
    if unknown:
        raise UsageError(
            f"The recipe has an unknown table [{unknown[0]}].",
            where=where,
            hint="its tables are mixture, model, train, heads and sets",
        )
    model = parse_table(NetworkOptions, content.get("model", {}), "model", where)
    train = parse_table(TrainConfig, _without_averaging(content.get("train", {})), "train", where)
    if train.optim.lr is None:
        raise UsageError("The recipe has no learning rate.", where=f"{where} [train.optim]", hint="lr = 3e-4")
    if train.forces == "none":
        raise UsageError("Pre-training needs forces: conservative or direct.", where=f"{where} [train]")
    return PretrainRecipe(mixture_of(content, where), model, train, content)


def _without_averaging(train: dict[str, Any]) -> dict[str, Any]:
    """The [train] table with ``ema_decay = "none"`` as what it means: TOML has no null."""
    optim = train.get("optim")
    if not isinstance(optim, dict) or optim.get("ema_decay") != "none":
        return train
    return {**train, "optim": {**optim, "ema_decay": None}}


def outputs(recipe: PretrainRecipe) -> tuple[str, ...]:
    """Names of all files that a run writes."""
    chain = () if recipe.stage is None else (stage_name(recipe.mixture), CURVE_FILE)
    return (model_name(recipe.mixture), *OUTPUTS, *chain)


def model_name(mixture: Mixture) -> str:
    """Name of the model file."""
    return f"{mixture.name.replace('-', '_')}.safetensors"


def stage_name(mixture: Mixture) -> str:
    """Name of the file from which the next stage starts."""
    return f"{mixture.name.replace('-', '_')}_stage.pt"
