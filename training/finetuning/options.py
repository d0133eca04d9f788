"""What a fine-tuning starts from and which data it reads: the settings beside those of the training
itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from jmp_calc.arguments import plain
from jmp_calc.errors import UsageError
from jmp_calc.graph.policy import CONDITIONAL_NEIGHBORS, FewerNeighbors
from jmp_calc.inference.settings import portable
from jmp_calc.model.config import UNTOLD_LEVEL, Theory

from ..audit.audit import check_codes
from ..batches.replay import SHARE
from ..config import LossConfig, TrainConfig
from ..data.keys import LabelKeys
from ..data.label_units import LabelUnits, StressSign
from ..data.screen import OnBad
from ..data.sources import Labelled, sources
from ..targets.options import TargetTask
from .recipe_theory import recipe_theory
from .recipes import FinetuneRecipe
from .theory import in_one_line

SCRATCH = "scratch:"
OLD_HEADS = ("auto", "scratch")
"""What may stand in the place of the name of an old head."""
VALID_FRACTION = 0.1


@dataclass(frozen=True)
class ModelOptions:
    """What to start from and what to keep."""

    model: str = "jmp-xs"
    """Name or path; with the prefix ``scratch:`` only its architecture is used."""
    head: str = "auto"
    """Old head that the new one starts from: auto (smallest force error on a few frames), scratch (new
    weights), or a name."""
    head_name: str = "finetuned"
    """Name of the new head."""
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
    committee: int = 1
    """Heads that are trained side by side on resampled frames; their spread is the uncertainty of the
    first."""
    level_of_theory: str | None = None
    """Level of theory of the labels in one line, for people; None: from ``theory``, or as in the training
    data."""
    theory: Theory = Theory()
    """Level of theory in fields: functional, basis, dispersion, spin, hubbard_u, such as
    functional=PBE,basis=def2-SVP,dispersion=none. Of a published task what its paper says, unless it is
    given."""
    dtype: str = "float32"
    """Precision of the weights, float32 or float64."""

    def __post_init__(self) -> None:
        plain(self)
        if self.graph not in ("smooth", "official"):
            raise UsageError(f"Graph cannot be {self.graph!r}.", hint="choose smooth or official")
        name = self.head_name
        if not name.replace("-", "_").isidentifier():
            raise UsageError(f"{name!r} is not a name for a head.", hint="use letters, digits, - and _")
        if name in OLD_HEADS:
            raise UsageError(
                f"A new head cannot have the name {name!r}: --head {name} has a meaning of its own.",
                hint="choose another --head-name",
            )
        if self.committee < 1:
            raise UsageError(f"A committee has at least one head, not {self.committee}.")
        if self.from_scratch and self.keep_heads:
            raise UsageError(
                "A network from scratch has no old heads to keep.", hint="leave out --keep-heads"
            )

    @property
    def from_scratch(self) -> bool:
        """Whether new random weights are used."""
        return self.model.startswith(SCRATCH)

    @property
    def level(self) -> str:
        """Level of theory in one line: what was said, else from its fields."""
        said = self.level_of_theory if self.level_of_theory != UNTOLD_LEVEL else None
        return said or in_one_line(self.theory) or UNTOLD_LEVEL

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
            head="scratch" if self.head == "auto" else self.head,
            theory=recipe_theory(recipe.dataset, recipe.member) if self.theory == Theory() else self.theory,
        )


@dataclass(frozen=True)
class DataOptions:
    """Which frames are used for what, and how their labels are read."""

    train: Labelled | None = None
    """Labelled frames: files, folders, patterns, or structures with their labels."""
    valid: Labelled | None = None
    """Frames to choose the best model by; None: a share of the training frames."""
    test: Labelled | None = None
    """Frames that are evaluated before and after training."""
    keys: LabelKeys = field(default_factory=LabelKeys)
    """Names of the labels in the data."""
    index: str = ":"
    """Frames of every training file, as a slice."""
    valid_fraction: float | None = None
    """Share of the training frames used for validation, in contiguous blocks; None: 0.1 where they have to
    serve."""
    valid_every: int | None = None
    """Every n-th frame for validation instead of contiguous blocks (for files without trajectories)."""
    references: str | Path | dict[str, float] = "auto"
    """auto, isolated, lstsq, energies by symbol (eV), a YAML file of them, or a file of isolated atoms, with
    the keys and units of the training frames."""
    allow_missing: tuple[str, ...] = ()
    """Labels that some or all frames may lack; they are masked."""
    allow_truncated: bool = False
    """Drop an incomplete last frame."""
    allow: tuple[str, ...] = ()
    """Codes of audit findings that are accepted, such as ``duplicates``."""
    energy_unit: str | None = None
    """Unit of energies that are not in eV, in all files: hartree, kcal/mol, ..."""
    length_unit: str | None = None
    """Unit of lengths that are not in Å, in all files: bohr, nm."""
    forces_unit: str | None = None
    """Unit of forces, such as hartree/bohr."""
    stress_unit: str | None = None
    """Unit of stresses, such as GPa or kbar."""
    stress_sign: StressSign | None = None
    """What is positive: tension as in ASE, or pressure as VASP prints it."""
    groups: tuple[str, ...] = ()
    """Only frames of this config_type, or with these elements (Si, Cu-O); all if none is given."""
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
    """FILE or FILE:HEAD: earlier data that are trained on too, each under its old head, against
    forgetting."""
    replay_share: float | None = None
    """Share of the structures of every step that are replayed; None: 0.2."""
    n_train: int | None = None
    """Size of a random subset of the training frames; None: all."""
    seed: int = 0
    """Random seed of the split and of the subset."""

    def __post_init__(self) -> None:
        plain(self)
        check_codes(self.allow)
        self.units.scales()
        pairs = ("valid", "valid_fraction"), ("valid", "valid_every"), ("valid_every", "valid_fraction")
        for a, b in pairs:
            if getattr(self, a) is not None and getattr(self, b) is not None:
                raise _contradiction(a, b)
        if self.replay_share is not None and not self.replay:
            raise UsageError(
                "--replay-share has no meaning without --replay.", hint="add --replay FILE or leave it out"
            )

    @property
    def units(self) -> LabelUnits:
        """Units of all files."""
        return LabelUnits(
            energy=self.energy_unit,
            length=self.length_unit,
            forces=self.forces_unit,
            stress=self.stress_unit,
            stress_sign=self.stress_sign or "tension",
        )

    @property
    def share(self) -> float:
        """Share of the structures of every step that are replayed, if there are any."""
        return SHARE if self.replay_share is None else self.replay_share

    def check(self) -> None:
        """UsageError for choices that have no meaning together, once they are all made."""
        if self.recipe is None:
            for name in ("split", "test_frames"):
                if getattr(self, name) is not None:
                    raise UsageError(
                        f"{_option(name)} has no meaning without --recipe.", hint="jmp-calc recipes list"
                    )
        elif own := [name for name in self._given() if name in _READ_BY_RECIPE]:
            raise UsageError(
                f"--recipe and {_option(own[0])} contradict each other.",
                hint="the recipe says which frames and labels are used",
            )
        target = self.target if self.recipe is None else self.recipe.target_task
        if target is not None and (wrong := [name for name in self._given() if name in _OF_ENERGIES]):
            what = self.recipe.name if self.recipe else "--target"
            raise _no_energies(wrong[0], f"{what} trains on a {target.kind or 'scalar'}")

    def _given(self) -> list[str]:
        """Names of the settings that are not at their defaults, of the keys one by one."""
        keys = [f"{name}_key" for name, value in vars(self.keys).items() if value is not None]
        fields = [item for item in dataclasses.fields(self) if item.name != "keys"]
        return [*keys, *(item.name for item in fields if getattr(self, item.name) != item.default)]


def refuse_energies(config: TrainConfig) -> None:
    """UsageError for weights of energies, forces or stress in a run on a target."""
    for name in ("energy_weight", "forces_weight", "stress_weight"):
        if getattr(config.loss, name) not in (getattr(LossConfig, name), 0.0):
            raise _no_energies(name, "--target trains on a scalar, class or vector")


_KEYS = ("energy_key", "forces_key", "stress_key", "virials_key")
_READ_BY_RECIPE = (
    *("valid", "test", "index", "valid_fraction", "valid_every", "allow_missing", "allow_truncated"),
    *("energy_unit", "length_unit", "forces_unit", "stress_unit", "stress_sign", "groups", "target"),
    *_KEYS,
)
"""What the recipe of a published task decides."""
_OF_ENERGIES = (
    *_KEYS,
    *("energy_unit", "forces_unit", "stress_unit", "stress_sign", "allow_missing", "references"),
)
"""What has no meaning in a run on a target."""


def input_files(data: DataOptions) -> tuple[Path, ...]:
    """Files with frames that a run reads."""
    given = [sources(item).files for item in (data.train, data.valid, data.test)] if not data.recipe else []
    earlier = [Path(file_and_head(text)[0]) for text in (*data.retain, *data.replay)]
    return (*(path for files in given for path in files), *(path for path in earlier if path.is_file()))


def start_file(start: ModelOptions) -> tuple[Path, ...]:
    """The file of the start model, if it is one that the user named."""
    path = Path(start.model.removeprefix(SCRATCH))
    return (path,) if path.is_file() else ()


def file_and_head(text: str) -> tuple[str, str | None]:
    """The parts of ``FILE`` or ``FILE:HEAD``."""
    if ":" not in text or Path(text).exists():
        return text, None
    path, head = text.rsplit(":", 1)
    return path, head


def _option(name: str) -> str:
    """The option of a field, for messages."""
    return f"--{ {'references': 'E0s', 'groups': 'group'}.get(name, name).replace('_', '-') }"


def _no_energies(name: str, reason: str) -> UsageError:
    return UsageError(f"{_option(name)} has no meaning here: {reason}.", hint="leave it out")


def _contradiction(a: str, b: str) -> UsageError:
    return UsageError(f"{_option(a)} and {_option(b)} contradict each other.", hint="leave one of them out")


def refuse_old_weights(options: ModelOptions, config: TrainConfig) -> None:
    """UsageError for settings about the weights of the start model in a run that takes its architecture
    only."""
    about = {
        "--freeze": config.freeze != "none",
        "--lora-rank": config.lora_rank is not None,
        "--head": options.head not in OLD_HEADS,
    }
    given = [name for name, is_given in about.items() if is_given]
    if options.from_scratch and given:
        raise UsageError(
            f"--from-scratch and {given[0]} contradict each other.",
            where=f"start model {options.model}",
            hint="leave one of them out: new weights are all trained, under one new head",
        )
