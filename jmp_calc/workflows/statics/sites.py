"""Sites on the surface of any slab, found from its geometry: on top of atoms, between two, among more.

Atoms of the surface are those that no other covers, seen along the normal. Between two of them is a bridge
where no third is as near; corners of their Voronoi cells, as far from all atoms as one can be, are hollows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...lattice import completed
from ..vibrations.modes import gathered
from .adsorb_settings import SiteKind
from .sums import open_of_slab

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]
COVERED = 0.75
"""An atom is covered by a higher one that is nearer, sideways, than this share of the sum of their radii."""
HIGHER_A = 0.5
BRIDGED = 1.4
"""Atoms that are further apart than this times the sum of their radii have no bridge."""
EQUAL_A = 0.1
"""Distances that differ by less are equal: sites are of one kind, corners are one hollow."""
MERGED_A = 0.35
"""Sites that are nearer to each other, sideways, are one."""
REACH_A = 6.0
"""Surroundings of two sites are compared up to here."""
Surroundings = dict[tuple[int, int], Floats]
"""Sorted distances, Å, by pairs of elements."""


@dataclass(frozen=True, eq=False)
class Face:
    """The upper face of a slab and enough of its images."""

    slab: Atoms
    """Not cut by the cell along its normal."""
    axis: int
    """The open direction of the cell."""
    axes: Floats
    """(3, 3): two directions in the plane and the outward normal, as rows."""
    places: Floats
    """(n, 3) of all atoms and images, Å along ``axes``."""
    numbers: NDArray[np.int64]
    """(n,)"""
    atoms: NDArray[np.int64]
    """(n,) which atom of the slab each is."""
    exposed: NDArray[np.bool_]
    """(n,)"""

    @property
    def lattice(self) -> Floats:
        """The two vectors of the plane along its directions, (2, 2), Å."""
        inside = np.arange(3) != self.axis
        return np.asarray(self.slab.cell.array[inside] @ self.axes[:2].T)


@dataclass(frozen=True)
class Site:
    """One kind of place on a surface."""

    kind: SiteKind
    atoms: tuple[int, ...]
    """Atoms of the slab that make it, at the first of its places."""
    places: tuple[tuple[float, float], ...]
    """All of its kind in the cell, Å along the directions of the plane; the first stands for all."""

    @property
    def name(self) -> str:
        """Its kind, and of hollows how many atoms make it."""
        return f"{self.kind}{len(self.atoms)}" if self.kind == "hollow" else self.kind


def face_of(slab: Atoms, margin: float = 0.0) -> Face:
    """The upper face of a slab, with images for things that reach ``margin`` (Å) beyond a site.

    Raises:
        BadStructureError: a structure that does not repeat in two directions with vacuum along the third, or
            cannot be evaluated.
    """
    from ase.data import covalent_radii

    is_open = open_of_slab(slab)
    (axis,) = (int(i) for i in np.flatnonzero(is_open))
    whole, _ = gathered(slab)
    axes = _axes(whole, axis)
    inside = np.arange(3) != axis
    shifts = _shifts(whole.cell.array[inside] @ axes[:2].T, REACH_A + 2.0 + margin)
    home = whole.positions @ axes.T
    places = (home[None] + np.pad(shifts, ((0, 0), (0, 1)))[:, None]).reshape(-1, 3)
    radii = covalent_radii[whole.numbers]
    copies = len(shifts)
    apart = np.linalg.norm(home[:, None, :2] - places[None, :, :2], axis=2)
    higher = places[None, :, 2] > home[:, None, 2] + HIGHER_A
    covered = (higher & (apart < COVERED * (radii[:, None] + np.tile(radii, copies)[None]))).any(axis=1)
    return Face(
        slab=whole,
        axis=axis,
        axes=axes,
        places=places,
        numbers=np.tile(whole.numbers, copies),
        atoms=np.tile(np.arange(len(whole)), copies),
        exposed=np.tile(~covered, copies),
    )


def _axes(slab: Atoms, axis: int) -> Floats:
    """Directions of the plane and the outward normal, on the side of the open vector of the cell."""
    cell = completed(slab.cell.array, np.arange(3) != axis)
    one, other = (cell[i] for i in range(3) if i != axis)
    normal = np.cross(one, other)
    given = slab.cell.array[axis]
    toward = given if np.linalg.norm(given) > 0 else np.array([0.0, 0.0, 1.0])
    normal *= (1.0 if normal @ toward >= 0 else -1.0) / np.linalg.norm(normal)
    first = one / np.linalg.norm(one)
    return np.array([first, np.cross(normal, first), normal])


def _shifts(lattice: Floats, reach: float) -> Floats:
    """Translations (n, 2) of a lattice (2, 2) around the cell, ``reach`` or more to all sides; none first."""
    area = abs(float(np.linalg.det(lattice)))
    widths = [area / np.linalg.norm(lattice[1 - i]) for i in range(2)]
    counts = [int(np.ceil(reach / width)) + 1 for width in widths]
    grid = [(i, j) for i in range(-counts[0], counts[0] + 1) for j in range(-counts[1], counts[1] + 1)]
    grid.sort(key=lambda ij: (abs(ij[0]) + abs(ij[1]), ij))
    return np.array(grid, dtype=float) @ lattice


def sites_of(face: Face) -> list[Site]:
    """Sites that differ from each other, those on top first."""
    found: list[Site] = []
    places: list[tuple[SiteKind, NDArray[np.int64], Floats]] = [
        *(("ontop", np.array([i]), face.places[i, :2]) for i in _home_atoms(face)),
        *_bridges(face),
        *_hollows(face),
    ]
    seen: list[Floats] = []
    surroundings: list[Surroundings] = []
    for kind, images, place in places:
        if any(apart(face, place, other) < MERGED_A for other in seen):
            continue
        seen.append(place)
        mine = surroundings_of(face, _above(face, place)[None], np.zeros(1, dtype=int))
        atoms = tuple(sorted(int(i) for i in face.atoms[images]))
        for number, other in enumerate(found):
            if (other.kind, len(other.atoms)) == (kind, len(atoms)) and same(mine, surroundings[number]):
                found[number] = replace(other, places=(*other.places, (float(place[0]), float(place[1]))))
                break
        else:
            found.append(Site(kind, atoms, ((float(place[0]), float(place[1])),)))
            surroundings.append(mine)
    return found


def nearest_site(face: Face, sites: Sequence[Site], place: Floats) -> Site:
    """The kind of site that a place (2,) in the plane is nearest to."""
    return min(sites, key=lambda site: min(apart(face, place, np.array(other)) for other in site.places))


def _home_atoms(face: Face) -> NDArray[np.int64]:
    """Exposed atoms of the cell itself, which are the first of all."""
    return np.flatnonzero(face.exposed[: len(face.slab)])


def _inside(face: Face, place: Floats) -> bool:
    share = np.linalg.solve(face.lattice.T, place)
    return bool(((share > -1e-6) & (share < 1 - 1e-6)).all())


def _bridges(face: Face) -> list[tuple[SiteKind, NDArray[np.int64], Floats]]:
    """Middles of two exposed atoms with no other as near."""
    from ase.data import covalent_radii

    shown = np.flatnonzero(face.exposed)
    flat = face.places[shown, :2]
    found: list[tuple[SiteKind, NDArray[np.int64], Floats]] = []
    for first in range(len(shown)):
        if shown[first] >= len(face.slab):
            break
        radii = covalent_radii[face.numbers[shown[first]]] + covalent_radii[face.numbers[shown]]
        length = np.linalg.norm(flat - flat[first], axis=1)
        for second in np.flatnonzero((length < BRIDGED * radii) & (length > MERGED_A)).tolist():
            middle = 0.5 * (flat[first] + flat[second])
            distance = np.linalg.norm(flat - middle, axis=1)
            distance[[first, second]] = np.inf
            if distance.min() > 0.5 * length[second] + EQUAL_A:
                found.append(("bridge", shown[np.array([first, second])], _folded(face, middle)))
    return found


def _hollows(face: Face) -> list[tuple[SiteKind, NDArray[np.int64], Floats]]:
    """Corners of the Voronoi cells of the exposed atoms."""
    from scipy.spatial import QhullError, Voronoi

    shown = np.flatnonzero(face.exposed)
    flat = face.places[shown, :2]
    try:
        corners = Voronoi(flat).vertices
    except QhullError:  # atoms in one line
        return []
    found: list[tuple[SiteKind, NDArray[np.int64], Floats]] = []
    for corner in corners:
        if not _inside(face, corner):
            continue
        distance = np.linalg.norm(flat - corner, axis=1)
        around = shown[distance < distance.min() + EQUAL_A]
        if len(around) >= 3:
            found.append(("hollow", around, corner))
    return found


def _folded(face: Face, place: Floats) -> Floats:
    """The same place in the cell itself."""
    share = np.linalg.solve(face.lattice.T, place)
    return np.asarray(((share + 1e-6) % 1.0 - 1e-6) @ face.lattice)


def apart(face: Face, one: Floats, other: Floats) -> float:
    """Distance of two places in the plane, images counted."""
    share = np.linalg.solve(face.lattice.T, one - other)
    near = share - np.round(share)
    around = [near + np.array([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return float(min(np.linalg.norm(step @ face.lattice) for step in around))


def _above(face: Face, place: Floats) -> Floats:
    """A point above a place, 2 Å over the atoms that it would touch, along the axes of the face."""
    apart = np.linalg.norm(face.places[:, :2] - place, axis=1)
    near = apart < 2.5
    height = face.places[near, 2].max() if near.any() else face.places[:, 2].max()
    return np.array([place[0], place[1], height + 2.0])


def surroundings_of(face: Face, places: Floats, numbers: NDArray[np.int64]) -> Surroundings:
    """Distances from points (m, 3), along the axes of the face, of elements (m,) to the atoms of the slab."""
    distance = np.linalg.norm(places[:, None] - face.places[None], axis=2)
    return {
        (int(one), int(other)): np.sort(part[part < REACH_A])
        for one in set(numbers.tolist())
        for other in set(face.numbers.tolist())
        for part in [distance[np.ix_(numbers == one, face.numbers == other)]]
    }


def same(one: Surroundings, other: Surroundings) -> bool:
    """Whether two surroundings are equal, but for what lies at their edge."""
    for pair, mine in one.items():
        theirs = other.get(pair, np.zeros(0))
        count = min(len(mine), len(theirs))
        rest = np.concatenate([mine[count:], theirs[count:]])
        if count and np.abs(mine[:count] - theirs[:count]).max() > EQUAL_A:
            return False
        if len(rest) and rest.min() < REACH_A - 2 * EQUAL_A:
            return False
    return True
