"""Distances, directions and angular functions of a batch, computed once and shared by all blocks.

Everything is a polynomial or a radial function of the edge vectors, which are formed in float64 from
positions and cell and then cast (``docs/equations.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..graph.batch import Batch, Edges
from ..graph.policy import GraphPolicy
from .config import BackboneConfig
from .envelopes import edge_taper, polynomial_envelope, refined_cutoffs, smooth_step
from .harmonics import complex_modes, legendre_values, perpendicular_frame, spherical_harmonics
from .segment import gather_padded

COLLINEAR_SINE = {torch.float32: 1e-4, torch.float64: 1e-7}
"""official: below this sine of an angle the dihedral is undefined and counts as a right angle (section
15.1)."""


@dataclass(frozen=True)
class EdgeGeometry:
    """One graph: length (E,) Å, unit (E, 3) from source to target, weight (E,) the envelope that closes
    it."""

    length: Tensor
    unit: Tensor
    weight: Tensor


@dataclass(frozen=True)
class PairVectors:
    """Vectors (E, 3) from source image to target, Å, of the edges of all graphs in turn, and their ends
    (2 E,): all targets, then all sources. Nothing else of the positions enters the network."""

    vectors: Tensor
    ends: Tensor


@dataclass(frozen=True)
class QuadrupletGeometry:
    """Angular functions of the pairs of middle edges with their input and output edges (section 8.2).

    legendre_in (E_q, D, L): Y_l of the angle between input and middle edge.
    modes_in (E_q, D, 2 M), zero for pads and for d = a.
    angular_out (N, M, D L, 2 D_q): Y_l1(cos φ_cab) times the modes of the output edge.
    angular_triangle (N, D, L M, D_q): the same with the modes of the bond c -> b that closes a triangle.
    """

    legendre_in: Tensor
    modes_in: Tensor
    angular_out: Tensor
    angular_triangle: Tensor
    valid_in: Tensor


@dataclass(frozen=True)
class Geometry:
    """All four graphs of a batch and their angular functions; a2ee2a may be the object main, without
    quadruplets qint is None."""

    main: EdgeGeometry
    a2a: EdgeGeometry
    a2ee2a: EdgeGeometry
    qint: EdgeGeometry | None
    harmonics_main: Tensor
    """(E_main, L²)."""
    harmonics_a2ee2a: Tensor
    """(E_ae, L²)."""
    quadruplets: QuadrupletGeometry | None
    """None for a network without quadruplet interaction."""
    pairs: PairVectors


def edge_vectors(
    graphs: Sequence[Edges], positions: Tensor, cell: Tensor, strain: Tensor | None
) -> PairVectors:
    """Vectors (E, 3) of all graphs in turn, Å, differentiable in positions (N, 3) and strain (S, 3, 3)."""
    ends = torch.cat([*(edges.target for edges in graphs), *(edges.source for edges in graphs)])
    shift = torch.cat([edges.shift for edges in graphs])
    structure = torch.cat([edges.structure for edges in graphs]) if cell.shape[0] > 1 else None
    target, source = positions.index_select(0, ends).chunk(2)
    vectors = target - source - _times_matrix(shift, cell, structure)
    if strain is not None:
        vectors = vectors + _times_matrix(vectors, strain, structure)
    return PairVectors(vectors, ends)


def _times_matrix(rows: Tensor, matrices: Tensor, structure: Tensor | None) -> Tensor:
    """Rows (E, 3) times the (3, 3) matrix of their structure; None: there is one structure."""
    if structure is None:
        return rows @ matrices[0]
    return torch.bmm(rows.unsqueeze(1), matrices.index_select(0, structure)).squeeze(1)


def batch_geometry(
    batch: Batch,
    positions: Tensor,
    strain: Tensor | None,
    config: BackboneConfig,
    policy: GraphPolicy,
    dtype: torch.dtype,
) -> Geometry:
    """Geometry of all graphs for positions (N, 3) float64 and an optional strain (S, 3, 3)."""
    graphs = {"main": batch.main, "a2a": batch.a2a}
    if batch.a2ee2a is not batch.main:
        graphs["a2ee2a"] = batch.a2ee2a
    if config.quad_interaction:
        graphs["qint"] = batch.qint
    sizes = [edges.count for edges in graphs.values()]
    pairs = edge_vectors(list(graphs.values()), positions, batch.cell, strain)
    length = torch.linalg.vector_norm(pairs.vectors, dim=-1)
    unit = (pairs.vectors / length.unsqueeze(-1)).to(dtype)
    weight = _edge_weights(batch, dict(zip(graphs, length.split(sizes))), length, config, policy).to(dtype)
    parts = zip(length.to(dtype).split(sizes), unit.split(sizes), weight.split(sizes))
    made = {name: EdgeGeometry(*part) for name, part in zip(graphs, parts)}
    main, a2ee2a, qint = made["main"], made.get("a2ee2a", made["main"]), made.get("qint")
    harmonics_main = spherical_harmonics(main.unit, config.num_spherical)
    same = a2ee2a is main
    return Geometry(
        main=main,
        a2a=made["a2a"],
        a2ee2a=a2ee2a,
        qint=qint,
        harmonics_main=harmonics_main,
        harmonics_a2ee2a=harmonics_main if same else spherical_harmonics(a2ee2a.unit, config.num_spherical),
        quadruplets=_quadruplets(batch, main.unit, qint.unit, config.num_spherical, policy) if qint else None,
        pairs=pairs,
    )


def _edge_weights(
    batch: Batch, lengths: dict[str, Tensor], length: Tensor, config: BackboneConfig, policy: GraphPolicy
) -> Tensor:
    """Envelopes (E,) of the edges of all graphs in turn.

    lengths: Å, by graph, (E of the graph,) each; length (E,) Å: the same one after the other.
    """
    exponent = config.envelope_exponent
    if policy.name == "official":
        return polynomial_envelope(length / config.radial_cutoff, exponent)
    fixed = {
        "main": policy.cutoff,
        "a2a": policy.a2a_cutoff,
        "a2ee2a": policy.a2ee2a_cutoff,
        "qint": policy.qint_cutoff,
    }
    cutoffs = {
        name: torch.full_like(part, fixed[name], requires_grad=False) for name, part in lengths.items()
    }
    if policy.adaptive:
        if batch.cutoffs is None:
            raise ValueError("a batch for adaptive cutoffs needs graphs that were chosen by them")
        main, a2ee2a, qint = refined_cutoffs(
            batch.cutoffs, lengths["a2a"], batch.a2a.target, batch.structure, policy, batch.n_atoms
        )
        cutoffs["main"] = 0.5 * (main[batch.main.source] + main[batch.main.target])
        cutoffs["a2ee2a"] = a2ee2a[batch.a2ee2a.target]
        if "qint" in lengths:
            cutoffs["qint"] = qint[batch.qint.target]
    cutoff = torch.cat([cutoffs[name] for name in lengths])
    if policy.taper >= 1.0:
        return polynomial_envelope(length / cutoff, exponent)
    return polynomial_envelope(length / config.radial_cutoff, exponent) * edge_taper(
        length, cutoff, policy.taper
    )


def _quadruplets(
    batch: Batch, unit_main: Tensor, unit_qint: Tensor, degrees: int, policy: GraphPolicy
) -> QuadrupletGeometry:
    """Angular functions of all quadruplets d->b->a<-c, without a list of them (section 8.2).

    unit_main (E_main, 3) and unit_qint (E_q, 3). Why it works: the dihedral is a difference of two azimuths
    about the middle edge b->a, so that cos m(ψ_c - ψ_d) is a product of modes of c and of d. The sum over d
    can be taken once per middle edge, and then the sum over b once per output edge c->a.
    Two terms of these full sums are no quadruplets: d = a is left out on the input side; d = c, where the
    four atoms are three and the bond c->b closes a triangle, is subtracted (``angular_triangle``).
    """
    first, second = perpendicular_frame(unit_qint)
    # Input side: for each middle edge q = b -> a all main edges g = d -> b, without d = a.
    slots_in = batch.main.slots.index_select(0, batch.qint.source)  # (E_q, D)
    valid_in = (slots_in != batch.main.count) & (slots_in != batch.mirror_of_qint.unsqueeze(1))
    unit_in = gather_padded(unit_main, slots_in)
    modes_in = _modes(
        unit_in @ first.unsqueeze(-1), unit_in @ second.unsqueeze(-1), degrees, policy, output=False
    )
    modes_in = (modes_in.squeeze(2) * valid_in.unsqueeze(-1)).contiguous()
    # Output side: for each atom a all pairs of main edges c -> a and middle edges b -> a, without c = b.
    pairs = _padded_pairs(batch)
    unit_out = gather_padded(unit_main, batch.main.slots)  # (N, D, 3)
    axis, first, second = (
        gather_padded(rows, batch.qint.slots).transpose(1, 2) for rows in (unit_qint, first, second)
    )
    modes_out = _modes(unit_out @ first, unit_out @ second, degrees, policy, output=True)  # (N, D, D_q, 2 M)
    legendre_out = legendre_values(unit_out @ axis, degrees) * pairs.unsqueeze(-1)  # (N, D, D_q, L)
    n, d, d_q, _ = legendre_out.shape
    count = modes_out.shape[-1] // 2
    closing = gather_padded(modes_in.flatten(0, 1), batch.triangle)  # (N, D, D_q, 2 M)
    triangle = (modes_out * closing).view(n, d, d_q, count, 2).sum(-1)
    angular = legendre_out.unsqueeze(3).unsqueeze(-1) * modes_out.view(n, d, d_q, count, 1, 2)
    return QuadrupletGeometry(
        legendre_in=legendre_values((unit_in @ unit_qint.unsqueeze(-1)).squeeze(-1), degrees),
        modes_in=modes_in,
        angular_out=angular.permute(0, 3, 1, 4, 2, 5).reshape(n, count, d * degrees, d_q * 2),
        angular_triangle=(legendre_out.unsqueeze(-1) * triangle.unsqueeze(-2))
        .permute(0, 1, 3, 4, 2)
        .reshape(n, d, degrees * count, d_q),
        valid_in=valid_in,
    )


def _padded_pairs(batch: Batch) -> Tensor:
    """(N, D, D_q): whether a slot pair is a main edge and another bond's middle edge."""
    main, qint = batch.main.slots, batch.qint.slots
    same = gather_padded(batch.qint_of_main + 1, main).unsqueeze(2) == (qint + 1).unsqueeze(1)
    return (main != batch.main.count).unsqueeze(2) & (qint != batch.qint.count).unsqueeze(1) & ~same


