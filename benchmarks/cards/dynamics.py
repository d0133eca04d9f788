"""Dynamics of molecules, liquids and crystals for 10 ps: bonds and lattices stay, and energy is kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import read
from systems import HERE, MOLECULES, structure

from jmp_calc.bonding import bonds_of
from jmp_calc.errors import GuardError, JMPError, JMPWarning
from jmp_calc.model.elements import COVALENT_RADII
from jmp_calc.workflows.md import MDResult, md
from jmp_calc.workflows.relax import relax

from .crystals import crystals, larger, scaled, teacher_scale
from .model import CRYSTALS, CardModel, knows

PICOSECONDS = 10.0
BROKEN, FORMED = 1.6, 1.05
"""Shares of the sum of covalent radii: a bond that is longer is broken, a pair that is nearer is bonded."""
MOVED_SHARE = 0.3
"""Of the distance of nearest neighbours: how far the mean place of an atom may be from its site."""
LAST_PS = 2.0
SLOPE_MEV = 0.1
"""meV/atom/ps"""
FRAME_FS = 20.0


@dataclass(frozen=True)
class Run:
    """One system and its temperature."""

    system: str
    temperature_k: float
    timestep_fs: float = 0.5
    repeat: tuple[int, int, int] = (1, 1, 1)
    """Of the cell of a crystal."""
    nve: bool = False

    @property
    def crystal(self) -> bool:
        """Whether the lattice is what must stay."""
        return self.system in crystals()

    @property
    def level(self) -> str:
        """Of theory; liquids are of molecules."""
        return CRYSTALS if self.crystal else "wB97X molecules"


KEPT = {
    "ethanol 300 K": Run("ethanol", 300.0),
    "ethanol 900 K": Run("ethanol", 900.0),
    "aspirin 300 K": Run("aspirin", 300.0),
    "aspirin 600 K": Run("aspirin", 600.0),
    "Ac-Ala5-NHMe 300 K": Run("ac-ala5-nhme", 300.0, 1.0),
    "methane 900 K": Run("CH4", 900.0),
    "benzene 900 K": Run("C6H6", 900.0),
    "acetamide 600 K": Run("CH3CONH2", 600.0),
    "pyridine 600 K": Run("C5H5N", 600.0),
    "dimethyl ether 600 K": Run("CH3OCH3", 600.0),
    "liquid water 300 K": Run("water48", 300.0, 1.0),
    "liquid water 400 K": Run("water48", 400.0, 1.0),
    "Cu 900 K": Run("Cu", 900.0, 2.0, (2, 2, 2)),
    "Al 600 K": Run("Al", 600.0, 2.0, (2, 2, 2)),
    "W 900 K": Run("W", 900.0, 2.0, (3, 3, 3)),
    "Mg 300 K": Run("Mg", 300.0, 2.0, (2, 2, 2)),
    "Si 900 K": Run("Si", 900.0, 2.0, (2, 2, 2)),
    "MgO 900 K": Run("MgO", 900.0, 2.0, (2, 2, 2)),
    "NaCl 600 K": Run("NaCl", 600.0, 2.0, (2, 2, 2)),
    "GaAs 600 K": Run("GaAs", 600.0, 2.0, (2, 2, 2)),
}
NVE = {
    "NVE ethanol": Run("ethanol", 300.0, nve=True),
    "NVE benzene": Run("C6H6", 300.0, nve=True),
    "NVE acetamide": Run("CH3CONH2", 300.0, nve=True),
    "NVE Cu": Run("Cu", 300.0, repeat=(2, 2, 2), nve=True),
    "NVE Si": Run("Si", 300.0, repeat=(2, 2, 1), nve=True),
}
RUNS = KEPT | NVE


def names(model: CardModel) -> list[str]:
    """The runs."""
    return list(RUNS)


def start_structure(run: Run) -> Atoms:
    """Before relaxation."""
    if run.crystal:
        return scaled(larger(run.system), teacher_scale(run.system)) * run.repeat
    if run.system in MOLECULES:
        return read(HERE / "structures" / f"{run.system}.xyz")
    return structure(run.system) if run.system.startswith("water") else molecule(run.system)


def measured(name: str, model: CardModel) -> dict[str, Any]:
    """One run; goes on where an earlier one was stopped."""
    run, head = RUNS[name], model.head(RUNS[name].level)
    atoms = start_structure(run)
    if head is None:
        return {"passed": False, "covered": False, "note": "no head of this level of theory"}
    row: dict[str, Any] = head.row() | {"atoms": len(atoms), "temperature_k": run.temperature_k}
    if not knows(model.config(head.name), atoms.numbers):
        return row | {"passed": False, "covered": False}
    calculator = model.compiled(head.name)
    folder = model.work / model.sha256[:8] / name.replace(" ", "-")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", JMPWarning)
            if not (folder / "start.traj").exists():
                relaxed = relax(atoms, calc=calculator, fmax=0.05, steps=200).atoms
                folder.mkdir(parents=True, exist_ok=True)
                relaxed.write(folder / "start.traj")
            begin = read(folder / "start.traj")
            begin.calc = calculator
            result = _dynamics(begin, run, folder)
    except GuardError as error:
        return row | {"covered": True, "passed": False, "failure": f"{error.where}: {error.fact}"}
    except JMPError as error:
        return row | {"covered": True, "passed": False, "failure": error.fact}
    row |= {"covered": True, "time_ps": result.time_ps}
    return row | (_slope(result) if run.nve else kept(begin, read(folder / "md" / "traj.extxyz", ":"), run))


def _dynamics(atoms: Atoms, run: Run, folder: Path) -> MDResult:
    """10 ps at the temperature, or without thermostat after 1 ps with it."""
    if run.nve:
        warm = folder / "warm.traj"
        if not warm.exists():
            heated = md(
                atoms,
                temperature_k=run.temperature_k,
                timestep_fs=run.timestep_fs,
                steps=round(1000 / run.timestep_fs),
                friction_per_ps=20.0,
            )
            heated.atoms.write(warm)
        calculator, atoms = atoms.calc, read(warm)
        atoms.calc = calculator
    restart = folder / "md" / "restart.npz"
    every = max(round(FRAME_FS / run.timestep_fs), 1)
    return md(
        atoms,
        ensemble="nve" if run.nve else "nvt",
        temperature_k=run.temperature_k,
        timestep_fs=run.timestep_fs,
        steps=round(1000 * PICOSECONDS / run.timestep_fs),
        velocities="keep" if run.nve else "new",
        traj_every=every,
        restart=restart if restart.exists() else None,
        out=folder / "md",
    )


def _slope(result: MDResult) -> dict[str, Any]:
    """Of the total energy."""
    drift = result.drift
    assert drift is not None
    slope = drift.drift_mev_per_atom_per_ps
    return {
        "slope_mev_per_atom_per_ps": slope,
        "standard_error": drift.standard_error,
        "passed": bool(abs(slope) < SLOPE_MEV),
    }


def kept(begin: Atoms, frames: list[Atoms], run: Run) -> dict[str, Any]:
    """Whether a trajectory keeps the bonds of its start, or its lattice."""
    return kept_lattice(begin, frames) if run.crystal else kept_bonds(begin, frames)


def kept_bonds(begin: Atoms, frames: list[Atoms]) -> dict[str, Any]:
    """Bonds of the start that are broken in any frame, and pairs that come to be bonded."""
    bonds = set(bonds_of(begin.numbers, begin.positions, begin.cell.array, begin.pbc))
    pairs = np.array(sorted(bonds))
    radii = np.asarray(COVALENT_RADII)[begin.numbers]
    sums = radii[pairs[:, 0]] + radii[pairs[:, 1]]
    broken: set[tuple[int, int]] = set()
    formed: set[tuple[int, int]] = set()
    longest = 0.0
    for atoms in frames:
        vectors = atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]]
        lengths = np.linalg.norm(_nearest_images(vectors, atoms), axis=1)
        longest = max(longest, float((lengths / sums).max()))
        broken |= {tuple(pair) for pair in pairs[lengths > BROKEN * sums].tolist()}
        now = bonds_of(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, FORMED)
        formed |= set(now) - bonds
    return {
        "bonds": len(bonds),
        "broken": len(broken),
        "formed": len(formed),
        "longest_share_of_radii": longest,
        "passed": not broken and not formed,
    }


def kept_lattice(begin: Atoms, frames: list[Atoms]) -> dict[str, Any]:
    """How far the mean place of any atom in the last frames is from its site, in shares of the shortest distance
    of the lattice."""
    last = frames[-max(round(1000 * LAST_PS / FRAME_FS), 1) :]
    mean = np.mean([atoms.positions - atoms.positions.mean(axis=0) for atoms in last], axis=0)
    moved = mean - (begin.positions - begin.positions.mean(axis=0))
    distances = begin.get_all_distances(mic=True)
    nearest = float(distances[distances > 0].min())
    share = float(np.linalg.norm(moved, axis=1).max()) / nearest
    return {"largest_move_share": share, "passed": bool(share <= MOVED_SHARE)}


def _nearest_images(vectors: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Shortest vectors (N, 3) between periodic images."""
    from ase.geometry import find_mic

    return np.asarray(find_mic(vectors, atoms.cell, atoms.pbc)[0]) if atoms.pbc.any() else vectors
