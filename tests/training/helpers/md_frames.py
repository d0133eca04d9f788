"""Small labelled trajectories: EMT dynamics of a molecule-like cluster and strained copper cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from jmp_calc.training.data.frame import Frame


def frame_of(atoms: Atoms, index: int, group: str = "md", source: str = "md.xyz") -> Frame:
    """A frame with all labels of the attached calculator; stress only in crystals."""
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        pbc=atoms.pbc.copy(),
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(voigt=False) if atoms.pbc.all() else None,
        group=group,
        source=source,
        index=index,
    )


def molecule_md(count: int = 40, name: str = "CH3CH2OH", seed: int = 0) -> tuple[Frame, ...]:
    """Two femtoseconds apart, EMT."""
    return nve(molecule(name), 200, timestep_fs=0.5, every=4, count=count, seed=seed)


def nve(
    atoms: Atoms, temperature_k: float, *, timestep_fs: float, every: int, count: int, seed: int
) -> tuple[Frame, ...]:
    """Dynamics with EMT from momenta of a temperature."""
    atoms.calc = EMT()
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature_k)[:, None]
    atoms.set_momenta(spread * np.random.default_rng(seed).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, timestep=timestep_fs * units.fs)
    frames = []
    for index in range(count):
        dynamics.run(every)
        frames.append(frame_of(atoms, index))
    return tuple(frames)


def strained_copper(count: int = 30, seed: int = 0) -> tuple[Frame, ...]:
    """Four-atom cells with strains of up to 3 % and displacements of 0.03 Å."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.set_cell(
            atoms.cell @ (np.eye(3) * (0.97 + 0.06 * rng.random()) + rng.normal(scale=4e-3, size=(3, 3))),
            scale_atoms=True,
        )
        atoms.positions += rng.normal(scale=0.03, size=(4, 3))
        atoms.calc = EMT()
        frames.append(frame_of(atoms, index, group="strain"))
    return tuple(frames)


def scaled(
    frames: tuple[Frame, ...], energy: float = 1.0, forces: float = 1.0, stress: float = 1.0
) -> tuple[Frame, ...]:
    """The same frames with labels in other units."""
    return tuple(
        replace(
            f,
            energy=None if f.energy is None else f.energy * energy,
            forces=None if f.forces is None else f.forces * forces,
            stress=None if f.stress is None else f.stress * stress,
        )
        for f in frames
    )
