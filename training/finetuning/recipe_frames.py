"""The frames of a recipe: its data set opened, split, checked and compared with the published statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError, UsageError

from ..data.frame import Frame
from ..data.screen import OnBad, Screen
from ..data.sources import Labelled
from ..datasets.base import SEED
from ..datasets.registry import family
from .recipes import FinetuneRecipe

_TOLERANCE = 0.01
"""Of the published force statistics: a larger difference means another unit, split or label."""


@dataclass(frozen=True, eq=False)
class RecipeFrames:
    """Frames of the three parts, and what to tell the user about them."""

    train: tuple[Frame, ...]
    valid: tuple[Frame, ...]
    test: tuple[Frame, ...]
    path: Path
    """The file they come from."""
    messages: tuple[str, ...]


def read_recipe_frames(
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    split: str | None = None,
    test_frames: int | None = None,
    on_bad: OnBad = "fail",
) -> RecipeFrames:
    """Open the data set of ``recipe`` in ``folder`` and divide it.

    Args:
        recipe: names data set, molecule and split.
        folder: where the files of the data set are.
        split: another split than the recipe's.
        test_frames: a random subset of the test frames (seed 42) of that size, reported as such; None: all.
        on_bad: whether a bad frame is an error or left out and counted.

    Raises:
        BadInputError: no frames to train on or to validate on are left.
    """
    chosen = family(recipe.dataset)
    assert chosen.split is not None  # every recipe has a set with splits
    source = chosen.open(folder, recipe.member)
    parts = chosen.split(source, folder, recipe.member, split or recipe.split)
    messages = [f"{recipe.name}: {len(source)} frames of {source.path.name}; split {parts.how}"]
    test = parts.test
    if test_frames is not None and test_frames < len(test):
        test = np.sort(np.random.default_rng(SEED).choice(test, test_frames, replace=False))
        messages.append(f"test: a random subset of {test_frames} of {len(parts.test)} frames (seed {SEED})")
    screen = Screen(on_bad)
    train, valid, tested = (
        tuple(screen.frames(source.take(part))) for part in (parts.train, parts.valid, test)
    )
    left_out = screen.message()
    messages += [left_out] if left_out else []
    if not train or not valid:
        raise BadInputError(
            f"{len(train)} frames to train on and {len(valid)} to validate on are left.",
            where=str(source.path),
            hint=left_out,
        )
    if recipe.force_std is not None:
        messages += _compared(force_rms(train), recipe, split)
    return RecipeFrames(train, valid, tested, source.path, tuple(messages))


def recipe_folder(given: Labelled | None) -> Path:
    """The folder (or file) of a data set; UsageError if something else was given."""
    if isinstance(given, (str, os.PathLike)):
        return Path(given)
    raise UsageError("A recipe reads one folder.", hint="give the folder with the files of its data set")


def force_rms(frames: Sequence[Frame]) -> float:
    """Root mean square of the force components, eV/Å."""
    return float(np.sqrt(np.mean(np.concatenate([f.forces for f in frames if f.forces is not None]) ** 2)))


def _compared(found: float, recipe: FinetuneRecipe, split: str | None) -> list[str]:
    published = recipe.force_std
    assert published is not None
    if abs(found / published - 1.0) <= _TOLERANCE or (split or recipe.split) != recipe.split:
        return []
    return [
        f"warning: the training forces have a root mean square of {found:.4f} eV/Å, published are "
        f"{published:.4f}: "
        "other units, another split or another version of the data?"
    ]
