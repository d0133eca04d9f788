"""Radial basis and the down-projected bases shared by all blocks (``gemnet_oc.md`` sections 5.1 and 5.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.batch import Batch
from ..graph.policy import GraphPolicy
from .config import BackboneConfig
from .geometry import EdgeGeometry, Geometry, QuadrupletGeometry
from .harmonics import constant, fourier_matrix, legendre_matrix, right_angle_values
from .layers import EdgeEmbedding, Linear, Prepared, Scaled
from .segment import to_slots

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
        """Values (E, K) of the K radial functions on the edges of one graph."""
        distance = (edges.length / self.radial_cutoff).unsqueeze(-1) - self.offset
        exponent = torch.clamp(-self.temps.abs() * distance**2, min=MIN_EXPONENT)
        return edges.weight.unsqueeze(-1) * torch.exp(exponent)


class LinearBasis(nn.Module):
    """A projection (R, K) of the radial basis, stored under ``linear`` as in the published files."""

    def __init__(self, num_radial: int, size: int) -> None:
        super().__init__()
        self.linear = Linear(num_radial, size)


class AngularBasis(nn.Module):
    """A projection to (size, angular) per edge: a parameter (K, L, C) whose buffer is read as (K, C, L)
    (5.4)."""

    def __init__(self, num_radial: int, num_angular: int, size: int) -> None:
        super().__init__()
        self.weight: nn.Parameter
        self.register_parameter("weight", nn.Parameter(torch.empty(num_radial, num_angular, size)))
        self.shape = (size, num_angular)

    def matrix(self) -> Tensor:
        """Ŵ (K, C, L)."""
        return self.weight.reshape(self.weight.shape[0], *self.shape)


Fold = tuple[Callable[[int], np.ndarray], int]
"""A constant matrix as the function that makes it and its argument, the number of degrees."""


class BasisStack(Prepared):
    """All projections of one graph's radial basis as one matrix product. They belong to other modules."""

    def __init__(
        self, parts: Sequence[LinearBasis | Linear | AngularBasis], fold: dict[int, Fold] | None = None
    ) -> None:
        """``fold``: by the number of an angular part, a matrix that its angular index is multiplied with."""
        super().__init__()
        self.parts = tuple(part.linear if isinstance(part, LinearBasis) else part for part in parts)
        self.fold = fold or {}
        self.shapes = [self._shape(number) for number in range(len(self.parts))]

    def forward(self, rbf: Tensor) -> list[Tensor]:
        """One (E, size) or (E, C, L) per projection."""
        (weight,) = self.prepared(self._combined, *self.parts)
        columns = (rbf @ weight).split([math.prod(shape) for shape in self.shapes], dim=1)
        return [
            part.unflatten(1, shape) if len(shape) > 1 else part for part, shape in zip(columns, self.shapes)
        ]

    def _combined(self) -> tuple[Tensor]:
        """All projections side by side, (K, sum of their columns)."""
        return (torch.cat([self._matrix(number) for number in range(len(self.parts))], dim=1),)

    def _matrix(self, number: int) -> Tensor:
        """(K, columns) of one projection; for angular ones with ``fold`` applied to the angular index."""
        part = self.parts[number]
        if isinstance(part, Linear):
            return part.weight.T
        matrix = part.matrix()
        if number in self.fold:
            matrix = matrix @ constant(*self.fold[number], matrix)
        return matrix.flatten(1)

    def _shape(self, number: int) -> tuple[int, ...]:
        part = self.parts[number]
        if isinstance(part, Linear):
            return (part.n_out,)
        size, angular = part.shape
        if number in self.fold:
            make, degrees = self.fold[number]
            angular = make(degrees).shape[1]
        return (size, angular)


@dataclass(frozen=True)
class QuadrupletBasis:
    """Bases and angular functions of the quadruplet interaction.

    rho (E_main, R); beta (E_q, C, L); gamma (E_main, B, L M): γ_q with the Fourier coefficients of Y_l(cos ϑ)
    folded in.
    """

    rho: Tensor
    beta: Tensor
    gamma: Tensor
    geometry: QuadrupletGeometry


