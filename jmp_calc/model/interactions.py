"""The five interactions of a block (``gemnet_oc.md`` 8.1-8.5), their sums in exact separable form.

★ of the specification is a ScaleFactor, part of the linear map before it. No list of edge-edge triplets and
no list of quadruplets is made; see ``docs/equations.md`` for the algebra. The first layers of all
interactions that start from the
same edge features are one product, made by the block: what comes in here is W m, without its activation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..graph.batch import Batch
from .bases import BasisValues, LinearBasis, QuadrupletBasis
from .config import BackboneConfig
from .geometry import QuadrupletGeometry
from .layers import INV_SQRT_2, Dense, DenseStack, Scaled, activated
from .scaling import Observation, ScaleFactor
from .segment import from_slots, gather_padded, matched, mirrored, to_slots


class BilinearBasis(nn.Module):
    """A bias-free map of the flattened matrix X[i, k], stored as ``bilinear.linear`` in the published
    files."""

    def __init__(self, size: int, features: int, n_out: int) -> None:
        super().__init__()
        self.bilinear = Dense(size * features, n_out, activation=False)

    def forward(self, x: Scaled, scale: ScaleFactor) -> Scaled:
        """(E, n_out) from matrices X (E, size, features)."""
        return Scaled(self.bilinear.linear(x.of(lambda rows: rows.flatten(1)), scale))


class RadialDown(nn.Module):
    """x = Dense_σ(m); x = ★(x ⊙ Lin(ρ)); x = Dense_σ(x) to few features: how every interaction starts."""

    def __init__(self, width: int, rbf: int, features: int, dense_name: str) -> None:
        super().__init__()
        self.dense_name = dense_name
        self.add_module(dense_name, Dense(width, width, activation=True))
        self.mlp_rbf = LinearBasis(rbf, width)
        self.scale_rbf = ScaleFactor()
        self.down_projection = Dense(width, features, activation=True)

    @property
    def dense(self) -> Dense:
        """The first layer, called once for several interactions by the block."""
        layer = self.get_submodule(self.dense_name)
        assert isinstance(layer, Dense)
        return layer

    def reduce(self, x: Scaled, rho: Tensor) -> Scaled:
        """Down-projected rows (E, features) of Dense_σ(m) (E, width)."""
        radial = self.mlp_rbf.linear(Scaled(rho), self.scale_rbf)
        y = x.of(lambda rows: rows * radial)
        self.scale_rbf.observe(lambda: (y.tensor(), x.tensor(), None, None))
        return self.down_projection(y)  # type: ignore[no-any-return]


class EdgeInteraction(RadialDown):
    """An interaction whose result goes to edges: out[e] = (Dense_σ^ca(y)[e] + Dense_σ^ac(y)[swap e]) / √2."""

    def __init__(
        self, width: int, config: BackboneConfig, features: int, n_out: int, dense_name: str
    ) -> None:
        super().__init__(width, config.emb_size_rbf, features, dense_name)
        self.up_projection_ca = Dense(n_out, config.emb_size_edge, activation=True)
        self.up_projection_ac = Dense(n_out, config.emb_size_edge, activation=True)
        self.up = DenseStack([self.up_projection_ca, self.up_projection_ac])

    def to_edges(self, y: Scaled, batch: Batch) -> Scaled:
        """Edge features (E, M) from y (E, n_out): both directions of every bond see both directions' sums."""
        ca, ac = (activated(product) for product in self.up(y))
        return (ca + ac.of(lambda rows: mirrored(rows, batch.swap))) * INV_SQRT_2


def triplet_sums(sums: Tensor, own: Tensor, bases: BasisValues, batch: Batch) -> Tensor:
    """S[e, l, k] from atom sums (N, L², T), without the edge's own bond; shape (E_main, L, T).

    ``own`` (E_main, T): the features of the same bond in the input graph, zero where it is not there.
    By the addition theorem  Y_l(cos φ_cab) ∝ Σ_m Y_lm(c->a) Y_lm(b->a),  so that the sum over b can be taken
    once per atom, for all output edges. It then holds b = c too, whose angle is zero: Y_l(1) times ``own``.
    """
    n, d, degrees, components = bases.angular_main.shape
    all_inputs = bases.angular_main.view(n, d * degrees, components) @ sums
    per_edge = from_slots(all_inputs.view(n, d, degrees, own.shape[1]), batch.main)
    return torch.addcmul(per_edge, bases.self_values.unsqueeze(-1), own.unsqueeze(1), value=-1.0)


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

    def forward(self, batch: Batch, bases: BasisValues, product: Tensor) -> Scaled:
        """Edge features (E, M) from W m (E, M)."""
        x = self.reduce(activated(product), bases.rho_tint)
        sums = bases.harmonics_main.transpose(1, 2) @ to_slots(x.value, batch.main)  # (N, L², T)
        s = triplet_sums(sums, x.value, bases, batch)
        y = self.mlp_cbf(Scaled(bases.beta_tint @ s, x.factor), self.scale_cbf_sum)

        def seen() -> Observation:
            return (
                y.tensor(),
                x.tensor(),
                degree(batch.main.slots, batch.main.count)[batch.main.target] - 1,
                None,
            )

        self.scale_cbf_sum.observe(seen)
        return self.to_edges(y, batch)


