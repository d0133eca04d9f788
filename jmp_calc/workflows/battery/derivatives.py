"""Forces, stress and Hessian are derivatives of the energy; forces do no work around a closed path.

Derivatives by five points, whose error is of the fourth order in the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .subjects import name_of
from .verdict import Measured, NotApplicable

if TYPE_CHECKING:
    from ase import Atoms

    from .probe import Probe
    from .subjects import Subjects

STEPS = {"float64": 5e-4, "float32": 2e-2}
"""Å, and without unit for strains: single precision needs differences that are larger than its rounding."""
_PLACES, _WEIGHTS = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12.0
PATH_POINTS, PATH_RADIUS = 48, 0.15
"""Points of the closed path, and how far atoms are moved along it, Å."""
MOST_COORDINATES = 36
"""A Hessian of so many coordinates is compared, a share of them chosen where there are more."""


def _derivatives(probe: Probe, paths: Sequence[Callable[[float], Atoms]]) -> NDArray[np.float64]:
    """Derivatives (n,) of the energy at 0 along paths, eV per unit of the parameter."""
    step = STEPS[probe.precision]
    energies = probe.energies([path(step * place) for path in paths for place in _PLACES])
    return energies.reshape(len(paths), 4) @ _WEIGHTS / step


def _along(atoms: Atoms, direction: NDArray[np.float64]) -> Callable[[float], Atoms]:
    """The structure moved by s times a direction (n_atoms, 3)."""

    def moved(s: float) -> Atoms:
        copy = atoms.copy()
        copy.positions += s * direction
        return copy

    return moved


def _strained(atoms: Atoms, strain: NDArray[np.float64]) -> Callable[[float], Atoms]:
    def changed(s: float) -> Atoms:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + s * strain), scale_atoms=True)
        return copy

    return changed


def _coordinates(atoms: Atoms, seed: int) -> list[tuple[int, int]]:
    """Atom and axis of the coordinates that are tried, some of them where there are many."""
    size = 3 * len(atoms)
    chosen = np.arange(size)
    if size > MOST_COORDINATES:
        chosen = np.sort(np.random.default_rng(seed).choice(size, MOST_COORDINATES, replace=False))
    return [(int(number) // 3, int(number) % 3) for number in chosen]


def forces(probe: Probe, subjects: Subjects) -> Measured:
    """Forces against minus the derivative of the energy, relative to the largest force above 1 eV/Å."""
    found = []
    for atoms in subjects.disordered:
        (analytic,) = probe.forces([atoms])
        places = _coordinates(atoms, probe.seed)
        units = np.zeros((len(places), len(atoms), 3))
        for unit, (atom, axis) in zip(units, places):
            unit[atom, axis] = 1.0
        numeric = -_derivatives(probe, [_along(atoms, unit) for unit in units])
        given = np.array([analytic[place] for place in places])
        largest = max(1.0, float(np.abs(analytic).max()))
        found.append(Measured(float(np.abs(given - numeric).max()) / largest, name_of(atoms)))
    return Measured.worst(found)


def stress(probe: Probe, subjects: Subjects) -> Measured:
    """Stress of triclinic crystals against the derivative of the energy by strain."""
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    strains = np.zeros((6, 3, 3))
    for strain, (i, j) in zip(strains, pairs):
        strain[i, j] += 0.5
        strain[j, i] += 0.5
    found = []
    for atoms in (one for one in subjects.periodic if one.pbc.all()):
        (results,) = probe.results([atoms], ["stress"])
        numeric = _derivatives(probe, [_strained(atoms, strain) for strain in strains]) / atoms.get_volume()
        largest = max(1.0, float(np.abs(results["stress"]).max()))
        found.append(Measured(float(np.abs(results["stress"] - numeric).max()) / largest, name_of(atoms)))
    return Measured.worst(found)


def hessian(probe: Probe, subjects: Subjects) -> Measured:
    """The Hessian of a molecule: symmetric, without force on what is moved as a whole, and, where the
    calculator gives one itself, equal to differences of forces; relative to its largest entry."""
    if not subjects.molecules:
        raise NotApplicable("the calculator computes none of the molecules")
    atoms = subjects.molecules[0]
    step, size = STEPS[probe.precision], 3 * len(atoms)
    places = _coordinates(atoms, probe.seed)
    moved = []
    for atom, axis in places:
        unit = np.zeros((len(atoms), 3))
        unit[atom, axis] = 1.0
        moved += [_along(atoms, unit)(step * place) for place in _PLACES]
    values = np.array(probe.forces(moved)).reshape(len(places), 4, size)
    numeric = -np.einsum("s,psc->pc", _WEIGHTS, values) / step
    columns = np.array([3 * atom + axis for atom, axis in places])
    largest = max(1.0, float(np.abs(numeric).max()))
    square = numeric[:, columns]
    sums = numeric.reshape(len(places), len(atoms), 3).sum(axis=1)
    errors = {
        "asymmetry": float(np.abs(square - square.T).max()),
        "sum over atoms": float(np.abs(sums).max()),
    }
    own = getattr(probe.calculator(atoms), "get_hessian", None)
    if own is not None and not isinstance(own(atoms), np.ndarray):
        analytic = own(atoms)
        errors["difference to finite differences"] = float(np.abs(analytic.square[columns] - numeric).max())
        errors["asymmetry of the analytic one"] = analytic.asymmetry
    worst = max(errors, key=lambda name: np.inf if np.isnan(errors[name]) else errors[name])
    return Measured(errors[worst] / largest, name_of(atoms), worst)


def path(probe: Probe, subjects: Subjects) -> Measured:
    """Work of the forces around a circle in the space of all positions, eV; zero for the gradient of
    anything. The sum over equal steps of a smooth closed path has no error of its own."""
    found = []
    angles = 2 * np.pi * np.arange(PATH_POINTS) / PATH_POINTS
    for number, atoms in enumerate(subjects.disordered):
        rng = np.random.default_rng(probe.seed + number)
        u, v = rng.standard_normal((2, len(atoms), 3))
        u, v = (PATH_RADIUS * one / np.abs(one).max() for one in (u, v))
        circle = [_along(atoms, np.cos(angle) * u + np.sin(angle) * v)(1.0) for angle in angles]
        tangents = [np.cos(angle) * v - np.sin(angle) * u for angle in angles]
        work = sum(float((f * t).sum()) for f, t in zip(probe.forces(circle), tangents))
        found.append(Measured(abs(work) * 2 * np.pi / PATH_POINTS, name_of(atoms)))
    return Measured.worst(found)