@dataclass(frozen=True)
class BasisValues:
    """Projected bases of a batch, named as in section 5.4; L angular degrees, M Fourier modes.

    rho_aa (N, D_aa, R), harmonics_main (N, D, L²) and harmonics_a2ee2a (N, D_ae, L²) stand at the slots of
    their edges. angular_main (N, D, L, L²): per main slot the harmonics of degree l in row l, with the factor
    of the addition theorem. edge_to_atom (N, C, L²) and edge_to_atom_self (N, D_ae, C): β_ea summed over the
    edges of an atom.
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
        self.mlp_rbf_aint = Linear(k, rbf)
        self.mlp_rbf_tint = LinearBasis(k, rbf)
        self.mlp_cbf_tint = AngularBasis(k, self.degrees, cbf)
        self.mlp_rbf_h = LinearBasis(k, rbf)
        self.mlp_rbf_out = LinearBasis(k, rbf)
        self.edge_emb = EdgeEmbedding(config.emb_size_atom, k, config.emb_size_edge)

        main: list[LinearBasis | AngularBasis] = [
            self.mlp_rbf_tint,
            self.mlp_rbf_eaint,
            self.mlp_rbf_h,
            self.mlp_rbf_out,
            self.mlp_cbf_tint,
            self.mlp_cbf_aeint,
        ]
        fold: dict[int, Fold] = {}
        if config.quad_interaction:
            main += [self.mlp_rbf_qint, self.mlp_sbf_qint]
            fold[len(main) - 1] = (_fourier_fold_for(policy), self.degrees)
            self.of_qint = BasisStack([self.mlp_cbf_qint])
        self.of_main = BasisStack(main, fold)
        self.of_a2ee2a = BasisStack([self.mlp_rbf_aeint, self.mlp_cbf_eaint])
        self.of_a2a = BasisStack([self.mlp_rbf_aint])

    def forward(self, batch: Batch, geometry: Geometry, h: Scaled) -> tuple[BasisValues, Scaled]:
        """Projected bases, and the edge embedding m₀ (E_main, M) of atom features h (N, A)."""
        rbf_main = self.rbf(geometry.main)
        rho_tint, rho_ea, rho_h, rho_out, beta_tint, beta_ae, *of_quadruplets = self.of_main(rbf_main)
        same = geometry.a2ee2a is geometry.main
        rho_ae, beta_ea = self.of_a2ee2a(rbf_main if same else self.rbf(geometry.a2ee2a))
        (rho_aa,) = self.of_a2a(self.rbf(geometry.a2a))
        rows = constant(_degree_rows, self.degrees, rbf_main)
        self_values = constant(_values_at_zero_angle, self.degrees, rbf_main)
        harmonics_main = to_slots(geometry.harmonics_main, batch.main)
        per_edge = (beta_ea @ rows) * geometry.harmonics_a2ee2a.unsqueeze(1)  # (E_ae, C, L²)
        values = BasisValues(
            rho_tint=rho_tint,
            rho_ae=rho_ae,
            rho_ea=rho_ea,
            rho_aa=to_slots(rho_aa, batch.a2a),
            rho_h=rho_h,
            rho_out=rho_out,
            beta_tint=beta_tint,
            beta_ae=beta_ae,
            angular_main=harmonics_main.unsqueeze(2) * rows,
            self_values=self_values,
            edge_to_atom=to_slots(per_edge, batch.a2ee2a).sum(1),
            edge_to_atom_self=to_slots(beta_ea @ self_values, batch.a2ee2a),
            harmonics_main=harmonics_main,
            harmonics_a2ee2a=harmonics_main if same else to_slots(geometry.harmonics_a2ee2a, batch.a2ee2a),
            quadruplets=self._quadruplets(geometry, *of_quadruplets),
        )
        return values, self.edge_emb(h, Scaled(rbf_main), batch.main.source, batch.main.target)

    def uses_per_block(self) -> list[Tensor]:
        """Projections of any shape that every interaction block uses (section 12: gradients are divided by
        the uses)."""
        parts = [*self.of_main.parts, *self.of_a2ee2a.parts, *self.of_a2a.parts]
        if self.quad_interaction:
            parts += self.of_qint.parts
        return [part.weight for part in parts if part is not self.mlp_rbf_out.linear]

    def _quadruplets(self, geometry: Geometry, *of_main: Tensor) -> QuadrupletBasis | None:
        """Bases of the quadruplet interaction, from ρ (E_main, R) and γ (E_main, B, L M)."""
        if geometry.quadruplets is None or geometry.qint is None:
            return None
        rho, gamma = of_main
        (beta,) = self.of_qint(self.rbf(geometry.qint))
        return QuadrupletBasis(rho=rho, beta=beta, gamma=gamma, geometry=geometry.quadruplets)


@lru_cache
def _degree_rows(degrees: int) -> np.ndarray:
    """(L, L²): row l is √(4π/(2l+1)) at the harmonics of degree l (addition theorem), zero elsewhere."""
    degree_of = np.repeat(np.arange(degrees), 2 * np.arange(degrees) + 1)
    return (np.arange(degrees)[:, None] == degree_of) * np.sqrt(4.0 * math.pi / (2.0 * degree_of + 1.0))


@lru_cache
def _values_at_zero_angle(degrees: int) -> np.ndarray:
    """(L,): Y_l(1)."""
    return np.asarray(legendre_matrix(degrees).sum(0))


def _fourier_fold_for(policy: GraphPolicy) -> Callable[[int], np.ndarray]:
    """What makes the fold (L², L M): with a mode for right angles where dihedrals can be undefined."""
    official = policy.name == "official" or policy.collinear_width > 0.0
    return _fourier_fold_with_right_angles if official else _fourier_fold


@lru_cache
def _fourier_fold(degrees: int) -> np.ndarray:
    """(L², L M): from (l₁, l₂) to (l₁, mode)."""
    return np.kron(np.eye(degrees), fourier_matrix(degrees))


@lru_cache
def _fourier_fold_with_right_angles(degrees: int) -> np.ndarray:
    """(L², L M): from (l₁, l₂) to (l₁, mode), the last mode for dihedrals that count as right angles."""
    alpha = np.concatenate([fourier_matrix(degrees), right_angle_values(degrees)[:, None]], axis=1)
    return np.kron(np.eye(degrees), alpha)
