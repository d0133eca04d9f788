"""Edges, radial and angular functions of the second network (tests/model/enumeration.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from numpy.polynomial import chebyshev, legendre
from torch import Tensor

from jmp_calc.graph.build import Graph
from jmp_calc.graph.neighbours import EdgeList
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig

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


def _index(rows: list[tuple[int, ...]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.long).reshape(-1, width).T


def edge_pairs(inputs: Side, outputs: Side) -> Tensor:
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


def middle_inputs(main: Side, qint: Side) -> Tensor:
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


def chains_of(main: Side, qint: Side, inputs: Tensor) -> Tensor:
    """(3, n): output edge c -> a, middle edge b -> a, number of the input pair; b, c and d distinct atoms
    (4.3)."""
    of_middle: dict[int, list[int]] = {q: [] for q in range(len(qint.bonds))}
    for number, q in enumerate(inputs[0].tolist()):
        of_middle[q].append(number)
    rows: list[tuple[int, ...]] = []
    edges = inputs[1].tolist()
    for q, e in edge_pairs(qint, main).T.tolist():
        c, _, n_e = main.bonds[e]
        for number in of_middle[q]:
            d, _, n_g = main.bonds[edges[number]]
            if not (d == c and _plus(n_g, qint.bonds[q][2]) == n_e):
                rows.append((e, q, number))
    return _index(rows, 3)


def _plus(first: Image, second: Image) -> Image:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def circular(cosine: Tensor, degrees: int) -> Tensor:
    """Y_l(z) = √((2l+1)/4π) P_l(z) by the recursion of Legendre polynomials (5.2)."""
    values = [torch.ones_like(cosine), cosine]
    for degree in range(2, degrees):
        values.append(((2 * degree - 1) * cosine * values[-1] - (degree - 1) * values[-2]) / degree)
    norms = [math.sqrt((2 * degree + 1) / (4 * math.pi)) for degree in range(degrees)]
    return torch.stack([norm * value for norm, value in zip(norms, values)], 1)


def dihedral(u: Tensor, v: Tensor, degrees: int, policy: GraphPolicy, floor: bool) -> Tensor:
    """Y_l(cos ϑ) of every chain (n, L), or what ``smooth`` puts in its place."""
    product, squares = (u * v).sum(1), u.square().sum(1) * v.square().sum(1)
    if policy.name == "smooth" and policy.collinear_width == 0.0:
        return _weighted_modes(product, squares, degrees)
    if floor:
        cross = torch.linalg.cross(u, v).square().sum(1)
        above = cross > FLOOR**2
        height = torch.where(above, torch.where(above, cross, 1.0).sqrt(), FLOOR)
        return circular(product / (product.square() + height.square()).sqrt(), degrees)
    sine_u, sine_v = (torch.where(w > COLLINEAR**2, w, 0.0) for w in (u.square().sum(1), v.square().sum(1)))
    defined = (sine_u > 0) & (sine_v > 0)
    cosine = torch.where(defined, product / torch.where(defined, squares, 1.0).sqrt(), 0.0)
    if policy.name == "official":
        return circular(cosine, degrees)
    weight = torch.ones_like(cosine)
    for square in (sine_u, sine_v):
        sine = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
        weight = weight * _step(sine / policy.collinear_width)
    weight = weight[:, None]
    return weight * circular(cosine, degrees) + (1 - weight) * circular(torch.zeros_like(cosine), degrees)


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


def four_graphs(
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
