"""The potentials that the physics tests run on, and plain functions from ASE structures to float64
results."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from numpy.typing import NDArray

from jmp_calc.graph.batch import Batch, collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.graph.selection import smooth_for_official
from jmp_calc.model.config import BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential, Prediction
from jmp_calc.model.recompute import Recompute
from jmp_calc.zoo.names import resolve
from jmp_calc.zoo.registry import load_registry
from tests.reference.data import from_compact

SMALL = BackboneConfig(
    num_spherical=5,
    num_radial=16,
    num_blocks=2,
    emb_size_atom=12,
    emb_size_edge=16,
    emb_size_trip_in=8,
    emb_size_trip_out=8,
    emb_size_quad_in=6,
    emb_size_quad_out=6,
    emb_size_aint_in=8,
    emb_size_aint_out=8,
    emb_size_rbf=6,
    emb_size_cbf=5,
    emb_size_sbf=6,
    num_before_skip=1,
    num_after_skip=1,
    num_concat=1,
    num_atom=1,
    num_output_afteratom=1,
    num_atom_emb_layers=1,
    num_global_out_layers=1,
    radial_cutoff=6.0,
    force_branch=False,
)
FIXED = GraphPolicy("smooth", cutoff=5.0, a2a_cutoff=6.0, a2ee2a_cutoff=5.0, qint_cutoff=4.0)
ADAPTIVE = GraphPolicy("smooth", cutoff=5.0, a2a_cutoff=5.0, max_neighbors=12, adaptive=True)


@dataclass(frozen=True)
class Model:
    """A float64 potential with the head to use."""

    potential: Potential
    head: str

    @property
    def policy(self) -> GraphPolicy:
        return self.potential.config.policy

    def graph(self, structure: Atoms) -> Graph:
        return build_graph(
            structure.positions, structure.numbers, structure.cell.array, structure.pbc, self.policy
        )

    def batch(self, structures: Sequence[Atoms]) -> Batch:
        return collate([self.graph(structure) for structure in structures])

    def predict(
        self,
        structures: Sequence[Atoms],
        *,
        stress: bool = False,
        create_graph: bool = False,
        recompute: Recompute = "nothing",
    ) -> Prediction:
        return self.potential(
            self.batch(structures),
            heads=self.head,
            stress=stress,
            create_graph=create_graph,
            recompute=recompute,
        )

    def energies(self, structures: Sequence[Atoms]) -> NDArray:
        """Energies (S,) in eV."""
        with torch.no_grad():
            return self.potential(self.batch(structures), heads=self.head, forces="none").energy.numpy()

    def energy(self, structure: Atoms) -> float:
        return float(self.energies([structure])[0])

    def forces(self, structure: Atoms) -> NDArray:
        """Forces (N, 3) in eV/Å."""
        forces = self.predict([structure]).forces
        assert forces is not None
        return forces.numpy()

    def stress(self, structure: Atoms) -> NDArray:
        """Stress (3, 3) in eV/Å³."""
        stress = self.predict([structure], stress=True).stress
        assert stress is not None
        return stress[0].numpy()


@cache
def _fitted(policy: GraphPolicy, backbone: BackboneConfig) -> Model:
    """He-orthogonal start, scale factors fitted on a few structures, lone atoms subtracted, pair repulsion up
    to trained distances, binding energies of bonds."""
    torch.manual_seed(7)
    tables = {
        "references": {z: -0.1 * z for z in range(1, 84)},
        "binding": {z: -0.05 * z for z in range(1, 84)},
        "pairs": {"C-O": 1.1, "H-O": 0.9, "C-C": 1.3},
    }
    kinds = {"reference_kind": "isolated_atoms", "binding_gate": "bonds"}
    head = HeadConfig(name="test", hidden=12, **kinds, **tables)
    config = ModelConfig(backbone, policy, (head,), "test", subtract_lone_atom=True, pair_repulsion=True)
    model = Model(Potential(config).double(), "test")
    frames = [molecule("CH3CH2OH"), molecule("C6H6"), bulk("Si", cubic=True), bulk("NaCl", "rocksalt", 5.64)]
    rng = np.random.default_rng(3)
    for frame in frames:
        frame.positions += 0.05 * rng.standard_normal(frame.positions.shape)
    model.potential.fit_scale_factors([model.batch(frames)])
    model.potential.requires_grad_(False)
    return model


def scratch(policy: GraphPolicy = FIXED, backbone: BackboneConfig = SMALL) -> Model:
    """A copy of the scratch-fitted network, whose weights may be changed."""
    return copy.deepcopy(_fitted(policy, backbone))


def version_1(model: Model) -> Model:
    """The same weights with repulsion and binding energies as in files of format version 1."""
    heads = [replace(head, binding_gate="envelope", pairs=None) for head in model.potential.config.heads]
    config = replace(model.potential.config, heads=tuple(heads))
    return Model(model.potential.with_config(config).requires_grad_(False), model.head)


def bundled_file() -> Path:
    """Where the weights of jmp-xs belong."""
    path = load_registry()["jmp-xs"].bundled
    assert path is not None
    return path


def bundled() -> Model:
    """The trained jmp-xs of this package."""
    potential = resolve("jmp-xs").potential.double()
    potential.requires_grad_(False)
    return Model(potential, "pbe")


def published() -> Model:
    """Official weights (the small reference model) under the smooth policy that the calculator gives them."""
    reference = from_compact().models["tiny-s"]
    potential = Potential(
        ModelConfig(reference.config.backbone, smooth_for_official(8.0, 30), reference.config.heads, "ani1x")
    )
    potential.load_state_dict(reference.weights["ema"])
    potential.double().requires_grad_(False)
    return Model(potential, "ani1x")
