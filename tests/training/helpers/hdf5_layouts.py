"""Small HDF5 files in the real layouts of SPICE, ANI-1x and Transition-1x."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.training.helpers.layouts import BOHR, HARTREE, Springs, methanol

DIPEPTIDES = "SPICE Dipeptides Single Points Dataset v1.2"
SOLVATED = "SPICE Solvated Amino Acids Single Points Dataset v1.1"


def write_spice(path: Path, molecules: dict[str, tuple[str, int]]) -> dict[str, Springs]:
    """Groups of (subset, number of conformers), lengths in bohr, energies in hartree, gradients; one group is
    empty."""
    made = {}
    with h5py.File(path, "w") as file:
        for seed, (name, (subset, count)) in enumerate(molecules.items()):
            springs = methanol()
            positions, energies, forces = springs.trajectory(count, seed)
            group = file.create_group(name)
            group["subset"] = np.array([subset.encode()], dtype=h5py.string_dtype())
            group["smiles"] = np.array([b"CO"], dtype=h5py.string_dtype())
            group["atomic_numbers"] = springs.numbers.astype(np.int16)
            group["conformations"] = (positions / BOHR).astype(np.float32)
            group["dft_total_energy"] = energies / HARTREE
            group["formation_energy"] = np.zeros(count)
            group["dft_total_gradient"] = (-forces / HARTREE * BOHR).astype(np.float32)
            made[name] = springs
        file.create_group("without conformations")["subset"] = np.array([DIPEPTIDES.encode()])
    return made


def write_ani1x(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """H2O1 (three atoms), C1H4 (three conformers), C2H2 (two, the first with a NaN force), C1O1H4; energies
    and forces."""
    from ase.build import molecule

    made = {}
    with h5py.File(path, "w") as file:
        for seed, (formula, name, count) in enumerate(
            (("H2O1", "H2O", 2), ("C1H4", "CH4", 3), ("C2H2", "C2H2", 2), ("C1H4O1", "CH3OH", 4))
        ):
            atoms = molecule(name)
            springs = Springs(atoms.numbers, atoms.positions, -1000.0 * (seed + 1))
            positions, energies, forces = springs.trajectory(count, seed)
            group = file.create_group(formula)
            group["atomic_numbers"] = springs.numbers.astype(np.uint8)
            group["coordinates"] = positions.astype(np.float32)
            stored = (forces / HARTREE).astype(np.float32)
            if formula == "C2H2":
                stored[0, 1, 2] = np.nan
            group["wb97x_dz.energy"] = energies / HARTREE
            group["wb97x_dz.forces"] = stored
            group["ccsd(t)_cbs.energy"] = np.full(count, np.nan)
            made[formula] = (energies, forces)
    return made


def write_transition1x(path: Path) -> np.ndarray:
    """A reaction of three frames in train (and in data), one of one frame in val, sub-groups to ignore;
    energies of train."""
    from ase.build import molecule

    atoms = molecule("C2H2")
    springs = Springs(atoms.numbers, atoms.positions, -2100.0)
    positions, energies, forces = springs.trajectory(3)

    def fill(group: h5py.Group, count: int) -> None:
        group["atomic_numbers"] = springs.numbers
        group["positions"] = positions[:count]
        group["wB97x_6-31G(d).energy"] = energies[:count]
        group["wB97x_6-31G(d).forces"] = forces[:count]

    with h5py.File(path, "w") as file:
        for part, name, count in (("train", "rxn0001", 3), ("val", "rxn0002", 1)):
            reaction = file.create_group(f"data/C2H2/{name}")
            fill(reaction, count)
            for inner in ("reactant", "product", "transition_state"):
                fill(reaction.create_group(inner), 1)
            file.require_group(f"{part}/C2H2")[name] = h5py.SoftLink(f"/data/C2H2/{name}")
        file.require_group("train/CH2N2")["rxn0001"] = h5py.SoftLink(
            "/data/C2H2/rxn0001"
        )  # names repeat across formulas
        file.create_group("test")
    return energies