class AtomEdgeInteraction(EdgeInteraction):
    """Mixed triplets that carry atom features to edges (8.3)."""

    def __init__(self, config: BackboneConfig) -> None:
        trip_in, trip_out = config.emb_size_trip_in, config.emb_size_trip_out
        super().__init__(config.emb_size_atom, config, trip_in, trip_out, "dense_ba")
        self.mlp_cbf = BilinearBasis(config.emb_size_cbf, trip_in, trip_out)
        self.scale_cbf_sum = ScaleFactor()

    def forward(self, batch: Batch, bases: BasisValues, h: Scaled) -> Scaled:
        """Edge features (E, M) from atom features h (N, A)."""
        edges = batch.a2ee2a
        x = self.reduce(self.dense(h).of(lambda rows: rows.index_select(0, edges.source)), bases.rho_ae)
        sums = bases.harmonics_a2ee2a.transpose(1, 2) @ to_slots(x.value, edges)
        own = x.value if edges is batch.main else matched(x.value, batch.a2ee2a_of_main, batch.main_of_a2ee2a)
        s = triplet_sums(sums, own, bases, batch)
        y = self.mlp_cbf(Scaled(bases.beta_ae @ s, x.factor), self.scale_cbf_sum)

        def seen() -> Observation:
            outputs = degree(batch.main.slots, batch.main.count)[edges.target]
            return (
                y.tensor(),
                x.tensor(),
                outputs - (batch.main_of_a2ee2a != batch.main.count).to(outputs),
                None,
            )

        self.scale_cbf_sum.observe(seen)
        return self.to_edges(y, batch)


