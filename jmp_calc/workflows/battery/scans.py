"""Energy and forces without jumps: atoms that come and go, and arrangements where an angle is degenerate.

A place where something happens is looked for on a grid, narrowed down, and measured: of f(s + δ) - f(s - δ)
only a jump is left when δ goes to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .subjects import name_of
from .verdict import Measured, NotApplicable, larger

if TYPE_CHECKING:
    from ase import Atoms

    from .probe import Probe
    from .subjects import Subjects

Path = Callable[[float], "Atoms"]
GRID, START = 0.1, 0.6
"""Å between the first points of a scan, and how far from a bond it starts."""
PLACES = 2
"""Intervals of a scan that are narrowed down, by energies and by forces each."""
PARTS, ROUNDS = 8, {"float64": 6, "float32": 2}
"""Each round takes the suspicious one of so many parts; single precision sees no more after two."""
NEIGHBOURS = 3
"""Intervals on both sides that a suspicious one is compared with."""
DELTAS = {"float64": np.array([1e-4, 1e-5, 1e-6]), "float32": np.array([4e-2, 2e-2, 1e-2])}
"""Å on both sides of a place; in the end the width of an interval is below the smallest."""


def scans(probe: Probe, subjects: Subjects) -> Measured:
    """Jumps of the energy (eV) and of the forces (eV/Å) as a second, third and fourth atom, and one of a
    crowd, leave."""
    found = []
    for name, path, known in _paths(probe, subjects):
        grid = np.arange(START, probe.reach + 0.5, GRID)
        places = [*known, *(_narrowed(probe, path, start) for start in _suspects(probe, path, grid))]
        found += [_jump(probe, path, place, name) for place in places]
    return Measured.worst(found)


def collinear(probe: Probe, subjects: Subjects) -> Measured:
    """Jumps of energy (eV) and forces (eV/Å) as atoms pass through a line or a plane, and forces that leave
    it."""
    found = []
    for atoms in (*subjects.linear, *subjects.planar):
        (forces,) = probe.forces([atoms])
        _, extent, axes = np.linalg.svd(atoms.positions - atoms.positions.mean(axis=0))
        across = axes[len(extent[extent > 1e-3]) :] if len(atoms) > 2 else axes[1:]
        found.append(Measured(float(np.abs(forces @ across.T).max()), name_of(atoms), "force out of it"))
        if len(atoms) > 2:
            found.append(_jump(probe, _through(atoms, across[-1]), 0.0, name_of(atoms)))
    return Measured.worst(found)


def _through(atoms: Atoms, across: NDArray[np.float64]) -> Path:
    """The last atom passes through the line or plane."""

    def path(s: float) -> Atoms:
        copy = atoms.copy()
        copy.positions[-1] += s * across
        return copy

    return path


def _paths(probe: Probe, subjects: Subjects) -> list[tuple[str, Path, list[float]]]:
    """Name, path, and parameters at which a known cutoff is crossed."""
    from ase import Atoms
    from ase.data import atomic_numbers, covalent_radii

    usable = [s for s in subjects.elements if probe.computes(Atoms([s, s], [[0, 0, 0], [0, 0, 2.2]]))]
    if not usable:
        raise NotApplicable("the calculator computes no pair of atoms")
    first, second = usable[-1], usable[0]
    length = 1.1 * float(covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]])
    away = np.array([0.8, 0.0, 0.6])

    def pair(s: float) -> Atoms:
        return Atoms([first, second], [[0.1, 0, 0], (length + s) * away + [0.1, 0, 0]])

    def triple(s: float) -> Atoms:
        return Atoms(
            [second, first, first], length * np.array([[0, 0, 0], [1.0, 0.2, 0.1], [0, 1, 0]]) + _last(3, s)
        )

    def quadruple(s: float) -> Atoms:
        places = length * np.array([[-0.4, 0.9, 0.3], [0, 0, 0], [1, 0.1, 0], [1.3, 0.7, 0.6]])
        return Atoms([first, second, second, first], places + _last(4, s))

    grid = np.array([[i, j, k] for i in range(3) for j in range(2) for k in range(2)], dtype=float)
    crowded = 1.4 * length * (grid + 0.1 * np.random.default_rng(probe.seed).standard_normal(grid.shape))

    def crowd(s: float) -> Atoms:
        return Atoms([second] * 12, crowded - np.eye(12)[:, :1] * s * np.array([0.9, 0.4, 0.2]))

    known = [cutoff - length for cutoff in probe.cutoffs if cutoff > length]
    return [("pair", pair, known), ("triple", triple, []), ("quadruple", quadruple, []), ("crowd", crowd, [])]


def _last(count: int, s: float) -> NDArray[np.float64]:
    """Displacements (count, 3) that move the last atom by s."""
    moved = np.zeros((count, 3))
    moved[-1] = s * np.array([0.1, 0.9, 0.4])
    return moved


def _suspicion(
    probe: Probe, path: Path, grid: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What energies and forces of each interval of a grid have beyond a smooth curve, (len(grid) - 1,)
    each."""
    halves = np.sort(np.concatenate([grid, 0.5 * (grid[1:] + grid[:-1])]))
    results = probe.results([path(float(s)) for s in halves], ["energy", "forces"])
    energies = np.array([one["energy"] for one in results])
    forces = np.array([one["forces"].ravel() for one in results])
    places = np.array([path(float(s)).positions.ravel() for s in halves])
    steps = np.diff(places, axis=0)
    fine = np.diff(energies) + 0.5 * ((forces[1:] + forces[:-1]) * steps).sum(axis=1)
    coarse = np.diff(energies[::2]) + 0.5 * ((forces[2::2] + forces[:-2:2]) * (steps[::2] + steps[1::2])).sum(
        axis=1
    )
    bends = np.abs(forces[2::2] - 2 * forces[1::2] + forces[:-2:2]).max(axis=1)
    # A smooth integrand has a quarter of the error in half the step: what is left of that is the jump.
    return np.abs(4 * (fine[::2] + fine[1::2]) - coarse) / 3, bends


