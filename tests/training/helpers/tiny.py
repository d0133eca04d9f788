"""A tiny smooth network and EMT-labelled frames, so that real training runs take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training.data.frame import Frame
from jmp_calc.zoo.container import ModelCard, save_model

BACKBONE = BackboneConfig(
    num_spherical=3,
    num_radial=8,
    num_blocks=1,
    emb_size_atom=8,
    emb_size_edge=12,
    emb_size_trip_in=6,
    emb_size_trip_out=6,
    emb_size_quad_in=4,
    emb_size_quad_out=4,
    emb_size_aint_in=6,
    emb_size_aint_out=6,
    emb_size_rbf=4,
    emb_size_cbf=4,
    emb_size_sbf=6,
    num_before_skip=1,
    num_after_skip=1,
    num_concat=1,
    num_atom=1,
    num_output_afteratom=1,
    num_atom_emb_layers=1,
    num_global_out_layers=1,
    radial_cutoff=3.4,
    force_branch=False,
)
POLICY = GraphPolicy("smooth", cutoff=3.4, a2a_cutoff=3.4, a2ee2a_cutoff=3.4, qint_cutoff=3.2)


def tiny_config(*names: str) -> ModelConfig:
    """Smooth, with lone-atom subtraction, and narrow heads of the given names (default: old)."""
    heads = tuple(HeadConfig(name, hidden=8, num_layers=3, elements=(13, 29)) for name in names or ("old",))
    return ModelConfig(BACKBONE, POLICY, heads, default_head=heads[0].name, subtract_lone_atom=True)


def tiny_potential(*names: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Potential:
    """Random weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Potential(tiny_config(*names)).to(dtype)


def tiny_model(path: Path, *names: str) -> Path:
    """A model file with random weights."""
    save_model(path, tiny_potential(*names), ModelCard(name="tiny", licence="MIT"))
    return path


def emt_atoms(count: int, *, seed: int = 0, shake: float = 0.12) -> list[Atoms]:
    """Shaken, strained Cu and Cu-Al cells of four atoms, with EMT energies, forces and stresses."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
        if i % 2:
            atoms.symbols[0] = "Al"
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=shake, size=(4, 3))
        atoms.info["config_type"] = "CuAl" if i % 2 else "Cu"
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        images.append(atoms)
    return images


def emt_frames(count: int, *, seed: int = 0) -> tuple[Frame, ...]:
    """The same as labelled frames."""
    frames = []
    for i, atoms in enumerate(emt_atoms(count, seed=seed)):
        frames.append(
            Frame(
                numbers=atoms.numbers.astype(np.int64),
                positions=atoms.positions,
                cell=atoms.cell.array,
                pbc=atoms.pbc,
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces(),
                stress=atoms.get_stress(voigt=False),
                group=atoms.info["config_type"],
                source="emt.extxyz",
                index=i,
            )
        )
    return tuple(frames)


def emt_file(path: Path, count: int, *, seed: int = 0) -> Path:
    """The same as an extxyz file."""
    write(path, emt_atoms(count, seed=seed), format="extxyz")
    return path
