"""Edge dropout: every directed edge survives on its own, the four graphs are chosen from the survivors by the
usual rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.dropout import EdgeDrop, EdgeScales
from jmp_calc.graph.neighbours import EdgeList, edge_lengths
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.graph.selection import neighbour_limits, smooth_for_official

OFFICIAL = GraphPolicy("official", cutoff=5.0, max_neighbors=9)
SMOOTH = GraphPolicy("smooth", cutoff=4.0, a2a_cutoff=4.5, a2ee2a_cutoff=4.0, qint_cutoff=3.0)
ADAPTIVE = smooth_for_official(4.5, 9)
POLICIES = {"official": OFFICIAL, "smooth": SMOOTH, "adaptive": ADAPTIVE}
Edge = tuple[int, ...]


def crystal(policy: GraphPolicy, drop: EdgeDrop | None = None) -> Graph:
    """Twelve atoms in a periodic cell smaller than twice the cutoffs."""
    cell = np.array([[5.03, 0, 0], [0.6, 5.2, 0], [0.2, -0.4, 4.9]])
    positions = np.random.default_rng(4).uniform(0, 1, (12, 3)) @ cell
    return build_graph(positions, np.full(12, 14), cell, np.ones(3, dtype=bool), policy, drop=drop)


def edges(edges: EdgeList) -> list[Edge]:
    return [tuple(map(int, row)) for row in np.column_stack([edges.source, edges.target, edges.shift])]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_directed_edges_survive_independently_with_the_complement_of_the_probability(
    policy: GraphPolicy,
) -> None:
    full, draws = edges(crystal(policy).a2a), 60
    survived = np.zeros((draws, len(full)))
    for seed in range(draws):
        left = set(edges(crystal(policy, EdgeDrop(0.3, seed)).a2a))
        assert left <= set(full)
        survived[seed] = [edge in left for edge in full]
    number = {edge: k for k, edge in enumerate(full)}
    mirror = np.array([number[(t, s, -x, -y, -z)] for s, t, x, y, z in full])
    assert survived.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / survived.size))
    both = (survived * survived[:, mirror]).mean()  # a mirror has its own draw
    assert both == pytest.approx(0.49, abs=4 * np.sqrt(0.25 / survived.size * 2))


def test_the_seed_decides() -> None:
    one, same, other = (crystal(OFFICIAL, EdgeDrop(0.1, seed)) for seed in ((3, 0, 7), (3, 0, 7), (3, 1, 7)))
    assert edges(one.a2a) == edges(same.a2a) and edges(one.main) == edges(same.main)
    assert edges(one.a2a) != edges(other.a2a)


def test_official_limits_are_filled_with_the_next_nearest_survivors() -> None:
    graph = crystal(OFFICIAL, EdgeDrop(0.3, 1))
    length = edge_lengths(graph.a2a, graph.positions, graph.cell)
    _, _, limit, qint_limit = neighbour_limits(OFFICIAL.max_neighbors)
    for chosen, most in ((graph.a2ee2a, limit), (graph.qint, qint_limit)):
        for atom in range(graph.n_atoms):
            mine = edge_lengths(chosen, graph.positions, graph.cell)[chosen.target == atom]
            assert len(mine) == most
            np.testing.assert_allclose(np.sort(mine), np.sort(length[graph.a2a.target == atom])[:most])


def test_a_bond_is_in_the_smooth_main_graph_if_its_edge_to_the_higher_atom_survived() -> None:
    graph, full = crystal(SMOOTH, EdgeDrop(0.4, 2)), crystal(SMOOTH)
    left = set(edges(graph.a2a))
    leading = edges(full.main)[: len(full.main) // 2]
    expected = [edge for edge in leading if edge in left]
    assert edges(graph.main)[: len(graph.main) // 2] == expected
    # The other graphs stay directed: with the cutoff of main, a2ee2a has edges whose mirrors were dropped.
    assert set(edges(graph.a2ee2a)) == set(edges(full.main)) & left
    assert set(edges(graph.qint)) == set(edges(full.qint)) & left


def test_adaptive_cutoffs_grow_to_replace_what_was_dropped() -> None:
    graph, full = crystal(ADAPTIVE, EdgeDrop(0.3, 5)), crystal(ADAPTIVE)

    def longest(graph: Graph) -> float:
        return float(edge_lengths(graph.qint, graph.positions, graph.cell).max())

    assert longest(graph) > longest(full)
    assert set(edges(graph.qint)) - set(edges(full.qint))
    assert set(edges(graph.qint)) <= set(edges(graph.a2a))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_reverse_edges_are_valid_after_dropout(policy: GraphPolicy) -> None:
    graphs = [crystal(policy, EdgeDrop(0.4, seed)) for seed in range(3)]
    batch = collate(graphs)
    main, swap = batch.main, batch.swap
    assert main.count > 0 and edges(graphs[0].main) != edges(crystal(policy).main)
    assert (main.source[swap] == main.target).all() and (main.target[swap] == main.source).all()
    assert (main.shift[swap] == -main.shift).all() and (main.structure[swap] == main.structure).all()
    assert (swap[swap] == np.arange(main.count)).all()


def test_compensation_is_where_it_was_asked_for() -> None:
    assert crystal(SMOOTH).scales == EdgeScales(1.0, 1.0)
    assert crystal(SMOOTH, EdgeDrop(0.2, 0)).scales == EdgeScales(output_sums=1.25)
    assert crystal(SMOOTH, EdgeDrop(0.2, 0, "edge_embeddings")).scales == EdgeScales(edge_embeddings=1.25)
    batch = collate([crystal(SMOOTH, EdgeDrop(0.2, seed)) for seed in range(2)])
    assert batch.scales == EdgeScales(output_sums=1.25)
    with pytest.raises(ValueError, match="same edge dropout"):
        collate([crystal(SMOOTH), crystal(SMOOTH, EdgeDrop(0.2, 0))])


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_probabilities_are_refused(probability: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        EdgeDrop(probability, 0)
    with pytest.raises(UsageError, match="output_sums or edge_embeddings"):
        replace(EdgeDrop(0.1, 0), compensation="somewhere")  # type: ignore[arg-type]
