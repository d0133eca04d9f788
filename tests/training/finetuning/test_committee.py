"""Heads that are trained side by side on resampled frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jmp_calc import JMPCalculator, finetune
from jmp_calc.errors import UsageError
from jmp_calc.training import ModelOptions
from jmp_calc.training.batches.committee import CommitteeTurns
from jmp_calc.training.finetuning.committee import with_members
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, tiny_model, tiny_potential


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


def test_a_committee_is_trained_calibrated_and_used(tmp_path: Path) -> None:
    frames = emt_atoms(24)
    result = finetune(
        frames,
        model=str(tiny_model(tmp_path / "old.safetensors")),
        out=tmp_path / "run",
        max_steps=12,
        batch_size=4,
        start=ModelOptions(committee=3),
        say=lambda text: None,
    )
    head = load_model(result.best).potential.config.head("finetuned")
    assert head.committee == ("finetuned-2", "finetuned-3") and head.committee_scale > 0
    calc = JMPCalculator(result.best, uncertainty="committee", device="cpu")
    found = calc.batch(emt_atoms(3, seed=5), ("energy", "forces_std"))
    assert all(one["energy_std"] > 0 and one["forces_std"].shape == (4, 3) for one in found)
    last_layer = JMPCalculator(result.best, uncertainty="last-layer", device="cpu")
    assert last_layer.batch(frames[0], ("energy_std",))[0]["energy_std"] > 0


def test_a_committee_has_heads() -> None:
    with pytest.raises(UsageError, match="at least one head"):
        ModelOptions(committee=0)
