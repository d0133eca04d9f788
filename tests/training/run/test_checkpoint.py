"""The saved state: atomic, complete, and never executed."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from jmp_calc.errors import BadInputError, JMPError, UsageError
from jmp_calc.training.run.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)


def state(**changes: object) -> Checkpoint:
    values: dict[str, object] = {
        "progress": Progress(epoch=3, batch=2, step=17, elapsed=1.5, best_loss=0.25),
        "weights": {"a": torch.ones(2)},
        "ema": {"a": torch.zeros(2)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []},
        "rng": rng_state(),
        "totals": {"steps": 1, "sums": [1.0]},
        "config": {"lr": 1e-3},
        "model_config": {},
        "data": {"frames": 5},
    }
    return Checkpoint(**{**values, **changes})  # type: ignore[arg-type]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "state.pt", state())
    read = load_checkpoint(tmp_path / "state.pt")
    assert read.progress == state().progress
    assert torch.equal(read.weights["a"], torch.ones(2))
    assert read.config == {"lr": 1e-3}


def test_random_numbers_continue(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "state.pt", state())
    expected = torch.rand(3)
    torch.rand(10)
    set_rng_state(load_checkpoint(tmp_path / "state.pt").rng)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("n_weights", [10**3, 10**6])
def test_a_failed_write_leaves_the_old_state(tmp_path: Path, n_weights: int) -> None:
    """A limit of the file size stands for the full disk; the write fails in torch, or when the file is
    closed."""
    path = tmp_path / "state.pt"
    save_checkpoint(path, state())
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(JMPError, match="could not be written: File too large") as full:
            save_checkpoint(path, state(weights={"a": torch.ones(n_weights)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.where == str(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state.pt"]


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_hostile_file_is_refused_before_it_runs(tmp_path: Path, how: str) -> None:
    path, trace = tmp_path / "state.pt", tmp_path / "was-executed"
    if how == "torch":
        torch.save({"format": "jmp-calc training state", "x": Hostile(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(trace), protocol=2))
    with pytest.raises(BadInputError):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 truncated"])
def test_a_file_that_is_something_else_is_a_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(BadInputError, match="was cut off, damaged or not written by jmp-calc"):
        load_checkpoint(tmp_path / "state.pt")


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("damage", [bytes(512), bytes(40), b"\xff"])
def test_no_damaged_byte_is_used(tmp_path: Path, place: float, damage: bytes) -> None:
    """Weights, the archive's tables or the seal: the error says which file and what to do."""
    path = tmp_path / "state.pt"
    save_checkpoint(path, state(weights={"a": torch.randn(5000)}))
    content = bytearray(path.read_bytes())
    at = int(place * (len(content) - len(damage)))
    content[at : at + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(BadInputError) as refused:
        load_checkpoint(path)
    assert str(path) in str(refused.value) and "--overwrite" in str(refused.value)


@pytest.mark.parametrize("left", [1, 40, 0.3, 0.9, -200, -1])
def test_a_state_that_was_cut_off_is_a_message(tmp_path: Path, left: float) -> None:
    path = tmp_path / "state.pt"
    save_checkpoint(path, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if 0 < left < 1 else int(left)])
    with pytest.raises(BadInputError):
        load_checkpoint(path)


def test_a_state_of_another_version_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    # As it was before states were sealed.
    torch.save({"format": "jmp-calc training state", "version": 1}, path)
    with pytest.raises(BadInputError, match="saved by an earlier version"):
        load_checkpoint(path)
    save_checkpoint(path, state())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"training state 0002", b"training state 0003"))
    with pytest.raises(BadInputError, match="saved by a newer version"):
        load_checkpoint(path)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        load_checkpoint(tmp_path / "state.pt")
