"""Arithmetic and memory of one evaluation, counted from the configuration.

Arithmetic: 2 FLOP per multiply-add of the linear layers. Source and target parts of edge embeddings count on
    atoms. Angular
sums and elementwise work are not counted: what is counted is the part that cannot be avoided, so that time
against it is a measure of everything else (``benchmarks/speed.py``). Memory: the arrays that the backward
pass needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .config import BackboneConfig, HeadConfig

if TYPE_CHECKING:
    from ..graph.batch import Batch
    from ..graph.build import Graph
    from ..graph.neighbours import EdgeList
    from .recompute import Recompute


@dataclass(frozen=True)
class GraphCounts:
    """Atoms and directed edges of the four graphs of one structure or batch, and the most edges of one atom
    in three."""

    atoms: int
    main: int
    a2a: int
    a2ee2a: int
    qint: int
    main_width: int
    a2a_width: int
    qint_width: int

    @classmethod
    def of(cls, graph: Graph) -> GraphCounts:
        """Counts of a structure."""

        def width(edges: EdgeList) -> int:
            return int(np.bincount(edges.target).max(initial=0))

        return cls(
            graph.n_atoms,
            len(graph.main),
            len(graph.a2a),
            len(graph.a2ee2a),
            len(graph.qint),
            width(graph.main),
            width(graph.a2a),
            width(graph.qint),
        )

    @classmethod
    def of_batch(cls, batch: Batch) -> GraphCounts:
        """Counts of a batch; its widths are those of the padded slots."""
        graphs = (batch.main, batch.a2a, batch.a2ee2a, batch.qint)
        widths = (edges.slots.shape[1] for edges in (batch.main, batch.a2a, batch.qint))
        return cls(batch.n_atoms, *(edges.count for edges in graphs), *widths)


@dataclass(frozen=True)
class DenseLayer:
    """One bias-free linear layer: which rows it acts on, and its size."""

    name: str
    rows: int
    n_in: int
    n_out: int

    @property
    def flops(self) -> int:
        """2 FLOP per multiply-add."""
        return 2 * self.rows * self.n_in * self.n_out


def dense_layers(
    config: BackboneConfig, head: HeadConfig, counts: GraphCounts, *, direct: bool = False
) -> list[DenseLayer]:
    """All linear layers of one energy evaluation (``gemnet_oc.md`` 5-9, 11); with ``direct`` those of direct
    forces too."""
    layers = _bases(config, counts)
    for number in range(config.num_blocks):
        layers += [
            DenseLayer(f"block {number + 1}: {x.name}", x.rows, x.n_in, x.n_out)
            for x in _block(config, counts)
        ]
    depths = config.num_blocks + 1
    n, a = counts.atoms, config.emb_size_atom
    for number in range(depths):
        layers += _update(f"output {number}", config, counts)
        layers += _residual(f"output {number}: residual", n, a, config.num_output_afteratom)
    layers.append(DenseLayer("energy features", n, depths * a, a))
    layers += _residual("energy features: residual", n, a, config.num_global_out_layers)
    widths = [a, *[head.hidden] * (head.num_layers - 1), head.num_classes]
    layers += [DenseLayer("head", n, n_in, n_out) for n_in, n_out in zip(widths, widths[1:])]
    return layers + _force_branch(config, head, counts) if direct else layers


def dense_flops(
    config: BackboneConfig,
    head: HeadConfig,
    counts: GraphCounts,
    *,
    derivatives: int = 1,
    direct: bool = False,
) -> int:
    """Linear layers of the energy, and as many again for each derivative with respect to positions."""
    return (1 + derivatives) * sum(layer.flops for layer in dense_layers(config, head, counts, direct=direct))


def kept_values(c: BackboneConfig, counts: GraphCounts, recompute: Recompute = "nothing") -> int:
    """The most numbers that one evaluation keeps at a time for the derivative with respect to positions."""
    quad = int(c.quad_interaction)
    shared = _kept_of_bases(c, counts)
    interactions = _kept_of_interactions(c, counts)
    # Rows of edges per block: before each activation of the residual layers and of the merged first layers;
    # the concatenation; what goes into the sums over atoms of the update and of the output.
    residual = 2 * (c.num_before_skip + c.num_after_skip + c.num_concat)
    dense = counts.main * c.emb_size_edge * (residual + 3 + quad + 3)
    if recompute == "nothing":
        return shared + c.num_blocks * (dense + interactions)
    if recompute == "interactions":
        return shared + c.num_blocks * dense + interactions
    features = counts.main * c.emb_size_edge + 2 * counts.atoms * c.emb_size_atom
    return shared + c.num_blocks * features + dense + interactions


def _kept_of_bases(c: BackboneConfig, counts: GraphCounts) -> int:
    """Radial functions, their projections and the angular functions, which all blocks share."""
    degrees, cbf, slots = c.num_spherical, c.emb_size_cbf, counts.atoms * counts.main_width
    total = counts.main * (4 * c.emb_size_edge + 2 * degrees * cbf + 3 * c.num_radial)
    total += slots * (degrees**3 + 2 * degrees**2)
    total += counts.a2ee2a * (3 * c.num_radial + 2 * degrees * cbf + cbf * degrees**2)
    total += counts.a2a * 3 * c.num_radial + counts.atoms * counts.a2a_width * c.emb_size_rbf
    if c.quad_interaction:
        modes, pairs = degrees + 1, counts.qint * counts.main_width
        total += pairs * (degrees + 2 * modes) + 6 * slots * counts.qint_width * modes * degrees
        total += counts.main * c.emb_size_sbf * degrees * modes
    return total


def _kept_of_interactions(c: BackboneConfig, counts: GraphCounts) -> int:
    """Inside the interactions of one block: activated rows, radial factors, up projections, angular sums."""
    degrees, quad, trip, slots = (
        c.num_spherical,
        int(c.quad_interaction),
        c.emb_size_trip_in,
        counts.atoms * counts.main_width,
    )
    rows = (3 + quad) + (2 + quad) + 2 * (2 + quad) + 1
    total = counts.main * (c.emb_size_edge * rows + 2 * (2 * degrees * trip + c.emb_size_cbf * trip))
    total += slots * (2 * trip + degrees * trip) + counts.a2ee2a * 2 * c.emb_size_atom
    total += counts.atoms * counts.a2a_width * c.emb_size_aint_in
    if c.quad_interaction:
        modes, width, pairs = degrees + 1, c.emb_size_quad_in, counts.qint * counts.main_width
        total += (
            3 * pairs * width + 2 * slots * degrees * modes * width + counts.main * c.emb_size_sbf * width
        )
    return total


def _bases(c: BackboneConfig, counts: GraphCounts) -> list[DenseLayer]:
    k, degrees = c.num_radial, c.num_spherical
    main = (4 + c.quad_interaction) * c.emb_size_rbf + 2 * degrees * c.emb_size_cbf
    main += c.quad_interaction * degrees**2 * c.emb_size_sbf
    return [
        DenseLayer("bases of main", counts.main, k, main),
        DenseLayer("bases of a2ee2a", counts.a2ee2a, k, c.emb_size_rbf + degrees * c.emb_size_cbf),
        DenseLayer("bases of a2a", counts.a2a, k, c.emb_size_rbf),
        DenseLayer("bases of qint", counts.qint, k, c.quad_interaction * degrees * c.emb_size_cbf),
        DenseLayer("edge embedding: radial", counts.main, k, c.emb_size_edge),
        DenseLayer("edge embedding: atoms", counts.atoms, 2 * c.emb_size_atom, c.emb_size_edge),
    ]


def _block(c: BackboneConfig, counts: GraphCounts) -> list[DenseLayer]:
    n, e, m, a = counts.atoms, counts.main, c.emb_size_edge, c.emb_size_atom
    layers = [DenseLayer("dense_ca", e, m, m)]
    layers += _to_edges(
        "triplets", c, counts, (e, m), e, (c.emb_size_trip_in, c.emb_size_trip_out), c.emb_size_cbf
    )
    if c.quad_interaction:
        layers += _to_edges(
            "quadruplets", c, counts, (e, m), e, (c.emb_size_quad_in, c.emb_size_quad_out), c.emb_size_sbf
        )
        layers.append(
            DenseLayer(
                "quadruplets: angular", counts.qint * c.num_spherical, c.emb_size_cbf, c.emb_size_quad_in
            )
        )
    layers += _to_edges(
        "atom to edge",
        c,
        counts,
        (n, a),
        counts.a2ee2a,
        (c.emb_size_trip_in, c.emb_size_trip_out),
        c.emb_size_cbf,
    )
    t_in, t_out = c.emb_size_trip_in, c.emb_size_trip_out
    layers += _down("edge to atom", (e, m), e, c.emb_size_rbf, t_in)
    layers += [
        DenseLayer("edge to atom: bilinear", n, c.emb_size_cbf * t_in, t_out),
        DenseLayer("edge to atom: up", n, t_out, a),
    ]
    layers += [
        DenseLayer("atom to atom: down", n, a, c.emb_size_aint_in),
        DenseLayer("atom to atom: bilinear", n, c.emb_size_rbf * c.emb_size_aint_in, c.emb_size_aint_out),
        DenseLayer("atom to atom: up", n, c.emb_size_aint_out, a),
    ]
    layers += _residual("edges before and after skip", e, m, c.num_before_skip + c.num_after_skip)
    layers += _residual("atoms", n, a, c.num_atom_emb_layers)
    layers += _update("atom update", c, counts)
    layers += [DenseLayer("concatenation: edges", e, m, m), DenseLayer("concatenation: atoms", n, 2 * a, m)]
    return layers + _residual("concatenation: residual", e, m, c.num_concat)


def _force_branch(c: BackboneConfig, head: HeadConfig, counts: GraphCounts) -> list[DenseLayer]:
    depths, e, m = c.num_blocks + 1, counts.main, c.emb_size_edge
    per_depth = [DenseLayer("force output: radial", e, c.emb_size_rbf, m)]
    per_depth += _residual("force output: residual", e, m, c.num_output_afteratom)
    layers = per_depth * depths + [DenseLayer("force features", e, depths * m, m)]
    layers += _residual("force features: residual", e, m, c.num_global_out_layers)
    hidden = m if head.hidden == c.emb_size_atom else head.hidden
    widths = [m, *[hidden] * (head.num_layers - 1), 1]
    return layers + [DenseLayer("force head", e, n_in, n_out) for n_in, n_out in zip(widths, widths[1:])]


def _down(name: str, dense: tuple[int, int], rows: int, rbf: int, features: int) -> list[DenseLayer]:
    """Dense on ``dense`` (rows, width), then radial factor and down projection on ``rows``."""
    return [
        DenseLayer(f"{name}: dense", dense[0], dense[1], dense[1]),
        DenseLayer(f"{name}: radial", rows, rbf, dense[1]),
        DenseLayer(f"{name}: down", rows, dense[1], features),
    ]


def _to_edges(
    name: str,
    c: BackboneConfig,
    counts: GraphCounts,
    dense: tuple[int, int],
    rows: int,
    sizes: tuple[int, int],
    basis: int,
) -> list[DenseLayer]:
    return [
        *_down(name, dense, rows, c.emb_size_rbf, sizes[0]),
        DenseLayer(f"{name}: bilinear", counts.main, basis * sizes[0], sizes[1]),
        DenseLayer(f"{name}: up", counts.main, sizes[1], 2 * c.emb_size_edge),
    ]


def _update(name: str, c: BackboneConfig, counts: GraphCounts) -> list[DenseLayer]:
    layers = [DenseLayer(f"{name}: radial", counts.main, c.emb_size_rbf, c.emb_size_edge)]
    if c.emb_size_edge != c.emb_size_atom:
        layers.append(DenseLayer(f"{name}: to atoms", counts.atoms, c.emb_size_edge, c.emb_size_atom))
    return layers + _residual(f"{name}: residual", counts.atoms, c.emb_size_atom, c.num_atom)


def _residual(name: str, rows: int, width: int, count: int) -> list[DenseLayer]:
    return [DenseLayer(name, rows, width, width)] * (2 * count)
