"""Make the frames of a stage that are missing: sampled from its seed, without what is held out, and labelled
by the teachers of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.io.plain_yaml import read_yaml
from jmp_calc.io.progress import Say
from jmp_calc.io.schema import parse

from ..data.to_ase import to_atoms
from .build_pack import split_set
from .filters import Rules, read_set
from .holdout import exclusions, held_out
from .made import Made
from .mixture import Mixture, MixtureSet
from .shards import LABELLED, Shards

if TYPE_CHECKING:
    from ase import Atoms

    from jmp_calc import JMPCalculator

SAMPLES = "samples.extxyz"
"""As ``jmp-calc sample`` calls them."""
DRAW_STEP = 7919
"""Between the seeds of the draws of a stage; those of stages are farther apart."""


@dataclass(frozen=True)
class Teacher:
    """How one teacher is asked on this machine."""

    python: str | None = None
    """Interpreter of the environment that has it; None: ours."""
    weights: str | None = None
    """File of weights, where its package has none."""
    processes: int = 1
    """Processes that label side by side."""


@dataclass(frozen=True)
class Makers:
    """Who makes frames, and with how many processes."""

    teachers: dict[str, Teacher]
    """By the name of the calculator in the recipe; others are asked with the defaults."""
    processes: int = 1
    """Processes that sample."""


def read_makers(path: Path | None) -> Makers:
    """The teachers of this machine from a YAML file: ``teachers: {ani2x: {python: ..., weights: ...}}``.

    UsageError for a file that is none.
    """
    if path is None:
        return Makers({})
    try:
        return parse(Makers, read_yaml(path, "teachers file"), "teachers")
    except ModelError as error:
        raise UsageError(
            f"The teachers file: {error.fact}", where=f"{path} [{error.where}]", hint=error.hint
        ) from error


@dataclass(frozen=True)
class Lot:
    """Frames of one part of a set that are made together."""

    item: MixtureSet
    made: Made
    part: Path
    """Folder of the part."""
    frames: int
    seed: int
    like: Callable[[], Sequence[Atoms]] | None = None
    """Reads the crystals that half of the frames are like; None: there are none."""
    is_relaxed: bool = False
    """Half of the frames are relaxed as the recipe says."""

    @property
    def folder(self) -> Path:
        """Folder of the labelled frames."""
        return self.part / self.item.name

    @property
    def samples(self) -> Path:
        """File of the structures; sets with the same sample share it."""
        made = self.made
        elements = "".join(f"-{name}" for name in made.elements)
        draw = f"-{made.draw}" if made.draw else ""
        alike = "" if self.like is None else "".join(f"-like-{name}" for name in made.like)
        relaxed = f"-relaxed-{made.relaxed_by}-{made.relaxed_head}" if self.is_relaxed else ""
        return self.part / f"{made.sample}-{self.frames}{elements}{draw}{alike}{relaxed}" / SAMPLES


def missing_lots(mixture: Mixture, shards: Shards, seed: int, data: Path | None = None) -> list[Lot]:
    """What the folder of the shards lacks, in the order in which it is made; arguments as of
    ``make_missing``."""
    train, valid = shards.parts
    lots = []
    for item in mixture.sets:
        made = item.made
        if made is None:
            continue
        if made.valid_frames:
            lots.append(Lot(item, made, valid, made.valid_frames, mixture.seed))
        like = partial(crystals_that_train, mixture, made, data) if made.like else None
        lots.append(Lot(item, made, train, made.frames, seed, like, bool(made.relaxed_by)))
    return [lot for lot in lots if not (lot.folder / LABELLED).is_file()]


def make_missing(
    mixture: Mixture, shards: Shards, seed: int, makers: Makers, say: Say, data: Path | None = None
) -> None:
    """Sample and label what the folder of the shards lacks; a making that was stopped goes on.

    Args:
        mixture: the recipe.
        shards: of the stage.
        seed: of the frames to train on; those that validate have the seed of the mixture.
        makers: of this machine.
        say: receives lines of progress.
        data: folder of the files of the sets that crystals are like.

    Raises UsageError where crystals are to be like those of a set and there are no ``data``, and the errors
    of ``jmp-calc sample`` and ``jmp-calc label``.
    """
    for lot in missing_lots(mixture, shards, seed, data):
        _make(lot, makers, say)


def check_making(lots: Sequence[Lot], makers: Makers) -> None:
    """Raise what the making of the lots would, as far as settings and files tell: nothing is drawn, and no
    teacher is started."""
    from jmp_calc.labelling.settings import LabelSettings
    from jmp_calc.labelling.teacher_file import check_teacher
    from jmp_calc.sampling.rdkit_extra import require_rdkit
    from jmp_calc.sampling.settings import MOLECULES, SampleSettings

    for lot in lots:
        made = lot.made
        if not lot.samples.is_file():
            if made.sample == MOLECULES:
                require_rdkit()
            calc = _relaxing(made) if lot.is_relaxed else None
            SampleSettings(what=made.sample, count=lot.frames, elements=made.elements or None, calc=calc)
        check_teacher(LabelSettings(**_asked(lot, makers)))


def crystals_that_train(mixture: Mixture, made: Made, data: Path | None) -> list[Atoms]:
    """Crystals that train, of the sets that a made set is to be like.

    Raises:
        UsageError: there are no ``data``.
    """
    found: list[Atoms] = []
    for item in (item for item in mixture.sets if item.name in made.like):
        if data is None:
            raise UsageError(
                f"Crystals are to be like those of the set {item.name!r}, and there are no data.",
                where=mixture.name,
                hint="--data FOLDER with the files of the recipe",
            )
        read = read_set(item, tuple(data / file for file in item.files), Rules(mixture, held_out()))
        for frame in split_set(item, read, mixture)[0]:
            atoms = to_atoms(frame)
            atoms.calc = None
            found.append(atoms)
    return found


def _make(lot: Lot, makers: Makers, say: Say) -> None:
    from jmp_calc.labelling.label import label

    name = f"{lot.part.name}/{lot.item.name}"
    _sample(lot, makers, say)
    say(f"labelling {name} with {lot.made.calculator}")
    result = label([lot.samples], out=lot.folder, resume=True, **_asked(lot, makers))
    say(f"{name}: {result!r}, {dict(result.left_out)}, {result.seconds:.0f} s")


def _asked(lot: Lot, makers: Makers) -> dict[str, Any]:
    """Arguments of ``jmp-calc label``: what the recipe says of the labels, this machine of the teacher."""
    teacher = makers.teachers.get(lot.made.calculator, Teacher())
    return {
        "calculator": lot.made.calculator,
        "weights": teacher.weights,
        "python": teacher.python,
        "processes": teacher.processes,
        "max_force": lot.item.max_force,
        "max_spread": lot.made.max_spread,
    }


def _sample(lot: Lot, makers: Makers, say: Say) -> None:
    """Draw the structures of a lot, unless another set has."""
    from jmp_calc.sampling.sample import sample

    made, folder = lot.made, lot.samples.parent
    if lot.samples.is_file():
        return
    say(f"sampling {lot.frames} {made.sample} for {lot.part.name}")
    folder.mkdir(parents=True, exist_ok=True)
    result = sample(
        made.sample,
        count=lot.frames,
        seed=lot.seed + DRAW_STEP * made.draw,
        elements=made.elements or None,
        exclude=exclusions(made.sample, lot.part / f"exclude-{made.sample}.txt"),
        like=() if lot.like is None else lot.like(),
        calc=_relaxing(made) if lot.is_relaxed else None,
        processes=makers.processes,
        out=folder,
    )
    say(f"{lot.part.name}/{folder.name}: {result!r}, {result.near_copies} near copies left out")


def _relaxing(made: Made) -> JMPCalculator:
    from jmp_calc import JMPCalculator

    return JMPCalculator(made.relaxed_by, head=made.relaxed_head)
