"""A tiny smooth network as model file, and the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import pytest
import torch
from ase.build import bulk, molecule
from click.testing import CliRunner, Result

from jmp_calc.cli.main import cli
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model
from tests.small_network import BACKBONE

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a random but well-scaled model."""
    policy = GraphPolicy("smooth", cutoff=4.0, a2a_cutoff=4.0, a2ee2a_cutoff=3.5, qint_cutoff=3.0)
    head = HeadConfig("any", hidden=16, num_layers=2, level_of_theory="none", reference_kind="none")
    config = ModelConfig(
        BACKBONE,
        policy,
        (head,),
        default_head="any",
        subtract_lone_atom=True,
        pair_repulsion=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        potential = Potential(config)
        frames = [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.6)]
        batch = collate([build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in frames])
        potential.fit_scale_factors([batch])
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, potential, ModelCard(name="tiny"))
    return str(path)


@pytest.fixture
def run() -> Run:
    """``run("relax", file, ...)``; stdout and stderr apart."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words])

    return invoke


@pytest.fixture
def water(tmp_path: Path) -> Path:
    """A water molecule in a file."""
    path = tmp_path / "water.xyz"
    ase.io.write(path, molecule("H2O"))
    return path


@pytest.fixture
def salt(tmp_path: Path) -> Path:
    """Rock salt in a file."""
    path = tmp_path / "salt.extxyz"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6))
    return path
