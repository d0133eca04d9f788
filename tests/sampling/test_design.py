"""An optimal design picks what tells most about all atoms of a pool."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jmp_calc.sampling.design import PRIOR, Basis, picks

RNG = np.random.default_rng(0)


def moments(structures: list[np.ndarray]) -> tuple[Basis, np.ndarray]:
    basis = Basis.of(np.concatenate(structures))
    return basis, np.stack([basis.moment(atoms) for atoms in structures])


def left(pool: np.ndarray, chosen: tuple[int, ...]) -> float:
    """Sum of the variances of all atoms, from its definition."""
    target = pool.sum(axis=0)
    prior = PRIOR * target[-1, -1] / len(pool) * np.eye(len(target))
    return float(np.trace(np.linalg.inv(prior + pool[list(chosen)].sum(axis=0)) @ target))


def test_each_pick_leaves_the_least_variance() -> None:
    _, pool = moments([RNG.normal(size=(5, 4)) + 3 * RNG.normal(size=4) for _ in range(9)])
    order, shares = picks(pool, np.zeros((0, 5, 5)), 4)
    for count in range(1, 5):
        before = tuple(order[: count - 1])
        others = [left(pool, (*before, i)) for i in range(9) if i not in before]
        assert left(pool, tuple(order[:count])) == pytest.approx(min(others))
        assert shares[count - 1] == pytest.approx(min(others) / left(pool, ()))
    best = min(left(pool, chosen) for chosen in itertools.combinations(range(9), 4))
    assert left(pool, tuple(order)) < 1.3 * best


def test_common_surroundings_come_before_a_single_strange_one() -> None:
    """Forty structures about a place that nothing labelled is near, and one wreck far away in another way."""
    common = [RNG.normal(size=(6, 3)) * 0.1 + (2.0, 0.0, 0.0) for _ in range(40)]
    wreck = np.full((1, 3), (0.0, 4.0, 0.0))
    known = [RNG.normal(size=(6, 3)) * 0.1 for _ in range(5)]
    basis, pool = moments([*common, wreck])
    order, _ = picks(pool, np.stack([basis.moment(atoms) for atoms in known]), 1)
    assert order[0] < 40


def test_what_is_labelled_is_not_picked_again() -> None:
    one, other = RNG.normal(size=(8, 3)) * 0.1, RNG.normal(size=(8, 3)) * 0.1 + (0.0, 1.0, 0.0)
    basis, pool = moments([one, other])
    for place, known in enumerate((other, one)):
        order, _ = picks(pool, basis.moment(known)[None], 1)
        assert order == [place]


def test_equivalent_atoms_are_told_apart_by_nothing() -> None:
    atoms = np.ones((4, 3)) * (1.0, 2.0, 3.0)
    basis, pool = moments([atoms, atoms + 1e-7 * RNG.normal(size=(4, 3))])
    assert np.abs(basis.moment(atoms)[:-1, :-1]).max() < 1e-3
    order, shares = picks(pool, np.zeros((0, *pool.shape[1:])), 5)
    assert sorted(order) == [0, 1] and np.isfinite(shares).all()
