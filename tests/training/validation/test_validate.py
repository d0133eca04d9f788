"""The validation loss is that of one batch with the whole set, and the better weights are chosen by it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from jmp_calc.errors import NotConvergedError
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.loss import loss_terms
from jmp_calc.training.validation.metrics import Errors, Predictions
from jmp_calc.training.validation.validate import Measured, better, validate
from tests.training.helpers.tiny import emt_frames, tiny_potential


def partly_labelled() -> list[Frame]:
    """Structures of two sizes, of which only some have an energy, forces or a stress."""
    frames = []
    for i, frame in enumerate(emt_frames(8)):
        if i % 3 == 0:
            frame = dataclasses.replace(frame, forces=None)
        if i % 2:
            frame = dataclasses.replace(frame, energy=None)
        if i not in (1, 6):
            frame = dataclasses.replace(frame, stress=None)
        if i == 4:  # twice as many atoms
            frame = dataclasses.replace(
                frame,
                numbers=np.tile(frame.numbers, 2),
                positions=np.concatenate([frame.positions, frame.positions + frame.cell[0]]),
                cell=frame.cell * np.array([[2], [1], [1]]),
                forces=None if frame.forces is None else np.tile(frame.forces, (2, 1)),
            )
        frames.append(frame)
    return frames


@pytest.mark.parametrize("structure_wise", [True, False])
def test_the_loss_does_not_depend_on_the_batches(structure_wise: bool) -> None:
    potential, frames = tiny_potential().double(), partly_labelled()
    config = LossConfig(structure_wise=structure_wise)
    graphs = FrameGraphs(frames, potential.config.policy, Task("old"))
    target = graphs.collate(range(len(frames)))
    prediction = potential(target.batch, heads=target.heads, forces="conservative", stress=True)
    whole = float(loss_terms(prediction, target, config).total.detach())
    for size in (1, 2, 3, 8):
        batches = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6, max_structures=size))
        assert validate(potential, batches, config, "conservative")[0] == pytest.approx(whole, rel=1e-6), size


def found(weights: str, metric: float, *, n_not_finite: int | None = None) -> Measured:
    errors = Errors(3, n_not_finite=n_not_finite)
    none = Predictions(**{field.name: np.zeros(0) for field in dataclasses.fields(Predictions)})
    return Measured(weights, metric, none, errors, metric)  # type: ignore[arg-type]


def test_the_better_weights_are_chosen_and_the_averaged_ones_if_both_are_equal() -> None:
    averaged, raw = found("averaged", 2.0), found("raw", 1.0)
    assert better([averaged, raw]) == (raw, averaged)
    assert better([averaged, found("raw", 2.0)])[0] is averaged
    assert better([raw]) == (raw, None)


def test_weights_that_fail_are_not_chosen_and_two_that_fail_end_the_run() -> None:
    averaged, broken = found("averaged", 2.0), found("raw", math.inf, n_not_finite=1)
    assert better([averaged, broken])[0] is averaged
    with pytest.raises(NotConvergedError, match="not finite for 1 of 3"):
        better([broken, broken])
