"""Runs that are stopped at a step, as a signal stops them after its state is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jmp_calc.machine.signals import Interrupted
from jmp_calc.training.run.state import RunState


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Inside, a training run saves its state after this step and stops; the caller goes on behind the
    block."""
    original = RunState.tick

    def stop(state: RunState) -> None:
        original(state)
        if state.progress.step == step:
            state.save()
            raise Interrupted(2, f"after step {step}")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunState, "tick", stop)
        yield
