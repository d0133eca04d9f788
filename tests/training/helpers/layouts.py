"""Small files in the layouts of rMD17 and MD22, with the energies and forces that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

HARTREE, KCAL_MOL, BOHR = 27.211386245988, 0.0433641153087705, 0.529177210903


@dataclass(frozen=True, eq=False)
class Springs:
    """A molecule of harmonic pairs: total energy eV and forces eV/Å that are exactly its slope."""

    numbers: np.ndarray
    start: np.ndarray
    offset: float
    """eV"""
    stiffness: float = 5.0
    """eV/Å²"""

    def energy(self, positions: np.ndarray) -> float:
        """eV"""
        lengths, rest = _pairs(positions), _pairs(self.start)
        return self.offset + 0.5 * self.stiffness * float(((lengths - rest) ** 2).sum())

    def forces(self, positions: np.ndarray) -> np.ndarray:
        """(N, 3) eV/Å"""
        i, j = np.triu_indices(len(positions), 1)
        vector = positions[j] - positions[i]
        length = np.linalg.norm(vector, axis=1)
        pull = (self.stiffness * (length - _pairs(self.start)) / length)[:, None] * vector
        forces = np.zeros_like(positions)
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        return forces

    def trajectory(
        self, count: int, seed: int = 0, shake: float = 0.06
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (M, N, 3), energies (M,), forces (M, N, 3)."""
        rng = np.random.default_rng(seed)
        positions = self.start + rng.normal(scale=shake, size=(count, *self.start.shape))
        return (
            positions,
            np.array([self.energy(x) for x in positions]),
            np.stack([self.forces(x) for x in positions]),
        )


def _pairs(positions: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(len(positions), 1)
    return np.linalg.norm(positions[j] - positions[i], axis=1)


def methanol() -> Springs:
    """CH3OH."""
    from ase.build import molecule

    atoms = molecule("CH3OH")
    return Springs(atoms.numbers, atoms.positions, -3146.2)


def water() -> Springs:
    """H2O."""
    return Springs(
        np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]]), -2078.0
    )


def write_rmd17(folder: Path, molecule: str, count: int, springs: Springs | None = None) -> Springs:
    """``rmd17/npz_data/rmd17_<molecule>.npz`` and the five pairs of split files."""
    springs = springs or methanol()
    positions, energies, forces = springs.trajectory(count)
    data = folder / "rmd17" / "npz_data"
    data.mkdir(parents=True)
    np.savez_compressed(
        data / f"rmd17_{molecule}.npz",
        nuclear_charges=springs.numbers.astype(np.uint8),
        coords=positions,
        energies=energies / KCAL_MOL,
        forces=forces / KCAL_MOL,
        old_indices=np.arange(count),
        old_energies=np.zeros(count),
        old_forces=np.zeros_like(forces),
    )
    splits = folder / "rmd17" / "splits"
    splits.mkdir()
    for k in range(1, 6):
        order = np.random.default_rng(k).permutation(count)
        for name, part in (("train", order[: count // 2]), ("test", order[count // 2 :])):
            (splits / f"index_{name}_0{k}.csv").write_text("".join(f"{i}\n" for i in part))
    return springs


def write_md22(path: Path, count: int, *, e_unit: str = "kcal/mol", r_unit: str = "Ang") -> Springs:
    """One sGDML archive with all its members, two of them object arrays as published."""
    springs = methanol()
    positions, energies, forces = springs.trajectory(count)
    energy = energies[:, None] / KCAL_MOL
    np.savez_compressed(
        path,
        z=springs.numbers,
        R=positions,
        E=energy,
        F=forces / KCAL_MOL,
        name="toy",
        theory="PBE+MBD",
        e_unit=e_unit,
        r_unit=r_unit,
        md5="0" * 32,
        type="d",
        code_version="0.5",
        perms=np.array([[0, 1]]),
        E_min=energy.min(),
        E_max=energy.max(),
        E_mean=energy.mean(),
        E_var=energy.var(),
        F_min=0.0,
        F_max=1.0,
        F_mean=0.0,
        F_var=1.0,
        extra=np.array([{"needs": "pickle"}], dtype=object),
    )
    return springs
