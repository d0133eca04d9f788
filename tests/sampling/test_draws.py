"""Random numbers of a sample depend on its seed and number; kinds get their shares at any length."""

from __future__ import annotations

from collections import Counter

import numpy as np

from jmp_calc.sampling.draws import generator, kind_at, log_uniform, position, weighted
from jmp_calc.sampling.small import dimer_atoms, isolated_atoms


def test_a_sample_has_its_own_numbers() -> None:
    first, again, other = generator(5, 7).random(4), generator(5, 7).random(4), generator(5, 8).random(4)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_shares_hold_in_short_sets_too() -> None:
    shares = {"a": 1.0, "b": 3.0, "c": 0.0, "d": 4.0}
    found = Counter(kind_at(position(2, i), shares)[0] for i in range(400, 480))
    assert set(found) == {"a", "b", "d"}
    assert abs(found["a"] - 10) <= 2 and abs(found["b"] - 30) <= 2


def test_dimers_leave_no_pair_out() -> None:
    elements, shares = (1, 6, 8, 9, 17), {"dimer": 0.25, "rest": 0.75}
    places = [kind_at(position(0, i), shares) for i in range(15 * 4 * 3)]
    pairs = {
        dimer_atoms(generator(0, i), elements, place).info["graph"]
        for i, (kind, place) in enumerate(places)
        if kind == "dimer"
    }
    assert len(pairs) == 15


def test_isolated_atoms_have_no_cell() -> None:
    atoms = isolated_atoms([1, 79])
    assert [a.get_chemical_formula() for a in atoms] == ["H", "Au"]
    assert all(not a.pbc.any() and not a.cell.any() for a in atoms)


def test_log_uniform_and_weights() -> None:
    rng = generator(0, 0)
    widths = [log_uniform(rng, 0.01, 0.14) for _ in range(400)]
    assert min(widths) >= 0.01 and max(widths) <= 0.14
    assert abs(np.median(widths) - np.sqrt(0.0014)) < 0.01
    assert {weighted(rng, {"x": 1.0, "y": 0.0}) for _ in range(50)} == {"x"}
