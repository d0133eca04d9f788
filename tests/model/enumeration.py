"""A second network, written from gemnet_oc.md with plain sums over enumerated triplets and quadruplets.

It shares only the weights and the four edge lists with the product: index sets (4), bases (5), layers (6),
blocks (7-9) and the energy head (11.1) are spelled out here, for one structure. The dihedral follows the
official floor on |u × v|, the same without that floor, or the two forms of ``smooth`` (docs/smooth.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.polynomial import chebyshev, legendre
from torch import Tensor

from jmp_calc.graph.build import Graph
from jmp_calc.graph.neighbours import EdgeList
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig
from jmp_calc.model.potential import Potential

Image = tuple[int, int, int]
Bond = tuple[int, int, Image]
"""Source, target, image vector of the source."""
FLOOR = 1e-9
"""Of |u × v| in the published code (5.3)."""
COLLINEAR = 1e-7
"""Without the floor: below this |u| or |v| the dihedral is a right angle (15.1, float64)."""


@dataclass(frozen=True)
class Side:
    """One graph: its bonds, their unit vectors (E, 3) from source to target, and their radial basis (E,
    K)."""

    bonds: list[Bond]
    source: Tensor
    target: Tensor
    unit: Tensor
    rbf: Tensor


def enumerated_energy(
    potential: Potential, graph: Graph, positions: Tensor, head: str, *, floor: bool = False
) -> Tensor:
    """Energy (scalar, eV) without references, float64, differentiable in positions (N, 3) and in the
    weights."""
    config = potential.config
    weights: dict[str, Tensor] = {**dict(potential.named_buffers()), **dict(potential.named_parameters())}
    network = Network(
        weights, config.backbone, _sides(weights, config.backbone, config.policy, graph, positions)
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
            _pairs(main, main),
            _pairs(self.a2ee2a, main),
            _pairs(main, self.a2ee2a),
        )
        if not self.config.quad_interaction:
            return
        self.inputs = _inputs(main, qint)
        self.out_edge, self.out_middle, self.out_input = _chains(main, qint, self.inputs)
        axis = qint.unit[self.out_middle]
        c, d = main.unit[self.out_edge], main.unit[self.inputs[1]][self.out_input]
        polar = _circular((c * axis).sum(1), degrees)
        dihedral = _dihedral(torch.linalg.cross(c, axis), torch.linalg.cross(d, axis), degrees, policy, floor)
        self.spherical = (polar[:, :, None] * dihedral[:, None, :]).flatten(1)
        interior = (qint.unit[self.inputs[0]] * main.unit[self.inputs[1]]).sum(1)
        self.kappa = torch.einsum(
            "til,tl->ti",
            self.basis(qint, "mlp_cbf_qint", degrees)[self.inputs[0]],
            _circular(interior, degrees),
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
        values = _circular((inputs.unit[into] * outputs.unit[out]).sum(1), self.config.num_spherical)
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


def _index(rows: list[tuple[int, ...]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.long).reshape(-1, width).T


def _pairs(inputs: Side, outputs: Side) -> Tensor:
    """(2, n): input and output edges with the same target that are not the same bond (4.1, 4.2)."""
    return _index(
        [
            (i, o)
            for o, out in enumerate(outputs.bonds)
            for i, into in enumerate(inputs.bonds)
            if into[1] == out[1] and into != out
        ],
        2,
    )


def _inputs(main: Side, qint: Side) -> Tensor:
    """(2, n): middle edge b -> a and main edge d -> b, d not the very atom a (4.2)."""
    return _index(
        [
            (q, g)
            for q, (b, a, n_q) in enumerate(qint.bonds)
            for g, (d, end, n_g) in enumerate(main.bonds)
            if end == b and not (d == a and _plus(n_g, n_q) == (0, 0, 0))
        ],
        2,
    )


def _chains(main: Side, qint: Side, inputs: Tensor) -> Tensor:
    """(3, n): output edge c -> a, middle edge b -> a, number of the input pair; b, c and d distinct atoms
    (4.3)."""
    of_middle: dict[int, list[int]] = {q: [] for q in range(len(qint.bonds))}
    for number, q in enumerate(inputs[0].tolist()):
        of_middle[q].append(number)
    rows: list[tuple[int, ...]] = []
    edges = inputs[1].tolist()
    for q, e in _pairs(qint, main).T.tolist():
        c, _, n_e = main.bonds[e]
        for number in of_middle[q]:
            d, _, n_g = main.bonds[edges[number]]
            if not (d == c and _plus(n_g, qint.bonds[q][2]) == n_e):
                rows.append((e, q, number))
    return _index(rows, 3)


def _plus(first: Image, second: Image) -> Image:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _circular(cosine: Tensor, degrees: int) -> Tensor:
    """Y_l(z) = √((2l+1)/4π) P_l(z) by the recursion of Legendre polynomials (5.2)."""
    values = [torch.ones_like(cosine), cosine]
    for degree in range(2, degrees):
        values.append(((2 * degree - 1) * cosine * values[-1] - (degree - 1) * values[-2]) / degree)
    norms = [math.sqrt((2 * degree + 1) / (4 * math.pi)) for degree in range(degrees)]
    return torch.stack([norm * value for norm, value in zip(norms, values)], 1)


def _dihedral(u: Tensor, v: Tensor, degrees: int, policy: GraphPolicy, floor: bool) -> Tensor:
    """Y_l(cos ϑ) of every chain (n, L), or what ``smooth`` puts in its place."""
    product, squares = (u * v).sum(1), u.square().sum(1) * v.square().sum(1)
    if policy.name == "smooth" and policy.collinear_width == 0.0:
        return _weighted_modes(product, squares, degrees)
    if floor:
        cross = torch.linalg.cross(u, v).square().sum(1)
        above = cross > FLOOR**2
        height = torch.where(above, torch.where(above, cross, 1.0).sqrt(), FLOOR)
        return _circular(product / (product.square() + height.square()).sqrt(), degrees)
    sine_u, sine_v = (torch.where(w > COLLINEAR**2, w, 0.0) for w in (u.square().sum(1), v.square().sum(1)))
    defined = (sine_u > 0) & (sine_v > 0)
    cosine = torch.where(defined, product / torch.where(defined, squares, 1.0).sqrt(), 0.0)
    if policy.name == "official":
        return _circular(cosine, degrees)
    weight = torch.ones_like(cosine)
    for square in (sine_u, sine_v):
        sine = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
        weight = weight * _step(sine / policy.collinear_width)
    weight = weight[:, None]
    return weight * _circular(cosine, degrees) + (1 - weight) * _circular(torch.zeros_like(cosine), degrees)


def _weighted_modes(product: Tensor, squares: Tensor, degrees: int) -> Tensor:
    """Σ_m α_lm (|u||v|)^m cos mϑ, with Y_l(cos ϑ) = Σ_m α_lm cos mϑ; polynomials by Chebyshev's recursion."""
    modes = [torch.ones_like(product), product]
    for _ in range(2, degrees):
        modes.append(2 * product * modes[-1] - squares * modes[-2])
    values = []
    for degree in range(degrees):
        polynomial = legendre.leg2poly([0.0] * degree + [1.0])
        terms = [float(alpha) * mode for alpha, mode in zip(chebyshev.poly2cheb(polynomial), modes)]
        values.append(math.sqrt((2 * degree + 1) / (4 * math.pi)) * sum(terms, torch.zeros(())))
    return torch.stack(values, 1)


