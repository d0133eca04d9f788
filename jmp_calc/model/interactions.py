"""The five interactions of a block (``gemnet_oc.md`` 8.1-8.5), their sums in exact separable form.

★ of the specification is a ScaleFactor. No list of edge-edge triplets and no list of quadruplets is made; see
``docs/equations.md`` for the algebra.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..graph.batch import Batch
from .bases import BasisValues, LinearBasis
from .config import BackboneConfig
from .layers import INV_SQRT_2, Dense
from .scaling import ScaleFactor
from .segment import gather_padded, segment_outer


class BilinearBasis(nn.Module):
    """A bias-free map of the flattened matrix X[i, k], stored as ``bilinear.linear`` in the published files."""

    def __init__(self, size: int, features: int, n_out: int) -> None:
        super().__init__()
        self.bilinear = Dense(size * features, n_out, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x.flatten(1))


class RadialDown(nn.Module):
    """x = Dense_σ(m); x = ★(x ⊙ Lin(ρ)); x = Dense_σ(x) to few features: how every interaction starts."""

    def __init__(self, width: int, rbf: int, features: int, dense_name: str) -> None:
        super().__init__()
        self.dense_name = dense_name
        self.add_module(dense_name, Dense(width, width, activation=True))
        self.mlp_rbf = LinearBasis(rbf, width)
        self.scale_rbf = ScaleFactor()
        self.down_projection = Dense(width, features, activation=True)

    def reduce(self, rows: Tensor, rho: Tensor, gather: Tensor | None = None) -> Tensor:
        """Down-projected rows (E, features); ``gather`` takes atom rows to edges first."""
        x = self.get_submodule(self.dense_name)(rows)
        if gather is not None:
            x = x.index_select(0, gather)
        before = x
        x = self.scale_rbf(x * self.mlp_rbf.linear(rho), lambda: (before, None, None))
        return self.down_projection(x)


class EdgeInteraction(RadialDown):
    """An interaction whose result goes to edges: out[e] = (Dense_σ^ca(y)[e] + Dense_σ^ac(y)[swap e]) / √2."""

    def __init__(self, width: int, config: BackboneConfig, features: int, n_out: int, dense_name: str) -> None:
        super().__init__(width, config.emb_size_rbf, features, dense_name)
        self.up_projection_ca = Dense(n_out, config.emb_size_edge, activation=True)
        self.up_projection_ac = Dense(n_out, config.emb_size_edge, activation=True)

    def to_edges(self, y: Tensor, swap: Tensor) -> Tensor:
        """Both directions of every bond see both directions' sums."""
        return (self.up_projection_ca(y) + self.up_projection_ac(y.index_select(0, swap))) * INV_SQRT_2


def triplet_sums(sums: Tensor, own: Tensor, bases: BasisValues, place: Tensor) -> Tensor:
    """S[e, l, k] from atom sums (N, L², T), without the edge's own bond; shape (E_main, L, T).

    ``own`` (E_main, T): the features of the same bond in the input graph, zero where it is not there.
    """
    n, d, degrees, components = bases.angular_main.shape
    all_inputs = bases.angular_main.view(n, d * degrees, components) @ sums
    per_edge = all_inputs.view(n * d, degrees, -1).index_select(0, place)
    return per_edge - bases.self_values.unsqueeze(-1) * own.unsqueeze(1)


def degree(slots: Tensor, count: int) -> Tensor:
    """Number of edges per atom (N,)."""
    return (slots != count).sum(1)


class TripletInteraction(EdgeInteraction):
    """Edge-edge triplets c->a<-b (8.1)."""

    def __init__(self, config: BackboneConfig) -> None:
        trip_in, trip_out = config.emb_size_trip_in, config.emb_size_trip_out
        super().__init__(config.emb_size_edge, config, trip_in, trip_out, "dense_ba")
        self.mlp_cbf = BilinearBasis(config.emb_size_cbf, trip_in, trip_out)
        self.scale_cbf_sum = ScaleFactor()

    def forward(self, batch: Batch, bases: BasisValues, h: Tensor, m: Tensor) -> Tensor:
        x = self.reduce(m, bases.rho_tint)
        sums = segment_outer(bases.harmonics_main, x, batch.main.slots)
        s = triplet_sums(sums, x, bases, batch.main.place)

        def inputs() -> tuple[Tensor, Tensor, None]:
            return x, degree(batch.main.slots, batch.main.count)[batch.main.target] - 1, None

        y = self.scale_cbf_sum(self.mlp_cbf(bases.beta_tint @ s), inputs)
        return self.to_edges(y, batch.swap)


class AtomEdgeInteraction(EdgeInteraction):
    """Mixed triplets that carry atom features to edges (8.3)."""

    def __init__(self, config: BackboneConfig) -> None:
        trip_in, trip_out = config.emb_size_trip_in, config.emb_size_trip_out
        super().__init__(config.emb_size_atom, config, trip_in, trip_out, "dense_ba")
        self.mlp_cbf = BilinearBasis(config.emb_size_cbf, trip_in, trip_out)
        self.scale_cbf_sum = ScaleFactor()

    def forward(self, batch: Batch, bases: BasisValues, h: Tensor, m: Tensor) -> Tensor:
        x = self.reduce(h, bases.rho_ae, batch.a2ee2a.source)
        sums = segment_outer(bases.harmonics_a2ee2a, x, batch.a2ee2a.slots)
        s = triplet_sums(sums, gather_padded(x, batch.a2ee2a_of_main), bases, batch.main.place)

        def inputs() -> tuple[Tensor, Tensor, None]:
            outputs = degree(batch.main.slots, batch.main.count)[batch.a2ee2a.target]
            return x, outputs - (batch.main_of_a2ee2a != batch.main.count).to(outputs), None

        y = self.scale_cbf_sum(self.mlp_cbf(bases.beta_ae @ s), inputs)
        return self.to_edges(y, batch.swap)