class EdgeAtomInteraction(RadialDown):
    """Mixed triplets that carry edge features to atoms (8.4)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config.emb_size_edge, config.emb_size_rbf, config.emb_size_trip_in, "dense_ba")
        self.mlp_cbf = BilinearBasis(config.emb_size_cbf, config.emb_size_trip_in, config.emb_size_trip_out)
        self.scale_cbf_sum = ScaleFactor()
        self.up_projection_ca = Dense(config.emb_size_trip_out, config.emb_size_atom, activation=True)

    def forward(self, batch: Batch, bases: BasisValues, product: Tensor) -> Scaled:
        """Atom features (N, A) from W m (E, M)."""
        edges = batch.a2ee2a
        x = self.reduce(activated(product), bases.rho_ea)
        inputs = to_slots(x.value, batch.main)
        sums = bases.harmonics_main.transpose(1, 2) @ inputs
        own = (
            inputs
            if edges is batch.main
            else to_slots(matched(x.value, batch.main_of_a2ee2a, batch.a2ee2a_of_main), edges)
        )
        same_bond = bases.edge_to_atom_self.transpose(1, 2) @ own
        y = self.mlp_cbf(Scaled(bases.edge_to_atom @ sums - same_bond, x.factor), self.scale_cbf_sum)

        def seen() -> Observation:
            outputs = degree(edges.slots, edges.count)[batch.main.target]
            return y.tensor(), x.tensor(), outputs - (batch.a2ee2a_of_main != edges.count).to(outputs), None

        self.scale_cbf_sum.observe(seen)
        return self.up_projection_ca(y)  # type: ignore[no-any-return]


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

    def forward(self, batch: Batch, bases: BasisValues, h: Scaled) -> Scaled:
        """Atom features (N, A) from atom features h (N, A)."""
        x = self.down_projection(h).of(lambda rows: rows.index_select(0, batch.a2a.source))
        total = bases.rho_aa.transpose(1, 2) @ to_slots(x.value, batch.a2a)
        y = Scaled(self.bilinear.linear(Scaled(total.flatten(1), x.factor), self.scale_rbf_sum))
        self.scale_rbf_sum.observe(lambda: (y.tensor(), x.tensor(), None, None))
        return self.up_projection(y)  # type: ignore[no-any-return]


class QuadrupletInteraction(EdgeInteraction):
    """Chains d->b->a<-c through Fourier modes about the middle bond (8.2)."""

    def __init__(self, config: BackboneConfig) -> None:
        quad_in, quad_out = config.emb_size_quad_in, config.emb_size_quad_out
        super().__init__(config.emb_size_edge, config, quad_in, quad_out, "dense_db")
        self.mlp_cbf = LinearBasis(config.emb_size_cbf, quad_in)
        self.scale_cbf = ScaleFactor()
        self.mlp_sbf = BilinearBasis(config.emb_size_sbf, quad_in, quad_out)
        self.scale_sbf_sum = ScaleFactor()

    def forward(self, batch: Batch, bases: BasisValues, product: Tensor) -> Scaled:
        """Edge features (E, M) from W m (E, M).

        The sum over all chains has three steps: over d at every middle edge b->a (``modes``), over b at every
        output edge c->a (``s``), and over the degrees of both angles (``gamma``).
        """
        basis = bases.quadruplets
        assert basis is not None
        x = self.reduce(activated(product), basis.rho)
        z = self._input_pairs(batch, basis, x)
        s = from_slots(self._output_sums(batch, basis.geometry, z), batch.main)  # (E_main, L M, Q)
        y = self.mlp_sbf(Scaled(basis.gamma @ s, x.factor), self.scale_sbf_sum)

        def seen() -> Observation:
            counts = _quadruplets_per_input(batch, basis.geometry.valid_in)
            return y.tensor(), z * x.factor, counts, None

        self.scale_sbf_sum.observe(seen)
        return self.to_edges(y, batch)

    def _input_pairs(self, batch: Batch, basis: QuadrupletBasis, x: Scaled) -> Tensor:
        """z (E_q, D, Q) = ★(x[g] ⊙ Lin(κ)) for pairs of a middle edge and an input edge g; x (E, Q).

        Lin is applied to β_q, once per middle edge, before the sum over degrees that gives κ.
        """
        quads, width = basis.geometry, x.value.shape[1]
        degrees = basis.beta.transpose(1, 2)  # (E_q, L, C)
        angular = self.mlp_cbf.linear(Scaled(degrees.flatten(0, 1)), self.scale_cbf)
        angular = angular.view(*degrees.shape[:2], width)
        x_in = gather_padded(x.value, batch.main.slots.index_select(0, batch.qint.source))  # (E_q, D, Q)
        z = x_in * (quads.legendre_in @ angular)
        self.scale_cbf.observe(lambda: (z * x.factor, x_in * x.factor, quads.valid_in, quads.valid_in))
        return z

    @staticmethod
    def _output_sums(batch: Batch, quads: QuadrupletGeometry, z: Tensor) -> Tensor:
        """Sums (N, D, L M, Q) at the slots of the output edges, from the input pairs z (E_q, D, Q).

        The sum over b at an atom is one matrix product, in which modes of input and output side meet as real
        and imaginary parts. It holds d = c too: these are triangles, whose terms are subtracted.
        """
        width = z.shape[-1]
        modes = quads.modes_in.transpose(1, 2) @ z  # (E_q, 2 M, Q)
        n, n_modes, _, columns = quads.angular_out.shape
        at_atom = to_slots(modes, batch.qint).view(n, columns // 2, n_modes, 2, width)  # (N, D_q, M, 2, Q)
        at_atom = at_atom.transpose(1, 2).reshape(n, n_modes, columns, width)
        shape = (n, n_modes, batch.main.slots.shape[1], quads.legendre_in.shape[-1], width)
        s = (quads.angular_out @ at_atom).view(shape)
        closing = quads.angular_triangle @ gather_padded(z.flatten(0, 1), batch.triangle)  # (N, D, L M, Q)
        return s.permute(0, 2, 3, 1, 4).reshape(closing.shape) - closing


def _quadruplets_per_input(batch: Batch, valid_in: Tensor) -> Tensor:
    """(E_q, D): in how many quadruplets an input pair takes part (for the scale fit)."""
    outputs = degree(batch.main.slots, batch.main.count)[batch.qint.target]
    same = batch.qint_of_main.bincount(minlength=batch.qint.count + 1)[: batch.qint.count]
    triangles = batch.triangle.flatten().bincount(minlength=valid_in.numel() + 1)[: valid_in.numel()]
    return ((outputs - same).unsqueeze(1) - triangles.view_as(valid_in)) * valid_in
