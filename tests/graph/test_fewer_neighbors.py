"""Neighbour numbers that depend on the size of the structure, as in the published runs on QMOF and
MatBench."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jmp_calc.errors import ModelError
from jmp_calc.graph.adaptive import adaptive_cutoffs
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.graph.policy import CONDITIONAL_NEIGHBORS, FewerNeighbors, GraphPolicy
from jmp_calc.graph.selection import smooth_for_official
from jmp_calc.inference.memory import expected_counts
from jmp_calc.inference.settings import Settings, choose_policy
from jmp_calc.model.config import model_config_from_dict, to_dict
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, load_model, save_model
from jmp_calc.zoo.describe import describe
from jmp_calc.zoo.names import locate
from tests.training.helpers.tiny import tiny_config

OPEN = np.zeros((3, 3)), np.zeros(3, dtype=bool)
PUBLISHED = GraphPolicy("official", cutoff=60.0, fewer_neighbors=CONDITIONAL_NEIGHBORS)


def graph_of(positions: np.ndarray, policy: GraphPolicy) -> Graph:
    return build_graph(positions, np.full(len(positions), 13), *OPEN, policy)


@pytest.mark.parametrize("n_atoms, n", [(1, 30), (200, 30), (201, 10), (300, 10), (301, 5), (10_000, 5)])
def test_the_published_limits(n_atoms: int, n: int) -> None:
    assert PUBLISHED.neighbors_of(n_atoms) == n
    assert (
        GraphPolicy("official", max_neighbors=4, fewer_neighbors=CONDITIONAL_NEIGHBORS).neighbors_of(250) == 4
    )


@pytest.mark.parametrize(
    "clusters, n, limits",
    [
        (6, 30, (1000, 20, 8)),  # 186 atoms
        (19, 10, (333, 6, 2)),  # 209
        (27, 10, (333, 6, 2)),  # 297
        (51, 5, (166, 3, 1)),  # 306
    ],
)
def test_edges_of_separate_clusters(clusters: int, n: int, limits: tuple[int, int, int]) -> None:
    """Clusters of n + 1 atoms, all within the cutoff of all: the n nearest of an atom are its cluster, both
    ways."""
    rng = np.random.default_rng(0)
    centres = 6.0 * np.stack(np.unravel_index(np.arange(clusters), (4, 4, 4)), axis=1)
    positions = (centres[:, None] + rng.uniform(-1, 1, (clusters, n + 1, 3))).reshape(-1, 3)
    atoms, (a2a, a2ee2a, qint) = len(positions), limits
    graph = graph_of(positions, PUBLISHED)
    assert len(graph.main) == atoms * n
    assert len(graph.a2a) == atoms * min(atoms - 1, a2a)
    assert (len(graph.a2ee2a), len(graph.qint)) == (atoms * a2ee2a, atoms * qint)


@pytest.mark.parametrize(
    "atoms, a2a, a2ee2a, qint", [(200, 199, 20, 8), (201, 200, 6, 2), (300, 299, 6, 2), (301, 166, 3, 1)]
)
def test_the_limits_change_from_one_atom_to_the_next(atoms: int, a2a: int, a2ee2a: int, qint: int) -> None:
    graph = graph_of(np.random.default_rng(1).uniform(0, 20, (atoms, 3)), PUBLISHED)
    assert (len(graph.a2a), len(graph.a2ee2a), len(graph.qint)) == (atoms * a2a, atoms * a2ee2a, atoms * qint)


def test_smooth_graphs_want_as_many() -> None:
    positions = np.random.default_rng(2).uniform(0, 16, (301, 3))
    edges, length = neighbour_edges(positions, *OPEN, 8.0)
    found, few = (
        adaptive_cutoffs(edges.target, length, 301, policy)
        for policy in (smooth_for_official(8.0, 30, CONDITIONAL_NEIGHBORS), smooth_for_official(8.0, 5))
    )
    assert np.array_equal(found, few)


@pytest.mark.parametrize(
    "policy",
    [GraphPolicy("official", cutoff=5.0, max_neighbors=8), smooth_for_official(5.0, 8)],
    ids=["official", "smooth"],
)
def test_every_structure_of_a_batch_has_its_own_number(policy: GraphPolicy) -> None:
    """8 neighbours up to 6 atoms, 3 above: in one batch as each alone with a plain number; lone atoms do no
    harm."""
    rng = np.random.default_rng(3)
    small, large = (
        bulk("Cu", cubic=True).repeat((1, 1, k)).positions + rng.normal(scale=0.1, size=(4 * k, 3))
        for k in (1, 2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Potential(dataclasses.replace(tiny_config(), policy=policy)).double()

    def energies(policy: GraphPolicy, *structures: np.ndarray) -> list[float]:
        potential = start.with_config(dataclasses.replace(start.config, policy=policy))
        batch = collate([graph_of(positions, policy) for positions in structures])
        found: list[float] = potential(batch, heads="old").energy.tolist()
        return found

    both = energies(dataclasses.replace(policy, fewer_neighbors=(FewerNeighbors(6, 3),)), small, large)
    alone = energies(policy, small) + energies(dataclasses.replace(policy, max_neighbors=3), large)
    assert both == pytest.approx(alone, rel=1e-12)
    assert both[1] != pytest.approx(energies(policy, large)[0], rel=1e-6)


def test_model_files_keep_them(tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config(), policy=PUBLISHED)
    assert model_config_from_dict(json.loads(json.dumps(to_dict(config)))) == config
    save_model(tmp_path / "m.safetensors", Potential(config), ModelCard(name="m", licence="MIT"))
    assert load_model(tmp_path / "m.safetensors").potential.config.policy == PUBLISHED
    assert describe(locate(tmp_path / "m.safetensors"))["graphs"]["max_neighbors_above_atoms"] == {
        200: 10,
        300: 5,
    }
    older = to_dict(config)
    del older["policy"]["fewer_neighbors"]
    assert model_config_from_dict(older).policy == GraphPolicy("official", cutoff=60.0)
    wrong = dataclasses.replace(config, policy=GraphPolicy(fewer_neighbors=(FewerNeighbors(200, 0),)))
    with pytest.raises(ModelError, match="fewer_neighbors"):
        save_model(tmp_path / "wrong.safetensors", Potential(wrong), ModelCard(name="m", licence="MIT"))


def test_a_number_that_is_asked_for_holds_for_all_sizes() -> None:
    config = dataclasses.replace(tiny_config(), policy=PUBLISHED)
    kept = choose_policy(config, config.heads[0], Settings(model="m", graph="smooth"))
    assert kept.adaptive and kept.fewer_neighbors == CONDITIONAL_NEIGHBORS
    assert (
        choose_policy(config, config.heads[0], Settings(model="m", max_neighbors=12)).neighbors_of(1000) == 12
    )


def test_estimates_respect_them() -> None:
    atoms = Atoms("Al301", positions=np.random.default_rng(4).uniform(0, 15, (301, 3)))
    plain = dataclasses.replace(PUBLISHED, fewer_neighbors=())
    assert expected_counts(atoms, PUBLISHED) == expected_counts(
        atoms, dataclasses.replace(plain, max_neighbors=5)
    )
    assert expected_counts(atoms[:200], PUBLISHED) == expected_counts(atoms[:200], plain)
