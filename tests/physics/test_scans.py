"""Energy, forces and Hessian have no jump: scans of two, three and four atoms through cutoffs and
collinearity.

At the parameter s0 where something happens, f(s0 + δ) - f(s0 - δ) goes to zero linearly if f is continuous;
the jump is what is left at δ = 0 after a linear extrapolation from 1e-4, 1e-5 and 1e-6 Å.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from ase import Atoms
from numpy.typing import NDArray

from jmp_calc.graph.adaptive import adaptive_cutoffs
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.binding import BROKEN, WHOLE
from jmp_calc.model.heads import ChosenHeads
from jmp_calc.model.recompute import MemoryPlan
from jmp_calc.model.repulsion import FADE, TRAINED_FADE
from tests.physics.models import ADAPTIVE, FIXED, Model, published, scratch, version_1

STEPS = np.array([1e-4, 1e-5, 1e-6])
Path = Callable[[float], Atoms]


def hessian_products(model: Model, structures: list[Atoms]) -> NDArray:
    """Products of the Hessians with three random directions (S, 3, 3 n), eV/Å²: a jump of any entry shows in
    them."""
    count, size = len(structures), 3 * len(structures[0])
    batch = model.batch(structures)
    positions = batch.positions.clone().requires_grad_(True)
    geometry, features = model.potential._features(batch, positions, None, MemoryPlan(), with_forces=False)
    heads = ChosenHeads.of(model.potential.config, model.head, batch)
    energy = model.potential._energies(batch, features, geometry, heads).sum()
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    products = []
    for direction in torch.randn(3, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        (product,) = torch.autograd.grad(
            (gradient.view(count, size) @ direction).sum(), positions, retain_graph=True
        )
        products.append(product.view(count, size).numpy())
    return np.stack(products, axis=1)


def jumps(model: Model, path: Path, s0: float) -> tuple[float, float, float]:
    """Extrapolated jumps of E (eV), F (eV/Å) and the Hessian (relative to its largest entry) at s0."""
    structures = [path(s0 + sign * step) for step in STEPS for sign in (1, -1)]
    prediction = model.predict(structures)
    assert prediction.forces is not None
    forces = prediction.forces.numpy().reshape(len(STEPS), 2, -1)
    second = hessian_products(model, structures).reshape(len(STEPS), 2, -1)
    energies = prediction.energy.detach().numpy().reshape(len(STEPS), 2, 1)
    largest = max(float(np.abs(second).max()), 1e-6)
    return extrapolated(energies), extrapolated(forces), extrapolated(second) / largest


def extrapolated(values: NDArray) -> float:
    """Largest |jump| at δ = 0 of values (steps, 2 sides, n), quadratic through the three steps."""
    difference = values[:, 0] - values[:, 1]
    weights = np.linalg.solve(np.vander(STEPS, increasing=True).T, [1.0, 0.0, 0.0])
    return float(np.abs(weights @ difference).max())


def assert_smooth(model: Model, path: Path, s0: float) -> None:
    energy, force, second = jumps(model, path, s0)
    assert energy <= 1e-9
    assert force <= 1e-6
    assert second <= 1e-3


def edge_counts(model: Model, atoms: Atoms) -> tuple[int, ...]:
    """Edges of the four graphs, without the margin of 1e-6 that adaptive graphs are built with."""
    policy = model.policy
    if policy.name == "official":
        return (len(model.graph(atoms).main),)
    fixed = (policy.cutoff, policy.a2a_cutoff, policy.a2ee2a_cutoff, policy.qint_cutoff)
    edges, length = neighbour_edges(atoms.positions, atoms.cell.array, atoms.pbc, max(fixed))
    if not policy.adaptive:
        return tuple(int((length < cutoff).sum()) for cutoff in fixed)
    main, a2ee2a, qint = adaptive_cutoffs(edges.target, length, len(atoms), policy).T
    pair = 0.5 * (main[edges.source] + main[edges.target])
    reaches = (pair, policy.a2a_cutoff, a2ee2a[edges.target], qint[edges.target])
    return tuple(int((length < reach).sum()) for reach in reaches)


def events(model: Model, path: Path, low: float, high: float) -> Iterator[float]:
    """Parameters between low and high at which an edge of any graph appears or disappears, to 1e-8."""

    grid = np.linspace(low, high, 40)
    counts = [edge_counts(model, path(s)) for s in grid]
    for left, right, first, last in zip(grid, grid[1:], counts, counts[1:]):
        if first == last:
            continue
        for _ in range(24):
            middle = 0.5 * (left + right)
            left, right = (middle, right) if edge_counts(model, path(middle)) == first else (left, middle)
        yield float(0.5 * (left + right))


def pair(s: float) -> Atoms:
    return Atoms("CO", [[0.1, 0, 0], [0.1 + 0.8 * s, 0, 0.6 * s]])


def triple(s: float) -> Atoms:
    return Atoms("OCH", [[0, 0, 0], [1.2, 0.3, 0.1], [0.2, 0.9 * s, 0.3 * s]])


def quadruple(s: float) -> Atoms:
    return Atoms("HCCO", [[-0.3, 1.1, 0.4], [0, 0, 0], [1.4, 0.1, 0], [1.7, 0.2 - 0.6 * s, 0.8 * s]])


def crowd(s: float) -> Atoms:
    """An atom that leaves a cluster of twelve: adaptive cutoffs move, neighbours change rank."""
    rng = np.random.default_rng(5)
    grid = 2.2 * np.array([[i, j, k] for i in range(3) for j in range(2) for k in range(2)])
    positions = grid + 0.25 * rng.standard_normal(grid.shape)
    positions[0] -= [s, 0.5 * s, 0.2 * s]
    return Atoms("C" * 12, positions)


@pytest.mark.parametrize("path", [pair, triple, quadruple])
def test_scans_through_every_cutoff(model: Model, path: Path) -> None:
    places = list(events(model, path, 1.0, 1.5 * max(model.policy.cutoff, model.policy.a2a_cutoff)))
    assert places
    for place in places:
        assert_smooth(model, path, place)


def test_scan_through_the_repulsion() -> None:
    """It fades out between shares of the shortest trained distance (C-O of this head: 1.1 Å), in files of
    version 1 of the sum of the covalent radii."""
    for share in TRAINED_FADE:
        assert_smooth(scratch(), pair, share * 1.1)
    for share in FADE:
        assert_smooth(version_1(scratch()), pair, share * (0.76 + 0.66))


@pytest.mark.parametrize("policy", [FIXED, ADAPTIVE], ids=["fixed", "adaptive"])
def test_scan_through_a_breaking_bond(policy: GraphPolicy) -> None:
    """The binding energy of an atom goes from complete to nothing, unless it has a second bond."""
    for share in (WHOLE, BROKEN):
        assert_smooth(scratch(policy), pair, share * (0.76 + 0.66))
        assert_smooth(scratch(policy), triple, share * (0.66 + 0.31))


def test_neighbours_that_change_rank() -> None:
    """Adaptive cutoffs with four wanted neighbours: every edge that comes or goes does so at zero weight."""
    model = scratch(replace(ADAPTIVE, max_neighbors=4))
    places = list(islice(events(model, crowd, 0.0, 1.5), 3))
    assert len(places) == 3
    for place in places:
        assert_smooth(model, crowd, place)


def test_jumps_of_the_published_policy_are_seen() -> None:
    """The same measure on official graphs: a pair at its cutoff, and a neighbour that changes rank."""
    smooth = published()
    for policy, path, s0 in [
        (GraphPolicy("official", cutoff=8.0, max_neighbors=30), pair, 8.0),
        (GraphPolicy("official", cutoff=8.0, max_neighbors=4), crowd, None),
    ]:
        potential = smooth.potential.with_config(replace(smooth.potential.config, policy=policy))
        model = Model(potential.requires_grad_(False), smooth.head)
        place = s0 or next(events(model, path, 0.0, 1.5))
        energy, force, _ = jumps(model, path, place)
        assert energy > 1e-6
        assert force > 1e-6


LINES: dict[str, Path] = {
    "c-a-b of three": lambda s: Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [-1.0, s, 0.4 * s]]),
    "three, c over b": lambda s: Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [2.3, 0.5 * s, s]]),
    "c-a-b of four": lambda s: Atoms("HCCO", [[-0.4, 1.0, 0.2], [0, 0, 0], [1.3, 0, 0], [2.4, s, -0.3 * s]]),
    "d-b-a of four": lambda s: Atoms("HCCO", [[s, 0.7 * s, -1.1], [0, 0, 0], [0, 0, 1.3], [0.9, 0.3, 1.9]]),
    "both ends": lambda s: Atoms("HCCO", [[0, s, -1.1], [0, 0, 0], [0, 0, 1.3], [s, 0.4 * s, 2.5]]),
    "both ends in step": lambda s: Atoms("HCCO", [[s, s, -1.1], [0, 0, 0], [0, 0, 1.3], [s, s, 2.5]]),
    "cis": lambda s: Atoms("HCCO", [[1.0, s, -0.4], [0, 0, 0], [0, 0, 1.3], [0.9, 0, 1.8]]),
    "trans": lambda s: Atoms("HCCO", [[-1.0, s, -0.4], [0, 0, 0], [0, 0, 1.3], [0.9, 0, 1.8]]),
    "bond through the xy plane": lambda s: Atoms(
        "HCCO", [[0.3, 1.0, -0.4], [0, 0, 0], [1.3, 0, s], [1.8, 0.5, 0.9]]
    ),
    "bond along -z": lambda s: Atoms("HCCO", [[0.3, 1.0, -0.4], [0, 0, 0], [s, 0, -1.3], [1.0, 0.5, -1.9]]),
}
"""Paths through an arrangement where an angle or a dihedral is degenerate, at s = 0."""


@pytest.mark.parametrize("model", ["scratch, fixed", "jmp-xs", "published"], indirect=True)
@pytest.mark.parametrize("name", LINES)
def test_scans_through_collinearity(model: Model, name: str) -> None:
    assert_smooth(model, LINES[name], 0.0)
