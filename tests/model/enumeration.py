"""A second network, written from gemnet_oc.md with plain sums over enumerated triplets and quadruplets.

It shares only the weights and the four edge lists with the product: index sets (4), bases (5), layers (6),
blocks (7-9) and the energy head (11.1) are spelled out here, for one structure. The dihedral follows the
official floor on |u × v|, the same without that floor, or the two forms of ``smooth`` (docs/smooth.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jmp_calc.graph.build import Graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig
from jmp_calc.model.potential import Potential
from tests.model.enumerated_edges import (
    Side,
    chains_of,
    circular,
    dihedral,
    edge_pairs,
    four_graphs,
    middle_inputs,
)


def enumerated_energy(
    potential: Potential, graph: Graph, positions: Tensor, head: str, *, floor: bool = False
) -> Tensor:
    """Energy (scalar, eV) without references, float64, differentiable in positions (N, 3) and in the
    weights."""
    config = potential.config
    weights: dict[str, Tensor] = {**dict(potential.named_buffers()), **dict(potential.named_parameters())}
    network = Network(
        weights, config.backbone, four_graphs(weights, config.backbone, config.policy, graph, positions)
    )
    values = network.atom_features(torch.from_numpy(graph.numbers), config.policy, floor=floor)
    settings = config.head(head)
    for layer in range(settings.num_layers):
        key = f"heads.{head}.energy.{2 * layer}"
        values = values @ weights[f"{key}.weight"].T + weights.get(f"{key}.bias", 0.0)
        values = values if layer == settings.num_layers - 1 else _silu(values)
    return settings.energy_scale * values.sum()


class Network:
    """Sections 5.4 to 9 on given edges."""

    def __init__(self, weights: Mapping[str, Tensor], config: BackboneConfig, sides: Sequence[Side]) -> None:
        self.weights = weights
        self.config = config
        self.main, self.a2a, self.a2ee2a, self.qint = sides

    def atom_features(self, numbers: Tensor, policy: GraphPolicy, *, floor: bool) -> Tensor:
        """xE (N, A)."""
        main = self.main
        h = self.weights["embedding.weight"][numbers - 1]
        m = self.dense("bases.edge_emb.dense", torch.cat([h[main.source], h[main.target], main.rbf], 1))
        self.prepare(policy, floor=floor)
        features = [self.output_block("out_blocks.0", h, m)]
        for block in range(self.config.num_blocks):
            h, m = self.interaction_block(f"int_blocks.{block}", h, m)
            features.append(self.output_block(f"out_blocks.{block + 1}", h, m))
        x = self.dense("out_mlp_E.out_mlp.0", torch.cat(features, 1))
        return self.residuals("out_mlp_E.out_mlp", x, first=1)

    def prepare(self, policy: GraphPolicy, *, floor: bool) -> None:
        """Index sets (4) and angular functions (5), the same in all blocks."""
        main, qint, degrees = self.main, self.qint, self.config.num_spherical
        self.e2e, self.a2e, self.e2a = (
            edge_pairs(main, main),
            edge_pairs(self.a2ee2a, main),
            edge_pairs(main, self.a2ee2a),
        )
        if not self.config.quad_interaction:
            return
        self.inputs = middle_inputs(main, qint)
        self.out_edge, self.out_middle, self.out_input = chains_of(main, qint, self.inputs)
        axis = qint.unit[self.out_middle]
        c, d = main.unit[self.out_edge], main.unit[self.inputs[1]][self.out_input]
        polar = circular((c * axis).sum(1), degrees)
        torsion = dihedral(torch.linalg.cross(c, axis), torch.linalg.cross(d, axis), degrees, policy, floor)
        self.spherical = (polar[:, :, None] * torsion[:, None, :]).flatten(1)
        interior = (qint.unit[self.inputs[0]] * main.unit[self.inputs[1]]).sum(1)
        self.kappa = torch.einsum(
            "til,tl->ti",
            self.basis(qint, "mlp_cbf_qint", degrees)[self.inputs[0]],
            circular(interior, degrees),
        )

    def interaction_block(self, key: str, h: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        main = self.main
        terms = [self.dense(f"{key}.dense_ca", m), self.triplets(f"{key}.trip_interaction", m)]
        if self.config.quad_interaction:
            terms.append(self.quadruplets(f"{key}.quad_interaction", m))
        terms.append(self.atom_to_edge(f"{key}.atom_edge_interaction", h))
        x = sum(terms, torch.zeros(())) / math.sqrt(len(terms))
        h = (
            h
            + self.edge_to_atom(f"{key}.edge_atom_interaction", h, m)
            + self.atoms(f"{key}.atom_interaction", h)
        )
        h = h / math.sqrt(3)
        m = (m + self.residuals(f"{key}.layers_before_skip", x)) / math.sqrt(2)
        m = self.residuals(f"{key}.layers_after_skip", m)
        h = self.residuals(f"{key}.atom_emb_layers", h)
        h = (h + self.atom_update(f"{key}.atom_update", "mlp_rbf_h", h, m)) / math.sqrt(2)
        m2 = self.dense(f"{key}.concat_layer.dense", torch.cat([h[main.source], h[main.target], m], 1))
        return h, (m + self.residuals(f"{key}.residual_m", m2)) / math.sqrt(2)

    def output_block(self, key: str, h: Tensor, m: Tensor) -> Tensor:
        y = (self.atom_update(key, "mlp_rbf_out", h, m) + h) / math.sqrt(2)
        return self.residuals(f"{key}.seq_energy2", y)

    def atom_update(self, key: str, basis: str, h: Tensor, m: Tensor) -> Tensor:
        """Σ over the main edges of an atom of m ⊙ Lin(ρ), then layers (8.6)."""
        y = _sums(m * self.linear(f"{key}.dense_rbf", self.rho(self.main, basis)), self.main.target, len(h))
        y = self.scale(f"{key}.scale_sum", y)
        first = int(m.shape[1] != h.shape[1])
        y = self.dense(f"{key}.layers.0", y) if first else y
        return self.residuals(f"{key}.layers", y, first=first)

    def triplets(self, key: str, m: Tensor) -> Tensor:
        x = self.down(key, "dense_ba", m, self.rho(self.main, "mlp_rbf_tint"))
        return self.angular_to_edges(key, "mlp_cbf_tint", self.main, self.e2e, x)

    def atom_to_edge(self, key: str, h: Tensor) -> Tensor:
        x = self.down(key, "dense_ba", h, self.rho(self.a2ee2a, "mlp_rbf_aeint"), self.a2ee2a.source)
        return self.angular_to_edges(key, "mlp_cbf_aeint", self.a2ee2a, self.a2e, x)

    def angular_to_edges(self, key: str, basis: str, inputs: Side, pairs: Tensor, x: Tensor) -> Tensor:
        s = self.circular_sums(inputs, self.main, pairs, x)
        total = torch.einsum("eil,elk->eik", self.basis(self.main, basis, self.config.num_spherical), s)
        y = self.scale(f"{key}.scale_cbf_sum", self.linear(f"{key}.mlp_cbf.bilinear", total.flatten(1)))
        return self.both_directions(key, y)

    def edge_to_atom(self, key: str, h: Tensor, m: Tensor) -> Tensor:
        x = self.down(key, "dense_ba", m, self.rho(self.main, "mlp_rbf_eaint"))
        s = self.circular_sums(self.main, self.a2ee2a, self.e2a, x)
        beta = self.basis(self.a2ee2a, "mlp_cbf_eaint", self.config.num_spherical)
        total = _sums(torch.einsum("fil,flk->fik", beta, s), self.a2ee2a.target, len(h))
        y = self.scale(f"{key}.scale_cbf_sum", self.linear(f"{key}.mlp_cbf.bilinear", total.flatten(1)))
        return self.dense(f"{key}.up_projection_ca", y)

    def circular_sums(self, inputs: Side, outputs: Side, pairs: Tensor, x: Tensor) -> Tensor:
        """S[out, l, k] = Σ_in Y_l(cos φ) x[in, k]."""
        into, out = pairs
        values = circular((inputs.unit[into] * outputs.unit[out]).sum(1), self.config.num_spherical)
        return _sums(values[:, :, None] * x[into][:, None, :], out, len(outputs.bonds))

    def atoms(self, key: str, h: Tensor) -> Tensor:
        x = self.dense(f"{key}.down_projection", h)[self.a2a.source]
        rho = self.a2a.rbf @ self.weights["backbone.bases.mlp_rbf_aint.weight"].T
        total = _sums(rho[:, :, None] * x[:, None, :], self.a2a.target, len(h))
        y = self.scale(f"{key}.scale_rbf_sum", self.linear(f"{key}.bilinear", total.flatten(1)))
        return self.dense(f"{key}.up_projection", y)

    def quadruplets(self, key: str, m: Tensor) -> Tensor:
        x = self.down(key, "dense_db", m, self.rho(self.main, "mlp_rbf_qint"))
        z = self.scale(f"{key}.scale_cbf", x[self.inputs[1]] * self.linear(f"{key}.mlp_cbf", self.kappa))
        chains = self.spherical[:, :, None] * z[self.out_input][:, None, :]
        s = _sums(chains, self.out_edge, len(self.main.bonds))
        gamma = self.basis(self.main, "mlp_sbf_qint", self.config.num_spherical**2)
        total = torch.einsum("eip,epk->eik", gamma, s)
        y = self.scale(f"{key}.scale_sbf_sum", self.linear(f"{key}.mlp_sbf.bilinear", total.flatten(1)))
        return self.both_directions(key, y)

    def both_directions(self, key: str, y: Tensor) -> Tensor:
        number = {bond: edge for edge, bond in enumerate(self.main.bonds)}
        swap = [number[t, s, (-n[0], -n[1], -n[2])] for s, t, n in self.main.bonds]
        return (
            self.dense(f"{key}.up_projection_ca", y) + self.dense(f"{key}.up_projection_ac", y)[swap]
        ) / math.sqrt(2)

    def down(self, key: str, dense: str, rows: Tensor, rho: Tensor, gather: Tensor | None = None) -> Tensor:
        x = self.dense(f"{key}.{dense}", rows)
        x = x if gather is None else x[gather]
        x = self.scale(f"{key}.scale_rbf", x * self.linear(f"{key}.mlp_rbf", rho))
        return self.dense(f"{key}.down_projection", x)

    def rho(self, side: Side, basis: str) -> Tensor:
        return self.linear(f"bases.{basis}", side.rbf)

    def basis(self, side: Side, basis: str, angular: int) -> Tensor:
        """(E, size, angular): the buffer of the parameter read as (K, size, angular) (5.4)."""
        weight = self.weights[f"backbone.bases.{basis}.weight"]
        return torch.einsum("ek,kil->eil", side.rbf, weight.reshape(len(weight), -1, angular))

    def linear(self, key: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"backbone.{key}.linear.weight"].T

    def dense(self, key: str, x: Tensor) -> Tensor:
        return _silu(self.linear(key, x))

    def residuals(self, key: str, x: Tensor, first: int = 0) -> Tensor:
        layer = first
        while f"backbone.{key}.{layer}.dense_mlp.0.linear.weight" in self.weights:
            change = self.dense(f"{key}.{layer}.dense_mlp.1", self.dense(f"{key}.{layer}.dense_mlp.0", x))
            x, layer = (x + change) / math.sqrt(2), layer + 1
        return x

    def scale(self, key: str, x: Tensor) -> Tensor:
        factor = float(self.weights[f"backbone.{key}.scale_factor"])
        return x if factor == 0.0 else factor * x


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x) / 0.6


def _sums(rows: Tensor, index: Tensor, count: int) -> Tensor:
    return rows.new_zeros(count, *rows.shape[1:]).index_add(0, index, rows)
