"""Descriptors as a map in the viewer chemiscope: principal components of structures and of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..io.chemiscope import Shown, write_chemiscope

if TYPE_CHECKING:
    from ase import Atoms

N_COMPONENTS = 3


def principal(features: NDArray[np.floating], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ``count`` directions in which features (S, D) vary most.

    Returns:
        coordinates along them, (S, count), about the mean, and the share of the variance of each, (count,);
        zeros where there are fewer directions. The largest entry of a direction is positive.
    """
    centred = np.asarray(features, dtype=np.float64) - features.mean(axis=0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    found = min(count, len(sizes))
    coordinates, share = np.zeros((len(centred), count)), np.zeros(count)
    coordinates[:, :found] = centred @ (axes * signs)[:found].T
    if variance := float((sizes**2).sum()):
        share[:found] = sizes[:found] ** 2 / variance
    return coordinates, share


def write_view(
    path: Path, structures: Sequence[Atoms], mean: NDArray[np.floating], per_atom: NDArray[np.floating] | None
) -> None:
    """Structures in the plane of their first two principal components, and their atoms in theirs.

    ``mean`` (S, D) and ``per_atom`` (N, D) are what ``Descriptors`` gives; without the latter no atoms are
    shown. One structure is no map: its atoms come first. Raises UsageError where chemiscope is missing.
    """
    shown = _components("PC", mean, "structure")
    shown["atoms"] = Shown(np.array([len(atoms) for atoms in structures]), text="number of atoms")
    shown["formula"] = Shown([atoms.get_chemical_formula() for atoms in structures])
    energies = np.array([_energy(atoms) for atoms in structures])
    if np.isfinite(energies).any():
        shown["energy, label"] = Shown(energies, "eV/atom", "energy of the file")
    first = "PC"
    if per_atom is not None:
        shown |= _components("atom PC", per_atom, "atom")
        elements = [symbol for atoms in structures for symbol in atoms.get_chemical_symbols()]
        shown["element"] = Shown(elements, of="atom")
        first = "atom PC" if len(structures) == 1 else "PC"
    write_chemiscope(path, structures, shown, x=f"{first} 1", y=f"{first} 2", colour=f"{first} 3")


def _components(
    name: str, features: NDArray[np.floating], of: Literal["structure", "atom"]
) -> dict[str, Shown]:
    """``NAME 1``, ``NAME 2``, ... with their share of the variance."""
    coordinates, share = principal(features, N_COMPONENTS)
    return {
        f"{name} {number}": Shown(
            column, text=f"principal component, {100 * part:.1f} % of the variance", of=of
        )
        for number, (column, part) in enumerate(zip(coordinates.T, share), 1)
    }


def _energy(atoms: Atoms) -> float:
    """Energy per atom, eV, that a structure of a file carries; NaN without one."""
    results = getattr(atoms.calc, "results", {})
    return float(results["energy"]) / len(atoms) if results.get("energy") is not None else float("nan")
