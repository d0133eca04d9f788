"""What happens to a crystal: strain, rattles, defects, disorder, surfaces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.random import Generator

from ..graph.neighbours import neighbour_edges
from ..model.elements import symbol
from .draws import log_uniform, one_of
from .geometry import RADII, Floats, Ints
from .species import ANIONS, CATIONS, METALS, NOBLE, NONMETALS, VOLUMES, Ion

PUSHES = 60
"""Steps of atoms that are pushed apart."""
LISTED, RELISTED = 1.5, 10
"""Pairs within so many times their wanted distance are listed, again after so many steps."""


def closest_ratio(atoms: Atoms) -> float:
    """Smallest distance of two atoms, images included, as part of the sum of their covalent radii; 1 where
    all are farther apart than that."""
    reach = 2 * float(RADII[atoms.numbers].max())
    edges, lengths = neighbour_edges(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    if len(lengths) == 0:
        return 1.0
    sums = RADII[atoms.numbers[edges.source]] + RADII[atoms.numbers[edges.target]]
    return min(float((lengths / sums).min()), 1.0)


def strained(atoms: Atoms, deformation: Floats) -> Atoms:
    """A copy whose cell and atoms are deformed by 1 + ``deformation`` (3, 3)."""
    made = atoms.copy()
    made.set_cell(atoms.cell.array @ (np.eye(3) + deformation), scale_atoms=True)
    return made


def random_strain(rng: Generator, low: float, high: float) -> Floats:
    """A symmetric deformation (3, 3) whose entries are as wide as a log-uniform number."""
    entries = log_uniform(rng, low, high) * np.clip(rng.normal(size=(3, 3)), -2.0, 2.0)
    return 0.5 * (entries + entries.T)


def scaled(atoms: Atoms, ratio: float) -> Atoms:
    """A copy with ``ratio`` times the volume."""
    return strained(atoms, (ratio ** (1 / 3) - 1) * np.eye(3))


def rattled(rng: Generator, atoms: Atoms, low: float, high: float) -> Atoms:
    """A copy with Gaussian displacements of a log-uniform width, Å."""
    made = atoms.copy()
    made.positions += log_uniform(rng, low, high) * rng.normal(size=made.positions.shape)
    return made


def repeated(rng: Generator, atoms: Atoms, least: int, most: int) -> Atoms:
    """A supercell of ``least`` to ``most`` atoms, the most cubic of three; the crystal itself where none has
    so few."""
    fitting = [
        (i, j, k)
        for i in range(1, 5)
        for j in range(1, 5)
        for k in range(1, 5)
        if least <= i * j * k * len(atoms) <= most
    ]
    if not fitting:
        return atoms.copy()
    tries = [one_of(rng, fitting) for _ in range(3)]
    lengths = atoms.cell.lengths()
    return atoms.repeat(min(tries, key=lambda n: float(np.ptp(np.log(lengths * n)))))


def with_vacancies(rng: Generator, atoms: Atoms) -> Atoms:
    """A copy without one or two of its atoms."""
    count = 1 if len(atoms) < 8 or rng.random() < 0.7 else 2
    made = atoms.copy()
    del made[sorted(rng.choice(len(atoms), size=count, replace=False).tolist())]
    return made


def with_swaps(rng: Generator, atoms: Atoms) -> Atoms | None:
    """A copy where one or two pairs of different atoms changed places; None for an element."""
    made = atoms.copy()
    for _ in range(int(rng.integers(1, 3))):
        first = int(rng.integers(len(made)))
        others = np.flatnonzero(made.numbers != made.numbers[first])
        if len(others) == 0:
            return None
        second = int(rng.choice(others))
        made.numbers[[first, second]] = made.numbers[[second, first]]
    return made


def disordered(rng: Generator, atoms: Atoms, ions: list[Ion], elements: frozenset[int]) -> Atoms | None:
    """A copy where atoms of one element are partly replaced by similar ones: a solid solution.

    Metals are mixed with metals of half to twice the volume, ions with ions of the same charge and a radius
    within 20 %. None where nothing is similar.
    """
    ion = one_of(rng, ions)
    similar = _similar(ion, elements)
    sites = np.flatnonzero(atoms.numbers == ion.number)
    if not similar or len(sites) < 2:
        return None
    guests = rng.choice(similar, size=min(int(rng.integers(1, 5)), len(similar)), replace=False)
    made = atoms.copy()
    chosen = rng.permutation(sites)[: int(rng.integers(1, len(sites)))]
    made.numbers[chosen] = rng.choice(guests, size=len(chosen))
    if ion.charge:
        return made
    before, after = (sum(VOLUMES[symbol(z)] for z in cell.numbers) for cell in (atoms, made))
    return scaled(made, after / before)


def _similar(ion: Ion, elements: frozenset[int]) -> list[int]:
    if ion.charge == 0:
        volume = VOLUMES[symbol(ion.number)]
        pool = (METALS if ion.number in METALS else NONMETALS - NOBLE) & elements
        near = [z for z in pool if 0.5 < VOLUMES[symbol(z)] / volume < 2.0]
        return sorted(set(near) - {ion.number})
    pool_of_ions = [*CATIONS, *ANIONS]
    return sorted(
        {
            other.number
            for other in pool_of_ions
            if other.charge == ion.charge
            and other.number in elements - {ion.number}
            and abs(other.radius / ion.radius - 1) < 0.2
        }
    )


MILLER = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))


def slab(rng: Generator, atoms: Atoms, most: int) -> Atoms | None:
    """Layers of a crystal with 8 to 14 Å of vacuum (periodic in it too); None where they have too many
    atoms."""
    from ase.build import surface

    indices = one_of(rng, MILLER)
    layers = [n for n in range(1, 6) if n * len(atoms) <= most]
    if not layers:
        return None
    made = surface(atoms, indices, one_of(rng, layers[-3:]), vacuum=rng.uniform(4.0, 7.0), periodic=True)
    return made if len(made) <= most and np.linalg.matrix_rank(made.cell.array) == 3 else None


def packed(rng: Generator, atoms: Atoms, closest: float) -> Atoms | None:
    """The same atoms at random places in a box of their volume, none nearer than ``closest`` times the sum of
    their covalent radii; None where they find no place."""
    edges = atoms.get_volume() ** (1 / 3) * np.exp(rng.normal(0, 0.15, size=3))
    edges *= (atoms.get_volume() / edges.prod()) ** (1 / 3)
    made = Atoms(cell=edges + 0.0, pbc=True)
    for number in rng.permutation(atoms.numbers):
        for _ in range(40):
            trial = made + Atoms([int(number)], positions=[rng.random(3) * edges])
            if closest_ratio(trial) >= closest:
                made = trial
                break
        else:
            return None
    return made


def random_cell(rng: Generator, numbers: Ints, volume: float) -> Atoms:
    """Atoms (N,) at random places in a skewed cell of the volume, Å³."""
    edges = np.diag(np.exp(rng.normal(0, 0.2, size=3))) + rng.uniform(-0.3, 0.3, size=(3, 3))
    edges *= (volume / abs(np.linalg.det(edges))) ** (1 / 3)
    return Atoms(numbers, scaled_positions=rng.random((len(numbers), 3)), cell=edges, pbc=True)


def pushed_apart(atoms: Atoms, closest: float) -> Atoms:
    """A copy whose atoms went away from each other until none is nearer than ``closest`` times the sum of
    their covalent radii, or as far as they got: liquids and glasses, not heaps of overlapping atoms."""
    made, pairs = atoms.copy(), None
    reach = LISTED * 2 * closest * float(RADII[atoms.numbers].max())
    for step in range(PUSHES):
        if pairs is None or step % RELISTED == 0:
            edges, _ = neighbour_edges(made.positions, made.cell.array, made.pbc, reach)
            # An atom and its own image cannot part.
            pairs = edges.take(edges.source != edges.target)
            wanted = closest * (RADII[made.numbers[pairs.source]] + RADII[made.numbers[pairs.target]])
        apart = made.positions[pairs.target] - made.positions[pairs.source] - pairs.shift @ made.cell.array
        lengths = np.linalg.norm(apart, axis=1)
        near = lengths < wanted
        if not near.any() and step % RELISTED == 0:
            break
        # Both atoms of a pair move, and each pair is listed twice.
        push = (0.25 * (wanted[near] / lengths[near] - 1))[:, None] * apart[near]
        np.add.at(made.positions, pairs.target[near], push)
        np.add.at(made.positions, pairs.source[near], -push)
    return made
