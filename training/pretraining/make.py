"""Make the frames of a stage that are missing: sampled from its seed, without what is held out, and labelled
by the teachers of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.io.plain_yaml import read_yaml
from jmp_calc.io.progress import Say
from jmp_calc.io.schema import parse

from .holdout import exclusions
from .mixture import Made, Mixture, MixtureSet
from .shards import LABELLED, Shards

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


def make_missing(mixture: Mixture, shards: Shards, seed: int, makers: Makers, say: Say) -> None:
    """Sample and label what the folder of the shards lacks; a making that was stopped goes on.

    Args:
        mixture: the recipe.
        shards: of the stage.
        seed: of the frames to train on; those that validate have the seed of the mixture.
        makers: of this machine.
        say: receives lines of progress.

    Raises the errors of ``jmp-calc sample`` and ``jmp-calc label``.
    """
    train, valid = shards.parts
    for item in mixture.sets:
        made = item.made
        if made is None:
            continue
        if made.valid_frames:
            _make(item, made, valid, made.valid_frames, mixture.seed, makers, say)
        _make(item, made, train, made.frames, seed, makers, say)


def _make(item: MixtureSet, made: Made, part: Path, frames: int, seed: int, makers: Makers, say: Say) -> None:
    from jmp_calc.labelling.label import label

    folder = part / item.name
    if (folder / LABELLED).is_file():
        return
    samples = _sampled(made, part, frames, seed, makers, say)
    teacher = makers.teachers.get(made.calculator, Teacher())
    say(f"labelling {part.name}/{item.name} with {made.calculator}")
    result = label(
        [samples],
        made.calculator,
        out=folder,
        weights=teacher.weights,
        python=teacher.python,
        processes=teacher.processes,
        max_force=item.max_force,
        max_spread=made.max_spread,
        resume=True,
    )
    say(f"{part.name}/{item.name}: {result!r}, {dict(result.left_out)}, {result.seconds:.0f} s")


def _sampled(made: Made, part: Path, frames: int, seed: int, makers: Makers, say: Say) -> Path:
    """File of the structures; sets with the same sample share it."""
    from jmp_calc.sampling.sample import sample

    elements = "".join(f"-{name}" for name in made.elements)
    draw = f"-{made.draw}" if made.draw else ""
    folder = part / f"{made.sample}-{frames}{elements}{draw}"
    path = folder / SAMPLES
    if not path.is_file():
        say(f"sampling {frames} {made.sample} for {part.name}")
        folder.mkdir(parents=True, exist_ok=True)
        result = sample(
            made.sample,
            count=frames,
            seed=seed + DRAW_STEP * made.draw,
            elements=made.elements or None,
            exclude=exclusions(made.sample, part / f"exclude-{made.sample}.txt"),
            processes=makers.processes,
            out=folder,
        )
        say(f"{part.name}/{folder.name}: {result!r}, {result.near_copies} near copies left out")
    return path