class EdgeAtomInteraction(RadialDown):
    """Mixed triplets that carry edge features to atoms (8.4)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config.emb_size_edge, config.emb_size_rbf, config.emb_size_trip_in, "dense_ba")
        self.mlp_cbf = BilinearBasis(config.emb_size_cbf, config.emb_size_trip_in, config.emb_size_trip_out)
        self.scale_cbf_sum = ScaleFactor()
        self.up_projection_ca = Dense(config.emb_size_trip_out, config.emb_size_atom, activation=True)

    def forward(self, batch: Batch, bases: BasisValues, h: Tensor, m: Tensor) -> Tensor:
        x = self.reduce(m, bases.rho_ea)
        sums = segment_outer(bases.harmonics_main, x, batch.main.slots)
        own = gather_padded(x, batch.main_of_a2ee2a)
        total = bases.edge_to_atom @ sums - segment_outer(bases.edge_to_atom_self, own, batch.a2ee2a.slots)

        def inputs() -> tuple[Tensor, Tensor, None]:
            outputs = degree(batch.a2ee2a.slots, batch.a2ee2a.count)[batch.main.target]
            return x, outputs - (batch.a2ee2a_of_main != batch.a2ee2a.count).to(outputs), None

        return self.up_projection_ca(self.scale_cbf_sum(self.mlp_cbf(total), inputs))


class AtomInteraction(nn.Module):
    """Atom-atom messages over the long-range graph (8.5)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.bilinear = Dense(
            config.emb_size_rbf * config.emb_size_aint_in, config.emb_size_aint_out, activation=False
        )
        self.scale_rbf_sum = ScaleFactor()
        self.down_projection = Dense(config.emb_size_atom, config.emb_size_aint_in, activation=True)
        self.up_projection = Dense(config.emb_size_aint_out, config.emb_size_atom, activation=True)

    def forward(self, batch: Batch, bases: BasisValues, h: Tensor, m: Tensor) -> Tensor:
        x = self.down_projection(h).index_select(0, batch.a2a.source)
        total = segment_outer(bases.rho_aa, x, batch.a2a.slots)
        return self.up_projection(self.scale_rbf_sum(self.bilinear(total.flatten(1)), lambda: (x, None, None)))


class QuadrupletInteraction(EdgeInteraction):
    """Chains d->b->a<-c through Fourier modes about the middle bond (8.2)."""

    def __init__(self, config: BackboneConfig) -> None:
        quad_in, quad_out = config.emb_size_quad_in, config.emb_size_quad_out
        super().__init__(config.emb_size_edge, config, quad_in, quad_out, "dense_db")
        self.mlp_cbf = LinearBasis(config.emb_size_cbf, quad_in)
        self.scale_cbf = ScaleFactor()
        self.mlp_sbf = BilinearBasis(config.emb_size_sbf, quad_in, quad_out)
        self.scale_sbf_sum = ScaleFactor()

    def forward(self, batch: Batch, bases: BasisValues, h: Tensor, m: Tensor) -> Tensor:
        basis = bases.quadruplets
        assert basis is not None
        quads = basis.geometry
        x = self.reduce(m, basis.rho)
        # z[(q, g), k] = ★(x[g] ⊙ Lin(κ)), with Lin applied to β_q before the sum over degrees
        angular = self.mlp_cbf.linear.weight @ basis.beta  # (E_q, Q, L)
        x_in = gather_padded(x, batch.main.slots.index_select(0, batch.qint.source))  # (E_q, D, Q)
        z = x_in * (quads.legendre_in @ angular.transpose(1, 2))
        z = self.scale_cbf(z, lambda: (x_in, quads.valid_in, quads.valid_in))

        modes = quads.modes_in.transpose(1, 2) @ z  # (E_q, 2 M, Q)
        n, n_modes, _, columns = quads.angular_out.shape
        at_atom = gather_padded(modes, batch.qint.slots)  # (N, D_q, 2 M, Q)
        at_atom = at_atom.view(n, columns // 2, n_modes, 2, -1).transpose(1, 2).reshape(n, n_modes, columns, -1)
        s = (quads.angular_out @ at_atom).view(n, n_modes, batch.main.slots.shape[1], -1, x.shape[1])
        closing = quads.angular_triangle @ gather_padded(z.flatten(0, 1), batch.triangle)  # (N, D, L M, Q)
        s = s.permute(0, 2, 3, 1, 4).reshape(closing.shape) - closing
        s = s.flatten(0, 1).index_select(0, batch.main.place)  # (E_main, L M, Q)

        def inputs() -> tuple[Tensor, Tensor, None]:
            return z, _quadruplets_per_input(batch, quads.valid_in), None

        y = self.scale_sbf_sum(self.mlp_sbf(basis.gamma @ s), inputs)
        return self.to_edges(y, batch.swap)


def _quadruplets_per_input(batch: Batch, valid_in: Tensor) -> Tensor:
    """(E_q, D): in how many quadruplets an input pair takes part (for the scale fit)."""
    outputs = degree(batch.main.slots, batch.main.count)[batch.qint.target]
    same = batch.qint_of_main.bincount(minlength=batch.qint.count + 1)[: batch.qint.count]
    triangles = batch.triangle.flatten().bincount(minlength=valid_in.numel() + 1)[: valid_in.numel()]
    return ((outputs - same).unsqueeze(1) - triangles.view_as(valid_in)) * valid_in
