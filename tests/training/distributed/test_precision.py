"""Training in mixed precision: what is lower, what is not, and what happens when float16 overflows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.model.recompute import MemoryPlan
from jmp_calc.training.config import TrainConfig
from jmp_calc.training.loop import fit
from jmp_calc.training.optim.gradients import SummedGradients, mixed_precision, step_shares
from jmp_calc.training.optim.optimizer import undo_loss_scale
from jmp_calc.training.run import state as run_state
from jmp_calc.training.run.checkpoint import load_checkpoint
from tests.training.test_loop import CONFIG, FRAMES, batches, fresh, job

HALF = dataclasses.replace(CONFIG, precision="16-mixed", epochs=1)


def gradient(config: TrainConfig, loss_scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss terms and flat gradient of a batch of four, conservative forces."""
    potential = fresh()
    (step,) = batches(FRAMES[:4], shuffle=False).steps(0)
    (share,) = step_shares(step, config, "conservative", loss_scale=loss_scale)
    terms = SummedGradients(config)(potential, share)
    trained = list(potential.parameters())
    undo_loss_scale(trained, loss_scale)
    return terms, torch.cat([p.grad.reshape(-1) for p in trained if p.grad is not None])


def alike(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_loss_and_gradient_are_nearly_those_of_float32(precision: str) -> None:
    terms, exact = gradient(CONFIG)
    lower = dataclasses.replace(CONFIG, precision=precision)
    found, rounded = gradient(lower)
    assert rounded.dtype == torch.float32
    assert 0 < float((found - terms).abs().max() / terms[0]) < 0.02  # else nothing was rounded
    assert 0.99 < alike(exact, rounded) < 1.0


def test_recomputed_activations_have_the_same_precision() -> None:
    lower = dataclasses.replace(CONFIG, precision="bf16-mixed", activation_checkpointing="off")
    kept, again = (
        gradient(dataclasses.replace(lower, activation_checkpointing=what)) for what in ("off", "on")
    )
    assert torch.equal(
        kept[0][1], again[0][1]
    )  # energies; forces are derivatives, which are rounded in another order
    assert float((kept[0] - again[0]).abs().max()) < 2e-3
    assert alike(kept[1], again[1]) > 0.999


def test_the_scale_of_the_loss_leaves_no_trace() -> None:
    terms, plain = gradient(CONFIG)
    found, scaled = gradient(CONFIG, loss_scale=2.0**10)
    assert torch.equal(terms, found)
    assert torch.equal(plain, scaled)  # a power of two, far from the ends of float32


def test_geometry_stays_exact() -> None:
    """The network rounds; distances and angles do not, so that forces remain the slope of a smooth energy."""
    potential = fresh()
    batch = batches(FRAMES[:4], shuffle=False).data.collate(range(4)).batch
    with mixed_precision("bf16-mixed", torch.device("cpu")), torch.no_grad():
        lower, rounded = potential._features(batch, batch.positions, None, MemoryPlan(), with_forces=False)
    with torch.no_grad():
        exact, features = potential._features(batch, batch.positions, None, MemoryPlan(), with_forces=False)
    assert not torch.equal(rounded.energy.float(), features.energy)
    assert torch.equal(lower.main.length, exact.main.length) and torch.equal(lower.main.unit, exact.main.unit)


def test_an_overflow_changes_neither_weights_nor_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss scale starts far too high, so that all three steps are left out."""
    monkeypatch.setattr(run_state, "FIRST_LOSS_SCALE", 2.0**120)
    work = job(tmp_path)
    start = {name: value.clone() for name, value in work.potential.state_dict().items()}
    fit(work, HALF)
    state = load_checkpoint(tmp_path / "state.pt")
    assert (state.progress.epoch, state.progress.step, state.progress.loss_scale) == (1, 0, 2.0**117)
    assert all(torch.equal(start[name], value) for name, value in state.weights.items())
    assert all(torch.equal(start[name], value) for name, value in state.ema.items())


def test_a_good_scale_lets_it_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is doubled after enough steps."""
    monkeypatch.setattr(run_state, "FIRST_LOSS_SCALE", 2.0**4)
    monkeypatch.setattr(run_state, "SCALE_HOLDS", 2)
    found = fit(job(tmp_path), HALF).history.rows
    assert load_checkpoint(tmp_path / "state.pt").progress.loss_scale == 2.0**5
    assert found[-1].step == 3 and found[-1].valid_loss < found[0].valid_loss


def test_what_no_scale_can_help_stops_the_run(tmp_path: Path) -> None:
    broken = (dataclasses.replace(FRAMES[0], energy=float("inf")), *FRAMES[1:])
    work = dataclasses.replace(job(tmp_path), train=batches(broken[:4], shuffle=True))
    with pytest.raises(NotConvergedError, match="not finite"):
        fit(work, HALF)


def test_it_is_for_float32(tmp_path: Path) -> None:
    work = job(tmp_path)
    work.potential.double()
    with pytest.raises(UsageError, match="float32"):
        fit(work, dataclasses.replace(CONFIG, precision="bf16-mixed"))
