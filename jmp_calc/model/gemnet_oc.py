"""GemNet-OC with JMP's options: the backbone, top to bottom (``gemnet_oc.md`` sections 7-9).

Gasteiger et al., "GemNet-OC", TMLR 2022; Shoghi et al., "From Molecules to Materials" (JMP), ICLR 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..graph.batch import Batch
from ..graph.policy import GraphPolicy
from .bases import Bases, BasisValues, LinearBasis
from .config import BackboneConfig
from .geometry import Geometry
from .interactions import (
    AtomEdgeInteraction,
    AtomInteraction,
    EdgeAtomInteraction,
    QuadrupletInteraction,
    TripletInteraction,
)
from .layers import (
    INV_SQRT_2,
    Dense,
    DenseStack,
    EdgeEmbedding,
    ResidualLayer,
    Scaled,
    activated,
    atom_readout,
    residual_stack,
    scaled_rows,
)
from .recompute import MemoryPlan
from .scaling import ScaleFactor
from .segment import segment_sum


class AtomUpdate(nn.Module):
    """g[a] = layers(★ Σ_e m[e] ⊙ Lin(ρ)[e]) over main edges with target a (section 8.6)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.dense_rbf = LinearBasis(config.emb_size_rbf, config.emb_size_edge)
        self.scale_sum = ScaleFactor()
        self.layers = atom_readout(
            config.emb_size_edge, config.emb_size_atom, config.num_atom, config.dropout
        )

    def forward(
        self, batch: Batch, rho: Tensor, m: Scaled, n_atoms: int, memory: MemoryPlan, *, scale: float = 1.0
    ) -> Scaled:
        """g (N, A) in atom features from ρ (E, R) and edge features m (E, M); ``scale`` multiplies the
        sums."""

        def summed(rho: Tensor, rows: Tensor) -> Tensor:
            radial = self.dense_rbf.linear(Scaled(rho), self.scale_sum)
            return segment_sum(rows * radial, batch.main.target, n_atoms)

        total = m.of(lambda rows: memory.interaction(summed, rho, rows, weights=self.dense_rbf))
        total = scaled_rows(total, scale)
        self.scale_sum.observe(lambda: (total.tensor(), m.tensor(), None, None))
        return self.layers(total)  # type: ignore[no-any-return]


class OutputBlock(AtomUpdate):
    """xE and xF of one depth (section 9)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.seq_energy2 = residual_stack(config.emb_size_atom, config.num_output_afteratom)
        self.force_branch = config.force_branch
        if config.force_branch:
            self.scale_rbf_F = ScaleFactor()
            self.seq_forces = residual_stack(config.emb_size_edge, config.num_output_afteratom)
            self.dense_rbf_F = LinearBasis(config.emb_size_rbf, config.emb_size_edge)

    def drop_force_branch(self) -> None:
        """Let go of what only direct forces need."""
        if self.force_branch:
            del self.seq_forces, self.dense_rbf_F, self.scale_rbf_F
            self.force_branch = False

    def energy_features(self, batch: Batch, rho: Tensor, h: Scaled, m: Scaled, memory: MemoryPlan) -> Scaled:
        """xE (N, A)."""
        updated: Scaled = self(batch, rho, m, h.value.shape[0], memory, scale=batch.scales.output_sums)
        return self.seq_energy2((updated + h) * INV_SQRT_2)  # type: ignore[no-any-return]

    def force_features(self, rho: Tensor, m: Scaled) -> Scaled:
        """xF (E, M)."""
        z: Scaled = self.seq_forces(m)
        radial = self.dense_rbf_F.linear(Scaled(rho), self.scale_rbf_F)
        x = z.of(lambda rows: rows * radial)
        self.scale_rbf_F.observe(lambda: (x.tensor(), z.tensor(), None, None))
        return x


class InteractionBlock(nn.Module):
    """One message-passing step (section 8.6)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        atom, edge = config.emb_size_atom, config.emb_size_edge
        self.dense_ca = Dense(edge, edge, activation=True)
        self.trip_interaction = TripletInteraction(config)
        self.quad_interaction = QuadrupletInteraction(config) if config.quad_interaction else None
        self.inv_sqrt_terms = 0.5 if config.quad_interaction else 1.0 / math.sqrt(3.0)
        self.atom_edge_interaction = AtomEdgeInteraction(config)
        self.edge_atom_interaction = EdgeAtomInteraction(config)
        self.atom_interaction = AtomInteraction(config)
        self.layers_before_skip = residual_stack(edge, config.num_before_skip)
        self.layers_after_skip = residual_stack(edge, config.num_after_skip)
        self.atom_emb_layers = residual_stack(atom, config.num_atom_emb_layers)
        self.atom_update = AtomUpdate(config)
        self.concat_layer = EdgeEmbedding(atom, edge, edge)
        self.residual_m = residual_stack(edge, config.num_concat)

        first = [self.dense_ca, self.trip_interaction.dense, self.edge_atom_interaction.dense]
        self.first = DenseStack(
            first if self.quad_interaction is None else [*first, self.quad_interaction.dense]
        )

    def forward(
        self, batch: Batch, bases: BasisValues, h: Scaled, m: Scaled, memory: MemoryPlan
    ) -> tuple[Scaled, Scaled]:
        """Atom features h (N, A) and edge features m (E, M) after the block, in the same shapes."""

        def interact(interaction: nn.Module, features: Tensor | Scaled) -> Scaled:
            return memory.interaction(interaction, batch, bases, features, weights=interaction)

        own, for_triplets, for_atoms, *for_quadruplets = self.first(m)
        x = interact(self.trip_interaction, for_triplets)
        if self.quad_interaction is not None:
            x = x + interact(self.quad_interaction, *for_quadruplets)
        x = (x + interact(self.atom_edge_interaction, h) + activated(own)) * self.inv_sqrt_terms
        to_atoms = interact(self.edge_atom_interaction, for_atoms) + interact(self.atom_interaction, h)
        h = (h + to_atoms) * (1.0 / math.sqrt(3.0))

        m = (m + self.layers_before_skip(x)) * INV_SQRT_2
        m = self.layers_after_skip(m)
        h = self.atom_emb_layers(h)
        h = (h + self.atom_update(batch, bases.rho_h, m, h.value.shape[0], memory)) * INV_SQRT_2

        m2 = self.concat_layer(h, m, batch.main.source, batch.main.target)
        m = (m + self.residual_m(m2)) * INV_SQRT_2
        return h, m


