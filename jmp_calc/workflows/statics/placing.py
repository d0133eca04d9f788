"""An adsorbate put onto the sites of a slab, turned in several ways, as near as its atoms touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .adsorb_settings import AdsorbSettings
from .sites import Face, Floats, Site, Surroundings, same, sites_of, surroundings_of

if TYPE_CHECKING:
    from ase import Atoms

CONTACT = 1.1
"""Atoms touch at this times the sum of their covalent radii."""
LOWEST_A = 0.3
"""Atoms of the adsorbate that are less above its lowest one are put over the site together."""
STRAIGHT_A = 0.05
"""A molecule whose atoms are nearer to one line has no second axis."""
GAS_VACUUM_A = 8.0
"""Around the molecule in the gas."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An adsorbate on a site, before it is relaxed."""

    site: Site
    down: str
    """Elements of the atoms that point to the surface."""
    turn_deg: float
    """About the normal."""
    atoms: Atoms
    """Slab and adsorbate, whose atoms come last; with the constraints of the slab."""


def candidates_of(face: Face, adsorbate: Atoms, settings: AdsorbSettings) -> list[Candidate]:
    """Every site that is wanted with every orientation, without those that are alike."""
    found: list[Candidate] = []
    seen: list[Surroundings] = []
    for site in sites_of(face):
        if site.kind not in settings.sites:
            continue
        for turn, body in orientations(adsorbate, settings):
            low = body[:, 2] < body[:, 2].min() + LOWEST_A
            placed = _placed(face, site, body, low, adsorbate.numbers)
            surroundings = surroundings_of(face, placed, adsorbate.numbers)
            if any(same(surroundings, other) for other in seen):
                continue
            seen.append(surroundings)
            down = "".join(sorted({str(s) for s in adsorbate.symbols[low]}))
            found.append(Candidate(site, down, turn, _covered(face, adsorbate, placed)))
    return found


def orientations(adsorbate: Atoms, settings: AdsorbSettings) -> list[tuple[float, Floats]]:
    """Turns about the normal, degrees, and positions (n, 3) about the centre, the normal as third axis."""
    centred = adsorbate.positions - adsorbate.positions.mean(axis=0)
    if settings.orientations == "given":
        frames = [np.eye(3)]
    else:
        frames = _frames(centred)
    turns = np.arange(settings.turns) * 180.0 / settings.turns
    found = []
    for frame in frames:
        for turn in turns:
            c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
            found.append((float(turn), centred @ frame.T @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])))
    return found


def _frames(centred: Floats) -> list[Floats]:
    """Rotations (3, 3) that point each principal direction of a molecule up and down: both ways of every
    axis, of a linear one both ways of its axis and one across."""
    _, sizes, axes = np.linalg.svd(centred, full_matrices=True)
    if np.linalg.det(axes) < 0:
        axes = -axes
    spread = np.zeros(3)
    spread[: len(sizes)] = sizes
    if spread[0] < STRAIGHT_A:
        return [np.eye(3)]
    up = [np.roll(axes, shift, axis=0) for shift in range(3)]
    if spread[1] < STRAIGHT_A:
        along = [frame for frame in up if np.allclose(frame[2], axes[0])]
        across = [frame for frame in up if not np.allclose(frame[2], axes[0])][:1]
        return [*along, *(frame * np.array([[1], [-1], [-1]]) for frame in along), *across]
    return [*up, *(frame * np.array([[1], [-1], [-1]]) for frame in up)]


def _placed(face: Face, site: Site, body: Floats, low: np.ndarray, numbers: np.ndarray) -> Floats:
    """Positions (n, 3) along the axes of the face: the lowest atoms over the site, as low as they may be."""
    from ase.data import covalent_radii

    placed = body.copy()
    placed[:, :2] += np.array(site.places[0]) - body[low, :2].mean(axis=0)
    reach = CONTACT * (covalent_radii[numbers][:, None] + covalent_radii[face.numbers][None])
    apart = np.linalg.norm(placed[:, None, :2] - face.places[None, :, :2], axis=2)
    touching = apart < reach
    rise = np.sqrt(np.where(touching, reach**2 - apart**2, 0.0))
    needed = np.where(touching, face.places[None, :, 2] + rise - placed[:, None, 2], -np.inf)
    height = needed.max() if touching.any() else face.places[:, 2].max() - placed[:, 2].min()
    placed[:, 2] += height
    return placed


def _covered(face: Face, adsorbate: Atoms, placed: Floats) -> Atoms:
    molecule = adsorbate.copy()
    molecule.set_constraint()
    for name in [name for name in molecule.arrays if name not in ("numbers", "positions")]:
        del molecule.arrays[name]
    molecule.positions[:] = placed @ face.axes
    covered = face.slab.copy()
    covered += molecule
    return covered


def gas(adsorbate: Atoms) -> Atoms:
    """The molecule alone in a box of vacuum: periodic like the slab, so that one head computes both."""
    alone = adsorbate.copy()
    alone.set_constraint()
    alone.calc = None
    if not alone.pbc.any():
        alone.center(vacuum=GAS_VACUUM_A)
        alone.pbc = True
    return alone


def molecule_named(name: str) -> Atoms | None:
    """A molecule or atom of ASE's G2 set; None: it has none of that name."""
    from ase import Atoms as Structure
    from ase.build import molecule
    from ase.data import atomic_numbers

    try:
        found: Atoms = molecule(name)
    except (KeyError, NotImplementedError):
        return Structure(name) if name in atomic_numbers else None
    return found