def _modes(x: Tensor, y: Tensor, degrees: int, policy: GraphPolicy, *, output: bool) -> Tensor:
    """Fourier modes (..., 2 M) of the azimuth about the middle edge, as (real, imaginary) pairs.

    x, y: components of an edge's unit vector perpendicular to the middle edge; √(x² + y²) is the sine s of
    the angle.
    smooth: s^m e^{imψ}, a polynomial. official: e^{imψ} (tapered below ``collinear_width``), and one more
        pair for
    the share that counts as a right angle: 1 - w_c w_d = w_c (1 - w_d) + (1 - w_c) 1 for weights w of both
    sides.
    """
    if policy.name == "smooth" and policy.collinear_width == 0.0:
        return _as_pairs(complex_modes(x, y, degrees))
    square = x * x + y * y
    if policy.name == "official":
        weight = (square > COLLINEAR_SINE[x.dtype] ** 2).to(x.dtype)
    else:
        weight = smooth_step(_safe_sqrt(square) / policy.collinear_width)
    safe = torch.where(square > 1e-16, square, torch.ones_like(square))
    inverse = torch.where(square > 1e-16, torch.rsqrt(safe), torch.zeros_like(square))
    modes = _as_pairs(complex_modes(x * inverse, y * inverse, degrees)) * weight.unsqueeze(-1)
    right_angle = [weight, 1.0 - weight] if output else [1.0 - weight, torch.ones_like(weight)]
    return torch.cat([modes, torch.stack(right_angle, dim=-1)], dim=-1)


def _as_pairs(modes: Tensor) -> Tensor:
    """Modes (..., 2 L - 1) as pairs (N, 2 L) or (..., 2 L): mode 0 gets an imaginary part of zero."""
    return torch.cat([modes[..., :1], torch.zeros_like(modes[..., :1]), modes[..., 1:]], dim=-1)


def _safe_sqrt(square: Tensor) -> Tensor:
    """√ of any shape (N, ...), with derivative 0 at 0, where the step that uses it is flat to fourth
    order."""
    positive = square > 1e-16
    return torch.where(positive, torch.sqrt(torch.where(positive, square, torch.ones_like(square))), 0.0)
