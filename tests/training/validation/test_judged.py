"""Heads without skill, or under which nothing holds together, are not shipped."""

from __future__ import annotations

import numpy as np
import pytest

from jmp_calc.model.config import HeadConfig
from jmp_calc.training.validation.judged import judged, left_out
from jmp_calc.training.validation.metrics import Predictions


def predictions(forces: np.ndarray, true: np.ndarray, energy: float = -3.0, n_atoms: int = 2) -> Predictions:
    """Structures of two atoms with these forces (n, 2, 3) and the same energy per atom, eV."""
    count = len(forces)
    unknown = np.full(count, np.nan)
    stress, vector = np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan)
    energies = np.full(count, energy * n_atoms)
    flat = forces.reshape(-1, 3), true.reshape(-1, 3)
    return Predictions(
        np.full(count, n_atoms), energies, energies, *flat, stress, stress, *[unknown] * 4, vector, vector
    )


RNG = np.random.default_rng(0)
TRUE = RNG.standard_normal((40, 2, 3))
GOOD = TRUE + 0.2 * RNG.standard_normal(TRUE.shape)
HEADS = [HeadConfig("a"), HeadConfig("b")]


def test_a_good_head_is_kept() -> None:
    found = judged(predictions(GOOD, TRUE), ["a"] * 40)
    assert found["a"].frames == 40
    assert found["a"].correlation > 0.95
    assert found["a"].atomisation == pytest.approx(3.0)
    assert left_out(found, HEADS, lone_atoms=True) == {}


@pytest.mark.parametrize(
    ("forces", "reason"), [(0.1 * GOOD, "of the mean force"), (TRUE + 0.62 * np.sign(GOOD), "mean force")]
)
def test_a_head_whose_error_is_most_of_the_force_has_no_skill(forces: np.ndarray, reason: str) -> None:
    found = left_out(judged(predictions(forces, TRUE), ["a"] * 40), HEADS, lone_atoms=True)
    assert reason in found["a"]


def test_a_head_that_is_right_on_small_forces_only_has_no_skill() -> None:
    """Below half of the mean force, but without a correlation: the large ones are wrong."""
    true, forces = np.full((40, 2, 3), 0.3), np.full((40, 2, 3), 0.3)
    true[::2, 0, 0], forces[1::2, 0, 0] = 0.9, 0.9
    found = left_out(judged(predictions(forces, true), ["a"] * 40), HEADS, lone_atoms=True)
    assert "correlation" in found["a"]


def test_few_frames_prove_nothing() -> None:
    found = judged(predictions(0.0 * GOOD[:19], TRUE[:19]), ["a"] * 19)
    assert left_out(found, HEADS, lone_atoms=True) == {}


def test_every_head_is_judged_on_its_own_frames() -> None:
    forces = np.concatenate([GOOD[:20], 0.0 * GOOD[20:]])
    found = left_out(judged(predictions(forces, TRUE), ["a"] * 20 + ["b"] * 20), HEADS, lone_atoms=True)
    assert set(found) == {"b"}


def test_a_head_under_which_nothing_holds_together_is_left_out() -> None:
    found = judged(predictions(GOOD, TRUE, energy=-0.1), ["a"] * 40)
    assert "atomisation energy is 0.10 eV/atom" in left_out(found, HEADS, lone_atoms=True)["a"]
    assert left_out(found, HEADS, lone_atoms=False) == {}
