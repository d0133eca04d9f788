"""Fixtures: a small smooth network with random weights and fitted scale factors, saved as one of our
files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.calculator import JMPCalculator
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig, DefaultHeads, HeadConfig, ModelConfig
from jmp_calc.model.elements import pair_name
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model

BACKBONE = BackboneConfig(
    num_spherical=3,
    num_radial=16,
    num_blocks=1,
    emb_size_atom=16,
    emb_size_edge=16,
    emb_size_trip_in=8,
    emb_size_trip_out=8,
    emb_size_quad_in=8,
    emb_size_quad_out=8,
    emb_size_aint_in=8,
    emb_size_aint_out=8,
    emb_size_rbf=8,
    emb_size_cbf=8,
    emb_size_sbf=8,
    num_before_skip=1,
    num_after_skip=1,
    num_atom=1,
    num_output_afteratom=1,
    num_atom_emb_layers=0,
    num_global_out_layers=1,
    radial_cutoff=5.0,
)
SMOOTH = GraphPolicy("smooth", cutoff=4.5, a2a_cutoff=5.0, a2ee2a_cutoff=4.0, qint_cutoff=3.5)
OFFICIAL = GraphPolicy("official", cutoff=5.0, max_neighbors=8)
CHON = HeadConfig(
    "organic",
    hidden=16,
    num_layers=2,
    level_of_theory="ωB97X/6-31G(d)",
    elements=(1, 6, 7, 8),
    direct_forces=True,
    references={1: -13.6, 6: -1027.0, 7: -1484.0, 8: -2038.0},
    reference_kind="isolated_atoms",
)
ANY = HeadConfig("materials", hidden=16, num_layers=2, level_of_theory="PBE", reference_kind="none")

ModelFactory = Callable[..., Path]


def training_batch(policy: GraphPolicy):
    structures = [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.6), molecule("C6H6")]
    return collate([build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in structures])


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFactory:
    """Write a model file; same seed, so that equal arguments give equal weights."""

    def make(
        *,
        policy: GraphPolicy = SMOOTH,
        heads: tuple[HeadConfig, ...] = (ANY,),
        default: str | DefaultHeads | None = None,
        aliases: dict[str, str] | None = None,
        seed: int = 0,
        subtract_lone_atom: bool = True,
        pair_repulsion: bool = True,
        quadruplets: bool = True,
    ) -> Path:
        config = ModelConfig(
            replace(BACKBONE, quad_interaction=quadruplets),
            policy,
            heads,
            default_head=default if isinstance(default, str) else None,
            default_heads=default if isinstance(default, DefaultHeads) else None,
            head_aliases=aliases or {},
            subtract_lone_atom=subtract_lone_atom,
            pair_repulsion=pair_repulsion,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            potential = Potential(config)
            batch = training_batch(policy)
            potential.fit_scale_factors([batch])
        path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
        save_model(path, potential, ModelCard("tiny", created="2026-01-01", licence="MIT", source="random"))
        return path

    return make


@pytest.fixture(scope="session")
def model_path(make_model: ModelFactory) -> Path:
    """One head, smooth, any element."""
    return make_model(default="materials")


@pytest.fixture(scope="session")
def simple_path(make_model: ModelFactory) -> Path:
    """Without quadruplets, as jmp-xs: half the operations to trace; with bonds that break and pairs that
    repel."""
    policy = GraphPolicy("smooth", cutoff=4.5, a2a_cutoff=5.0, a2ee2a_cutoff=4.5, qint_cutoff=0.0)
    near = {
        pair_name(i, j): 0.5 for i, j in combinations_with_replacement((1, 6, 7, 8, 11, 13, 14, 17, 29), 2)
    }
    head = replace(
        ANY,
        binding={1: -2.0, 6: -7.0, 8: -3.0, 29: -3.5},
        binding_gate="bonds",
        pairs={**near, "H-C": 1.2, "Cu-Cu": 2.65, "Na-Cl": 2.9},
    )
    return make_model(policy=policy, heads=(head,), quadruplets=False)


@pytest.fixture(scope="session")
def two_heads(make_model: ModelFactory) -> Path:
    """Heads 'organic' (H C N O) and 'materials' (unknown coverage), no default."""
    return make_model(heads=(CHON, replace(ANY, elements=(11, 17, 14, 29))))


@pytest.fixture(scope="session")
def by_kind(make_model: ModelFactory) -> Path:
    """The same heads with 'organic' as the default for molecules and 'materials' for periodic structures,
    which was once called 'solids'."""
    return make_model(
        heads=(CHON, replace(ANY, elements=(1, 6, 8, 11, 17))),
        default=DefaultHeads("organic", "materials"),
        aliases={"solids": "materials"},
    )


@pytest.fixture(scope="session")
def official_path(make_model: ModelFactory) -> Path:
    """The same network under the published graph rules."""
    return make_model(
        policy=OFFICIAL, heads=(CHON,), default="organic", subtract_lone_atom=False, pair_repulsion=False
    )


@pytest.fixture(scope="session")
def loaded(model_path: Path) -> JMPCalculator:
    return JMPCalculator(model_path, device="cpu", dtype="float64")


@pytest.fixture
def calc(loaded: JMPCalculator) -> JMPCalculator:
    """A calculator of its own for every test; the weights are shared."""
    return copy.copy(loaded)


@pytest.fixture
def evaluations(calc: JMPCalculator) -> Iterator[list[int]]:
    """Grows by one with every evaluation of the network of `calc`."""
    calls: list[int] = []
    hook = calc.evaluator.potential.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


@pytest.fixture
def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def salt() -> Atoms:
    """Two-atom rock salt, strained to a triclinic cell smaller than the cutoff, atoms off their sites."""
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + [[0.02, 0.03, 0.01], [0.0, -0.03, 0.02], [0.01, 0.0, 0.04]]), True
    )
    atoms.rattle(0.05, seed=2)
    return atoms