class FinalMLP(nn.Module):
    """Dense_σ of the concatenation over depths, then residual layers (section 7)."""

    def __init__(self, width: int, depths: int, residual_layers: int) -> None:
        super().__init__()
        self.out_mlp = nn.Sequential(
            Dense(depths * width, width, activation=True),
            *(ResidualLayer(width) for _ in range(residual_layers)),
        )

    def forward(self, features: list[Scaled]) -> Tensor:
        """One (N, A) or (E, M) from those of all depths."""
        joined = Scaled(torch.cat([x.tensor() for x in features], dim=1))
        return self.out_mlp(joined).tensor()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Features:
    """Backbone output: energy (N, A) per atom; forces (E_main, M) per main edge, if asked for; atoms: h of
    every block."""

    energy: Tensor
    forces: Tensor | None
    atoms: tuple[Scaled, ...]


class GemNetOC(nn.Module):
    """Embeddings in, features out; parameter names are those of the published files."""

    def __init__(self, config: BackboneConfig, policy: GraphPolicy) -> None:
        super().__init__()
        depths = config.num_blocks + 1
        self.bases = Bases(config, policy)
        self.int_blocks = nn.ModuleList(InteractionBlock(config) for _ in range(config.num_blocks))
        self.out_blocks = nn.ModuleList(OutputBlock(config) for _ in range(depths))
        self.out_mlp_E = FinalMLP(config.emb_size_atom, depths, config.num_global_out_layers)
        if config.force_branch:
            self.out_mlp_F = FinalMLP(config.emb_size_edge, depths, config.num_global_out_layers)

    def forward(
        self, batch: Batch, geometry: Geometry, embedding: Tensor, memory: MemoryPlan, *, with_forces: bool
    ) -> Features:
        """Features of atom embeddings (N, A); ``with_forces`` also evaluates the direct force branch."""
        h = Scaled(embedding)
        bases, m = self.bases(batch, geometry, h)
        m = scaled_rows(m, batch.scales.edge_embeddings)
        first, *outputs = self._outputs()
        energy = [first.energy_features(batch, bases.rho_out, h, m, memory)]
        forces = [first.force_features(bases.rho_out, m)] if with_forces else []
        atoms = []
        for interaction, output in zip(self.int_blocks, outputs):

            def step(
                bases: BasisValues,
                h: Scaled,
                m: Scaled,
                interaction: nn.Module = interaction,
                output: OutputBlock = output,
            ) -> tuple[Scaled, Scaled, Scaled]:
                h, m = interaction(batch, bases, h, m, memory)
                return h, m, output.energy_features(batch, bases.rho_out, h, m, memory)

            h, m, x = memory.block(step, bases, h, m, weights=[interaction, output])
            atoms.append(h)
            energy.append(x)
            if with_forces:
                forces.append(output.force_features(bases.rho_out, m))
        return Features(self.out_mlp_E(energy), self.out_mlp_F(forces) if with_forces else None, tuple(atoms))

    def drop_force_branch(self) -> None:
        """Let go of what only direct forces need."""
        for output in self._outputs():
            output.drop_force_branch()
        if hasattr(self, "out_mlp_F"):
            del self.out_mlp_F

    def _outputs(self) -> list[OutputBlock]:
        return cast("list[OutputBlock]", list(self.out_blocks))
