"""Heads that are trained side by side on resampled frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jmp_calc import JMPCalculator, finetune
from jmp_calc.errors import UsageError
from jmp_calc.training import DataOptions, ModelOptions, TrainConfig
from jmp_calc.training.batches.committee import CommitteeTurns
from jmp_calc.training.config import LossConfig
from jmp_calc.training.finetuning import committee
from jmp_calc.training.finetuning.committee import with_committee_scale, with_members
from jmp_calc.training.finetuning.fitted_energies import missing_energies
from jmp_calc.training.finetuning.prepare import prepare
from jmp_calc.training.finetuning.start import make_start
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, tiny_model, tiny_potential

CPU = torch.device("cpu")


def test_the_main_head_learns_from_all_frames_and_members_from_their_samples() -> None:
    turns = CommitteeTurns(40, ("b", "c"), seed=0)
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for epoch in range(60):
        for frame in range(40):
            seen[turns.head(frame, epoch, "a")].append(frame)
    assert set(seen["a"]) == set(range(40))
    for name in ("b", "c"):  # a bootstrap sample has 1 - 1/e of the frames
        assert 0.45 < len(set(seen[name])) / 40 < 0.8
    assert set(seen["b"]) != set(seen["c"])
    assert turns.head(7, 3, "a") == CommitteeTurns(40, ("b", "c"), seed=0).head(7, 3, "a")
    assert turns.head(40, 0, "replayed") == "replayed"


def test_members_have_frames_as_often_as_their_samples() -> None:
    turns = CommitteeTurns(200, ("b", "c", "d"), seed=0)
    seen = np.zeros((4, 200))
    for epoch in range(400):
        for frame in range(200):
            seen["abcd".index(turns.head(frame, epoch, "a")), frame] += 1 / 400
    weights = np.random.default_rng([0, 1]).poisson(1.0, size=(3, 200))
    usual = weights.sum(axis=0) <= 4  # of others the main head keeps a fifth
    for number in (1, 2, 3):
        shares = [seen[1:][weights == number][np.broadcast_to(usual, (3, 200))[weights == number]].mean()]
        assert shares == pytest.approx([number / 6], abs=0.02)
    assert seen[0].min() > 0.1


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_the_scale_of_perfect_members_is_one(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and members are of one normal distribution; with two or three members the mean ratio of their
    squares has no limit."""
    rng = np.random.default_rng(count)

    def drawn(potential, head, committee, target) -> np.ndarray:
        sigma = rng.uniform(0.01, 0.03, 500)
        return np.stack(
            [(sigma * rng.normal(size=500)) ** 2, (sigma * rng.normal(size=(count, 500))).var(0, ddof=1)]
        )

    monkeypatch.setattr(committee, "_energy_squares", drawn)
    monkeypatch.setattr(committee, "force_factor", lambda *_: 1.0)
    potential = with_members(tiny_potential("new"), "new", count, seed=0, fresh=True)
    batches = SimpleNamespace(all=lambda: [None])
    monkeypatch.setattr(committee, "FORCE_EDGES", 0)
    scaled = with_committee_scale(potential, "new", batches)
    assert scaled.config.head("new").committee_scale == pytest.approx(1.0, abs=0.12)


def test_kept_committees_lose_the_scale_that_another_network_had() -> None:
    before = with_members(tiny_potential("old"), "old", 3, seed=0, fresh=True)
    scaled = (replace(one, committee_scale=3.3, committee_force_factor=2.0) for one in before.config.heads)
    config = replace(before.config, heads=tuple(scaled))
    after = config.with_new_head(replace(config.head("old"), name="new"), ["old", "old-2", "old-3"])
    old = after.head("old")
    assert (old.committee, old.committee_scale, old.committee_force_factor) == ((), 1.0, 1.0)


def test_members_differ_from_the_head_and_leave_it_alone() -> None:
    before = tiny_potential("new")
    after = with_members(before, "new", 3, seed=0, fresh=False)
    assert [head.name for head in after.config.heads] == ["new", "new-2", "new-3"]
    assert after.config.head("new").committee == ("new-2", "new-3")
    assert after.config.default_head == "new"
    state, old = after.state_dict(), before.state_dict()
    assert all(np.array_equal(state[name], value) for name, value in old.items())
    name = "energy.0.weight"
    assert not np.allclose(state[f"heads.new-2.{name}"], state[f"heads.new-3.{name}"])


HEADS = ("finetuned", "finetuned-2", "finetuned-3")


def with_three_heads(folder: Path, frames: list, steps: int, **given: object) -> Path:
    """The best model of a short fine-tuning with a committee."""
    result = finetune(
        frames,
        model=str(tiny_model(folder / "old.safetensors")),
        out=folder / "run",
        max_steps=steps,
        batch_size=4,
        start=ModelOptions(committee=3),
        say=lambda text: None,
        **given,
    )
    return result.best


@pytest.mark.parametrize("options", [{"head": "scratch"}, {"from_scratch": True}])
def test_heads_with_new_weights_all_start_differently(tmp_path: Path, options: dict[str, object]) -> None:
    model = str(tiny_model(tmp_path / "old.safetensors"))
    model = f"scratch:{model}" if options.pop("from_scratch", False) else model
    start = ModelOptions(model, committee=3, **options)  # type: ignore[arg-type]
    prepared = prepare(DataOptions(emt_atoms(6)), start, TrainConfig(), lambda line: None)
    potential = make_start(prepared, CPU).potential
    state, name = potential.state_dict(), "energy.0.weight"
    weights = [state[f"heads.{head}.{name}"] for head in HEADS]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(weights[one].ravel(), weights[other].ravel())[0, 1]) < 0.5
    for head in potential.config.heads:  # each with the right mean energy, though their weights differ
        found = missing_energies(potential, head.name, prepared.train, CPU)
        assert max(abs(energy) for energy in found.values()) < 0.01


def test_trained_on_forces_only_all_heads_have_the_energies_of_the_data(tmp_path: Path) -> None:
    frames = emt_atoms(12)
    forces_alone = TrainConfig(loss=LossConfig(energy_weight=0.0))
    best = with_three_heads(tmp_path, frames, 20, lr=5e-3, config=forces_alone)
    potential = load_model(best).potential
    labelled = prepare(DataOptions(frames), ModelOptions(str(best)), TrainConfig(), lambda line: None)
    for name in HEADS:
        found = missing_energies(potential, name, labelled.train, CPU)
        assert max(abs(energy) for energy in found.values()) < 0.01


def test_a_committee_is_trained_calibrated_and_used(tmp_path: Path) -> None:
    frames = emt_atoms(24)
    best = with_three_heads(tmp_path, frames, 12)
    head = load_model(best).potential.config.head("finetuned")
    assert head.committee == ("finetuned-2", "finetuned-3") and head.committee_scale > 0
    calc = JMPCalculator(best, uncertainty="committee", device="cpu")
    found = calc.batch(emt_atoms(3, seed=5), ("energy", "forces_std"))
    assert all(one["energy_std"] > 0 and one["forces_std"].shape == (4, 3) for one in found)
    last_layer = JMPCalculator(best, uncertainty="last-layer", device="cpu")
    assert last_layer.batch(frames[0], ("energy_std",))[0]["energy_std"] > 0


def test_a_committee_has_heads() -> None:
    with pytest.raises(UsageError, match="at least one head"):
        ModelOptions(committee=0)