def _step(s: Tensor) -> Tensor:
    """∫ of (s (1 - s))³ from 0 to s, divided by the whole: 0 at 0, 1 at 1, with three vanishing
    derivatives."""
    s = torch.clamp(s, 0, 1)
    return 140 * (s**4 / 4 - 3 * s**5 / 5 + s**6 / 2 - s**7 / 7)


def _sides(
    weights: Mapping[str, Tensor],
    config: BackboneConfig,
    policy: GraphPolicy,
    graph: Graph,
    positions: Tensor,
) -> list[Side]:
    """The four graphs with the radial basis (5.1), closed by the envelopes of the policy."""
    lists = (graph.main, graph.a2a, graph.a2ee2a, graph.qint)
    differences = [_differences(edges, positions, torch.from_numpy(graph.cell)) for edges in lists]
    lengths = [difference.square().sum(1).sqrt() for difference in differences]
    offset, temps = weights["backbone.bases.rbf.offset"], weights["backbone.bases.rbf.temps"]
    sides = []
    for edges, difference, length, reach in zip(
        lists, differences, lengths, _reaches(policy, graph, lengths[1])
    ):
        gaussians = torch.exp(-temps.abs() * (length[:, None] / config.radial_cutoff - offset) ** 2)
        envelope = _envelope(config, policy, length, reach)
        image = [(int(n[0]), int(n[1]), int(n[2])) for n in edges.shift]
        bonds = list(zip(edges.source.tolist(), edges.target.tolist(), image))
        source, target = torch.from_numpy(edges.source), torch.from_numpy(edges.target)
        sides.append(
            Side(bonds, source, target, -difference / length[:, None], envelope[:, None] * gaussians)
        )
    return sides


