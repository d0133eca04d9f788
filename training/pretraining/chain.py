"""A pre-training in stages: each draws its own frames, trains at a constant rate, and ends with one small
file from which the next one starts; only the last lets the rate decay.

A stage may end at any time, because its file is written with every saved state: weights, averages, how many
steps and stages there were, and the errors of every stage so far. Moments of the optimizer are not in it: the
next stage warms up with fresh ones. No stage needs the frames of an earlier one.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.atomic import replacing
from jmp_calc.model.config import ModelConfig, model_config_from_dict

from ..config import OptimConfig, TrainConfig
from ..run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..validation.history import read_tasks
from .pack import PackedSet, packed_set

if TYPE_CHECKING:
    from torch import Tensor

CURVE_FILE = "curve.csv"
SEED_STEP = 1_000_003
"""Seeds of the stages are so far apart, from the one of the recipe on."""
CURVE_COLUMNS = (
    "stage",
    "steps",
    "head",
    "set",
    "frames",
    "energy_mae_mev_per_atom",
    "forces_mae_mev_per_a",
    "stress_mae_gpa",
)


@dataclass(frozen=True)
class StageOptions:
    """One stage of a chain."""

    start: Path | None = None
    """File of the stage before; None: the first stage."""
    minutes: float | None = None
    """Time for training, without the making of frames."""
    steps: int | None = None
    """Optimizer steps, instead of the time or beside it."""
    last: bool = False
    """Whether the rate decays, as the recipe says: no stage comes after."""

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None and (self.start is not None or self.last):
            raise UsageError("A stage needs a length.", hint="--stage-minutes 90, or --stage-steps 10000")
        for value, name in ((self.minutes, "--stage-minutes"), (self.steps, "--stage-steps")):
            if value is not None and value <= 0:
                raise UsageError(
                    f"{name} is {value:g}, not positive.", hint="a stage takes at least one step"
                )

    @property
    def given(self) -> bool:
        """Whether the run is a stage of a chain."""
        return self.minutes is not None or self.steps is not None


@dataclass(frozen=True, eq=False)
class StageFile:
    """What a stage left for the next one."""

    recipe: str
    """Name of the recipe."""
    stages: int
    """Stages done."""
    steps: int
    """Optimizer steps of all of them."""
    model: ModelConfig
    """The network as it is trained, without references."""
    weights: Mapping[str, Tensor]
    averages: Mapping[str, Tensor]
    sets: tuple[PackedSet, ...]
    """The data sets of the last stage, with their references."""
    curve: tuple[dict[str, Any], ...]
    """Validation errors of every set at the end of each stage, see ``CURVE_COLUMNS``."""


@dataclass(frozen=True)
class Stage:
    """The stage that a run is."""

    options: StageOptions
    start: StageFile | None

    @property
    def number(self) -> int:
        """Counted from 1."""
        return 1 if self.start is None else self.start.stages + 1

    @property
    def steps_before(self) -> int:
        """Optimizer steps of all earlier stages."""
        return 0 if self.start is None else self.start.steps

    def seed(self, recipe_seed: int) -> int:
        """Seed of the frames of this stage and of their order."""
        return recipe_seed + SEED_STEP * self.number

    def training(self, config: TrainConfig) -> TrainConfig:
        """The settings of the recipe for this stage: its own length, and no decay unless it is the last.

        UsageError for a schedule by epochs, or a change from direct forces in the course of a stage."""
        minutes, optim = self.options.minutes, config.optim
        if optim.stages is not None:
            raise UsageError(
                "A chain of stages has its own schedule.", where="[train.optim.stages]", hint="leave it out"
            )
        if config.conservative_after is not None:
            raise UsageError(
                "Every stage of a chain would begin with direct forces again.",
                where="train.conservative_after",
                hint="leave it out, or train in one run without stages",
            )
        return dataclasses.replace(
            config,
            max_time=None if minutes is None else 60.0 * minutes,
            max_steps=self.options.steps,
            epochs=None,
            seed=self.seed(config.seed),
            optim=optim if self.options.last else constant(optim),
        )


def constant(optim: OptimConfig) -> OptimConfig:
    """The same rate after the warm-up to the end."""
    return dataclasses.replace(optim, final_lr=1.0)


def stage_of(options: StageOptions, recipe: str) -> Stage | None:
    """The stage that the options mean; None: no chain.

    UsageError or BadInputError if its start cannot be used.
    """
    if not options.given:
        return None
    start = None if options.start is None else read_stage(options.start)
    if start is not None and start.recipe != recipe:
        raise UsageError(
            f"The stage was trained by the recipe {start.recipe!r}, not {recipe!r}.",
            where=str(options.start),
            hint="give the recipe of the chain",
        )
    return Stage(options, start)


def read_stage(path: Path) -> StageFile:
    """Read the file of a stage; UsageError if there is none, BadInputError if it is damaged or foreign."""
    if not path.is_file():
        raise UsageError("There is no file of a stage.", where=str(path), hint="a stage writes NAME_stage.pt")
    try:
        saved = load_checkpoint(path)
        chain = saved.data["chain"]
        return StageFile(
            str(chain["recipe"]),
            int(chain["stages"]),
            int(chain["steps"]),
            model_config_from_dict(saved.model_config),
            saved.weights,
            saved.ema,
            tuple(packed_set(entry) for entry in chain["sets"]),
            tuple(chain["curve"]),
        )
    except BadInputError as error:
        raise BadInputError(
            "The file of the stage is damaged, or was written by another version or program.",
            where=str(path),
            hint="fetch it again, or start from the stage before",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            "This is the state of a run, not the file of a stage.", where=str(path), hint="give NAME_stage.pt"
        ) from error


def write_stage(
    path: Path,
    state: Checkpoint,
    stage: Stage,
    recipe: str,
    sets: Sequence[PackedSet],
) -> None:
    """Write what the next stage starts from, and the errors of the chain beside it.

    Args:
        path: of the file; CURVE_FILE is in the same folder, beside the tasks.csv of this run.
        state: as it was just saved.
        stage: that the run is.
        recipe: its name.
        sets: the data sets of the run.
    """
    earlier = () if stage.start is None else stage.start.curve
    steps = stage.steps_before + state.progress.step
    curve = [*earlier, *curve_rows(path.parent, stage, {item.name: item.head for item in sets})]
    chain = {
        "recipe": recipe,
        "stages": stage.number,
        "steps": steps,
        "sets": [dataclasses.asdict(item) for item in sets],
        "curve": curve,
    }
    small = dataclasses.replace(state, optimizer={}, rng={}, totals={}, data={"chain": chain})
    save_checkpoint(path, small)
    write_curve(path.with_name(CURVE_FILE), curve)


def curve_rows(folder: Path, stage: Stage, heads: Mapping[str, str]) -> list[dict[str, Any]]:
    """Errors of every set at the last validation of a run."""
    rows = read_tasks(folder)
    last = max((int(row["step"]) for row in rows), default=0)
    return [
        {
            "stage": stage.number,
            "steps": stage.steps_before + last,
            "head": heads[row["task"]],
            "set": row["task"],
            "frames": int(row["n_structures"]),
            **errors_in(row),
        }
        for row in rows
        if int(row["step"]) == last
    ]


def errors_in(row: Mapping[str, str]) -> dict[str, float | None]:
    """The errors among the columns of a row of text; None where a set has no such label."""
    return {name: float(row[name]) if row[name] else None for name in CURVE_COLUMNS[5:]}


def write_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the errors of a chain as a table."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