def _suspects(probe: Probe, path: Path, grid: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Intervals of the grid where something may happen."""
    found = [_above_neighbours(values) for values in _suspicion(probe, path, grid)]
    chosen = {int(n) for values in found for n in np.argsort(values)[-PLACES:]}
    return [(float(grid[n]), float(grid[n + 1])) for n in sorted(chosen)]


def _above_neighbours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value over the median of those around it: a smooth curve changes slowly, a jump stands alone."""
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, NEIGHBOURS, mode="reflect"), 2 * NEIGHBOURS + 1
    )
    return np.asarray(values / (np.median(around, axis=1) + 1e-12))


def _narrowed(probe: Probe, path: Path, interval: tuple[float, float]) -> float:
    """The place within an interval, to within 1e-6 Å in double precision."""
    low, high = interval
    for _ in range(ROUNDS[probe.precision]):
        parts = np.linspace(low, high, PARTS + 1)
        energy, force = _suspicion(probe, path, parts)
        scale = [max(float(values.max()), 1e-300) for values in (energy, force)]
        worst = int(np.argmax(energy / scale[0] + force / scale[1]))
        low, high = float(parts[worst]), float(parts[worst + 1])
    return 0.5 * (low + high)


def _jump(probe: Probe, path: Path, place: float, name: str) -> Measured:
    """Jump of energy (eV) or forces (eV/Å) at a place, whichever is larger."""
    deltas = DELTAS[probe.precision]
    sides = [path(place + sign * delta) for delta in deltas for sign in (1.0, -1.0)]
    results = probe.results(sides, ["energy", "forces"])
    energies = np.array([one["energy"] for one in results]).reshape(len(deltas), 2, 1)
    forces = np.array([one["forces"] for one in results]).reshape(len(deltas), 2, -1)
    energy, force = _at_zero(energies, deltas), _at_zero(forces, deltas)
    what = "energy" if energy > force else "forces"
    return Measured(larger(energy, force), name, f"{what} at {place:.3f} Å along the path")


def _at_zero(values: NDArray[np.float64], deltas: NDArray[np.float64]) -> float:
    """Largest difference of the two sides (deltas, 2, n), extrapolated to δ = 0; odd powers of δ."""
    powers = np.stack([np.ones_like(deltas), deltas, deltas**3], axis=1)
    weights = np.linalg.solve(powers.T, [1.0, 0.0, 0.0])
    return float(np.abs(weights @ (values[:, 0] - values[:, 1])).max())
