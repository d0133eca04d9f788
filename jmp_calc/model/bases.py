"""Radial basis and the down-projected bases shared by all blocks (``gemnet_oc.md`` sections 5.1 and 5.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..graph.batch import Batch
from .config import BackboneConfig, GraphPolicy
from .geometry import EdgeGeometry, Geometry, QuadrupletGeometry
from .harmonics import constant, fourier_matrix, legendre_matrix, right_angle_values
from .layers import EdgeEmbedding
from .segment import gather_padded

MIN_EXPONENT = -80.0
"""Gaussian tails below exp(-80) are denormal in float32 and many times slower; they are held there."""


class RadialBasis(nn.Module):
    """rbf_k(d) = w(d) exp(-|τ_k| (d/R - o_k)²), w the envelope of the graph (eq. 5.1)."""

    offset: Tensor
    temps: Tensor

    def __init__(self, num_radial: int, radial_cutoff: float) -> None:
        super().__init__()
        self.radial_cutoff = radial_cutoff
        self.register_buffer("offset", torch.linspace(0, 1, num_radial))
        self.register_buffer("temps", torch.full((num_radial,), 0.5 * (num_radial - 1) ** 2))

    def forward(self, edges: EdgeGeometry) -> Tensor:
        distance = (edges.length / self.radial_cutoff).unsqueeze(-1) - self.offset
        exponent = torch.clamp(-self.temps.abs() * distance**2, min=MIN_EXPONENT)
        return edges.weight.unsqueeze(-1) * torch.exp(exponent)


class LinearBasis(nn.Module):
    """A projection (R, K) of the radial basis, stored under ``linear`` as in the published files."""

    def __init__(self, num_radial: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_radial, size, bias=False)


class AngularBasis(nn.Module):
    """A projection to (size, angular) per edge: a parameter (K, L, C) whose buffer is read as (K, C, L) (5.4)."""

    def __init__(self, num_radial: int, num_angular: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_radial, num_angular, size))

    def matrix(self) -> Tensor:
        """Ŵ (K, C, L)."""
        k, angular, size = self.weight.shape
        return self.weight.reshape(k, size, angular)


@dataclass(frozen=True)
class QuadrupletBasis:
    """Bases and angular functions of the quadruplet interaction.

    rho (E_main, R); beta (E_q, C, L); gamma (E_main, S, L M): γ_q with the Fourier coefficients of Y_l(cos ϑ) folded in.
    """

    rho: Tensor
    beta: Tensor
    gamma: Tensor
    geometry: QuadrupletGeometry


@dataclass(frozen=True)
class BasisValues:
    """Projected bases of a batch, named as in section 5.4; L angular degrees, M Fourier modes.

    angular_main (N, D, L, L²): per main slot the harmonics of degree l in row l, with the factor of the addition
    theorem. edge_to_atom (N, C, L²) and edge_to_atom_self (E_ae, C): β_ea summed over the edges of an atom.
    """

    rho_tint: Tensor
    rho_ae: Tensor
    rho_ea: Tensor
    rho_aa: Tensor
    rho_h: Tensor
    rho_out: Tensor
    beta_tint: Tensor
    beta_ae: Tensor
    angular_main: Tensor
    self_values: Tensor
    edge_to_atom: Tensor
    edge_to_atom_self: Tensor
    harmonics_main: Tensor
    harmonics_a2ee2a: Tensor
    quadruplets: QuadrupletBasis | None


class Bases(nn.Module):
    """All basis projections and the edge embedding; evaluated once per call."""

    def __init__(self, config: BackboneConfig, policy: GraphPolicy) -> None:
        super().__init__()
        self.degrees = config.num_spherical
        self.right_angle_mode = policy.name == "official" or policy.collinear_width > 0.0
        k, rbf, cbf, sbf = config.num_radial, config.emb_size_rbf, config.emb_size_cbf, config.emb_size_sbf
        self.rbf = RadialBasis(k, config.radial_cutoff)
        self.quad_interaction = config.quad_interaction
        if config.quad_interaction:
            self.mlp_rbf_qint = LinearBasis(k, rbf)
            self.mlp_cbf_qint = AngularBasis(k, self.degrees, cbf)
            self.mlp_sbf_qint = AngularBasis(k, self.degrees**2, sbf)
        self.mlp_rbf_aeint = LinearBasis(k, rbf)
        self.mlp_cbf_aeint = AngularBasis(k, self.degrees, cbf)
        self.mlp_rbf_eaint = LinearBasis(k, rbf)
        self.mlp_cbf_eaint = AngularBasis(k, self.degrees, cbf)
        self.mlp_rbf_aint = nn.Linear(k, rbf, bias=False)
        self.mlp_rbf_tint = LinearBasis(k, rbf)
        self.mlp_cbf_tint = AngularBasis(k, self.degrees, cbf)
        self.mlp_rbf_h = LinearBasis(k, rbf)
        self.mlp_rbf_out = LinearBasis(k, rbf)
        self.edge_emb = EdgeEmbedding(config.emb_size_atom, k, config.emb_size_edge)

    def forward(self, batch: Batch, geometry: Geometry, h: Tensor) -> tuple[BasisValues, Tensor]:
        """Projected bases, and the edge embedding m₀ (E_main, M) of atom features h (N, A)."""
        rbf_main, rbf_ae = self.rbf(geometry.main), self.rbf(geometry.a2ee2a)
        weights = [module.linear.weight for module in self._main_projections()]
        rho_tint, rho_ea, rho_h, rho_out, *rho_qint = (rbf_main @ torch.cat(weights).T).split(weights[0].shape[0], dim=1)
        beta_ea = self._project(rbf_ae, self.mlp_cbf_eaint.matrix())
        degree_of = torch.repeat_interleave(
            torch.arange(self.degrees), 2 * torch.arange(self.degrees) + 1
        ).to(rbf_main.device)
        theorem = torch.sqrt(4.0 * math.pi / (2.0 * degree_of.to(rbf_main.dtype) + 1.0))
        rows = (torch.arange(self.degrees, device=degree_of.device).unsqueeze(1) == degree_of) * theorem  # (L, L²)
        self_values = constant(legendre_matrix(self.degrees).sum(0), rbf_main)
        slots_ae = batch.a2ee2a.slots
        values = BasisValues(
            rho_tint=rho_tint,
            rho_ae=self.mlp_rbf_aeint.linear(rbf_ae),
            rho_ea=rho_ea,
            rho_aa=self.mlp_rbf_aint(self.rbf(geometry.a2a)),
            rho_h=rho_h,
            rho_out=rho_out,
            beta_tint=self._project(rbf_main, self.mlp_cbf_tint.matrix()),
            beta_ae=self._project(rbf_main, self.mlp_cbf_aeint.matrix()),
            angular_main=gather_padded(geometry.harmonics_main, batch.main.slots).unsqueeze(2) * rows,
            self_values=self_values,
            edge_to_atom=_per_atom(beta_ea, geometry.harmonics_a2ee2a, rows, slots_ae),
            edge_to_atom_self=beta_ea @ self_values,
            harmonics_main=geometry.harmonics_main,
            harmonics_a2ee2a=geometry.harmonics_a2ee2a,
            quadruplets=self._quadruplets(geometry, rbf_main, *rho_qint),
        )
        return values, self.edge_emb(h, rbf_main, batch.main.source, batch.main.target)

    def uses_per_block(self) -> list[Tensor]:
        """Projections that every interaction block uses (section 12: gradients are divided by the uses)."""
        linear = [module for module in self._main_projections() if module is not self.mlp_rbf_out]
        angular = [self.mlp_cbf_tint, self.mlp_cbf_aeint, self.mlp_cbf_eaint]
        if self.quad_interaction:
            angular += [self.mlp_cbf_qint, self.mlp_sbf_qint]
        return [
            *(module.linear.weight for module in linear),
            self.mlp_rbf_aeint.linear.weight,
            self.mlp_rbf_aint.weight,
            *(module.weight for module in angular),
        ]

    def _main_projections(self) -> list[LinearBasis]:
        always = [self.mlp_rbf_tint, self.mlp_rbf_eaint, self.mlp_rbf_h, self.mlp_rbf_out]
        return [*always, self.mlp_rbf_qint] if self.quad_interaction else always

    def _quadruplets(self, geometry: Geometry, rbf_main: Tensor, *rho: Tensor) -> QuadrupletBasis | None:
        if geometry.quadruplets is None:
            return None
        return QuadrupletBasis(
            rho=rho[0],
            beta=self._project(self.rbf(geometry.qint), self.mlp_cbf_qint.matrix()),
            gamma=self._project(rbf_main, self._fourier_weight()),
            geometry=geometry.quadruplets,
        )

    @staticmethod
    def _project(rbf: Tensor, matrix: Tensor) -> Tensor:
        return (rbf @ matrix.flatten(1)).view(rbf.shape[0], *matrix.shape[1:])

    def _fourier_weight(self) -> Tensor:
        """Ŵ of γ_q (K, S, L M) acting on (l₁, mode) instead of (l₁, l₂)."""
        matrix = self.mlp_sbf_qint.matrix()
        alpha = constant(fourier_matrix(self.degrees), matrix)
        if self.right_angle_mode:
            alpha = torch.cat([alpha, constant(right_angle_values(self.degrees), matrix).unsqueeze(1)], dim=1)
        k, size, _ = matrix.shape
        return (matrix.view(k, size, self.degrees, self.degrees) @ alpha).flatten(2)


def _per_atom(beta: Tensor, harmonics: Tensor, rows: Tensor, slots: Tensor) -> Tensor:
    """Σ over the edges f of an atom of β[f, i, l] c_l Y_lm(f); shape (N, C, L²)."""
    folded = (beta @ rows) * harmonics.unsqueeze(1)  # (E, C, L²)
    return gather_padded(folded, slots).sum(1)
