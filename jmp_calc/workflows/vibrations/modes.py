"""Normal modes from a Hessian: motions that cost nothing are taken out first and told by name.

A free molecule has three translations and three rotations (two, if it is linear), a wire three translations
and the turn about itself, a layer or crystal three translations. They are known from masses and positions, so
that they need not be guessed from small frequencies; what the Hessian says about them is a check of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...lattice import VACUUM, completed, gaps
from ...units import CM1_PER_EV, EV_PER_FREQUENCY

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]
Shape = Literal["monatomic", "linear", "nonlinear"]
STRAIGHT = 1e-4
"""A smallest moment of inertia below this share of the largest is that of a linear molecule."""


@dataclass(frozen=True)
class NormalModes:
    """m vibrations of n atoms, from the lowest, and the frequencies of motions that should have none."""

    frequencies_cm1: Floats
    """(m,), imaginary ones negative."""
    displacements: Floats
    """(m, n, 3), the atom that moves most by 1."""
    reduced_masses: Floats
    """(m,), amu."""
    translations_cm1: Floats
    """(0 or 3,)."""
    rotations_cm1: Floats
    """(0 to 3,)."""


def normal_modes(
    hessian: Floats, masses: Floats, translations: Floats | None, rotations: Floats
) -> NormalModes:
    """Modes of a Hessian (3n, 3n) in eV/Å² for masses (n,) in amu, without the free motions, whose bases are
    orthonormal and weighted with the masses: (3n, 3) or None, and (3n, r)."""
    root = np.sqrt(np.repeat(masses, 3))
    weighted = hessian / root[:, None] / root[None, :]
    moved = np.zeros((len(root), 0)) if translations is None else translations
    free = np.concatenate([moved, rotations], axis=1)
    basis = np.linalg.svd(free, full_matrices=True)[0][:, free.shape[1] :] if free.size else np.eye(len(root))
    squares, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    cartesian = ((basis @ vectors) / root[:, None]).T.reshape(len(squares), len(masses), 3)
    largest = np.linalg.norm(cartesian, axis=2).max(axis=1, initial=0.0)
    return NormalModes(
        frequencies_cm1=wavenumbers(squares),
        displacements=cartesian / largest[:, None, None],
        reduced_masses=1.0 / (cartesian**2).sum(axis=(1, 2)),
        translations_cm1=wavenumbers(np.linalg.eigvalsh(moved.T @ weighted @ moved)),
        rotations_cm1=wavenumbers(np.linalg.eigvalsh(rotations.T @ weighted @ rotations)),
    )


def wavenumbers(squares: np.ndarray) -> Floats:
    """cm⁻¹ (m,) from eigenvalues (m,) in eV/(Å² amu); negative for negative ones."""
    return np.asarray(np.sign(squares) * np.sqrt(np.abs(squares)) * EV_PER_FREQUENCY * CM1_PER_EV)


def gathered(atoms: Atoms) -> tuple[Atoms, Floats]:
    """A copy that is not cut by the cell along directions across which it does not repeat, and the directions
    (r, 3) about which it turns freely: all three of a molecule, also in a box, that of a wire, none else."""
    whole, pbc = atoms.copy(), np.array(atoms.pbc)
    cell = completed(atoms.cell.array, pbc)
    repeats = pbc.copy()
    repeats[pbc] = gaps(atoms.positions, cell, pbc) < VACUUM
    places = np.linalg.solve(cell.T, atoms.positions.T).T
    for axis in np.flatnonzero(pbc & ~repeats):
        ordered = np.sort(places[:, axis] % 1.0)
        start = ordered[(np.diff(ordered, append=ordered[0] + 1.0).argmax() + 1) % len(ordered)]
        places[:, axis] = (places[:, axis] - start + 1e-9) % 1.0
    whole.positions[:] = places @ cell
    if not repeats.any():
        return whole, np.eye(3)
    axes = cell[repeats] if repeats.sum() == 1 else np.zeros((0, 3))
    return whole, axes / np.linalg.norm(axes, axis=1, keepdims=True)


def free_motions(positions: Floats, masses: Floats, axes: Floats) -> tuple[Floats, Floats]:
    """Orthonormal bases of translations (3n, 3) and of rotations about axes (r, 3), at most (3n, r),
    weighted with masses (n,); positions (n, 3) in Å."""
    root = np.sqrt(masses)[:, None]
    moved = (root[:, :, None] * np.eye(3)[None]).reshape(-1, 3) / np.sqrt(masses.sum())
    arms = positions - masses @ positions / masses.sum()
    if not len(axes):
        return moved, np.zeros((len(moved), 0))
    turned = np.column_stack([(root * np.cross(axis, arms)).ravel() for axis in axes])
    directions, sizes, _ = np.linalg.svd(turned, full_matrices=False)
    kept = sizes**2 > max(STRAIGHT * float(sizes.max()) ** 2, 1e-8)
    return moved, directions[:, kept]


def shape_of(n_rotations: int) -> Shape:
    """What a molecule with so many rotations is called."""
    shapes: dict[int, Shape] = {0: "monatomic", 2: "linear", 3: "nonlinear"}
    return shapes[n_rotations]
