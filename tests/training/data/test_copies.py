"""Equal and nearly equal geometries are found without comparing all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jmp_calc.training.data.copies import find_matches
from jmp_calc.training.data.frame import Frame


def trembling(count: int, shake: float) -> list[Frame]:
    """A crystal whose atoms hardly move: every frame is nearly every other one."""
    rng = np.random.default_rng(0)
    places = 3.7 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return [
        Frame(
            np.full(4, 29),
            places + rng.normal(scale=shake, size=(4, 3)),
            3.7 * np.eye(3),
            np.ones(3, bool),
            *(None, None, None, "default", "md.xyz", i),
        )
        for i in range(count)
    ]


def test_an_exact_copy_is_found_among_many_that_are_nearly_equal() -> None:
    frames = trembling(80, 0.002)
    copies = [replace(frames[i], index=1000 + i) for i in (0, 17, 44)]
    found = find_matches(copies, frames)
    assert [(match.a, match.b, match.exact) for match in found] == [
        (0, 0, True),
        (1, 17, True),
        (2, 44, True),
    ]


def test_copies_within_one_set_are_found() -> None:
    frames = trembling(50, 0.002)
    again = [*frames, replace(frames[3], index=900)]
    assert [(match.a, match.b) for match in find_matches(again, tolerance=1e-6)] == [(50, 3)]