def _differences(edges: EdgeList, positions: Tensor, cell: Tensor) -> Tensor:
    return (
        positions[edges.source] + torch.from_numpy(edges.shift).to(positions) @ cell - positions[edges.target]
    )


def _envelope(config: BackboneConfig, policy: GraphPolicy, length: Tensor, reach: Tensor) -> Tensor:
    if policy.name == "official":
        return _polynomial(length / config.radial_cutoff, config.envelope_exponent)
    if policy.taper >= 1:
        return _polynomial(length / reach, config.envelope_exponent)
    radial = _polynomial(length / config.radial_cutoff, config.envelope_exponent)
    return radial * _step((1 - length / reach) / policy.taper)


def _polynomial(x: Tensor, p: int) -> Tensor:
    a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
    return torch.where(x < 1, 1 + a * x**p + b * x ** (p + 1) + c * x ** (p + 2), torch.zeros_like(x))


def _reaches(policy: GraphPolicy, graph: Graph, a2a_length: Tensor) -> list[Tensor]:
    """Cutoffs of the edges of the four graphs: one per graph, or from the adaptive cutoffs of their atoms."""
    fixed = (policy.cutoff, policy.a2a_cutoff, policy.a2ee2a_cutoff, policy.qint_cutoff)
    reaches = [a2a_length.new_tensor(cutoff) for cutoff in fixed]
    if policy.adaptive:
        n = policy.max_neighbors
        main, a2ee2a, qint = (
            _adaptive(policy, graph, a2a_length, wanted) for wanted in (n, n * 2 / 3, n * 4 / 15)
        )
        reaches[0] = (main[graph.main.source] + main[graph.main.target]) / 2
        reaches[2], reaches[3] = a2ee2a[graph.a2ee2a.target], qint[graph.qint.target]
    return reaches


def _adaptive(policy: GraphPolicy, graph: Graph, length: Tensor, wanted: float) -> Tensor:
    """The root r (N,) of n (r/R)⁸ + Σ_j t(d_j / r) = n, atom by atom: bisection, then its implicit
    derivative."""
    target = torch.from_numpy(graph.a2a.target)
    roots = []
    for atom in range(graph.n_atoms):
        own = length[target == atom]
        low, high = 0.0, policy.cutoff
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _excess(own.detach(), middle, wanted, policy) < 0 else (low, middle)
        root = length.new_tensor(high, requires_grad=True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(_excess(own.detach(), root, wanted, policy), root)
        roots.append(high - _excess(own, high, wanted, policy) / slope)
    return torch.stack(roots)


def _excess(own: Tensor, radius: Tensor | float, wanted: float, policy: GraphPolicy) -> Tensor:
    return _step((1 - own / radius) / 0.3).sum() + wanted * (radius / policy.cutoff) ** 8 - wanted
