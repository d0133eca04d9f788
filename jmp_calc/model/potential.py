"""A complete model: embedding, backbone, heads and energy references, from a batch to energies and forces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.batch import Batch, collate, with_lone_atoms
from ..graph.build import build_graph
from .bases import AngularBasis
from .binding import bond_gate, envelope_gate
from .config import HeadConfig, ModelConfig
from .copies import Copied
from .derivatives import derivatives, per_volume
from .elements import ATOMIC_MASSES, COVALENT_RADII, by_number
from .gemnet_oc import Features, GemNetOC
from .geometry import Geometry, batch_geometry
from .heads import ChosenHeads, Head, reduce_atoms, spatial_extent
from .layers import Linear, Prepared, he_orthogonal_
from .recompute import MemoryPlan, Recompute
from .repulsion import PairRepulsion
from .scaling import observed, scale_factors
from .segment import segment_sum
from .tables import Float64Table

Forces = Literal["conservative", "direct", "none"]
Layer = int | Literal["final"]
"""Where atom features are taken: after an interaction block, counted from 1, or what the heads read."""


@dataclass(frozen=True)
class Prediction:
    """Results of a batch: S structures, N atoms.

    energy (S,) eV float64 (other kinds: label units, (S,), logits (S, classes) or vectors (S, 3)); energies
    (N,) eV float64, or what a structure's output is summed from; forces (N, 3) eV/Å; stress (S, 3, 3) eV/Å³,
    ASE's sign (positive: tension); stresses (N, 3, 3), the share of each atom, where asked for. NaN stress: a
    cell without volume. features (N + L, A), without gradient and only where asked for: the final features of
    the atoms, those of the L lone atoms behind them.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor | None
    stress: Tensor | None
    features: Tensor | None = None
    stresses: Tensor | None = None


@dataclass(frozen=True)
class Readout:
    """Energies of S structures with N atoms, and what they were read from: energy (S,) eV float64; features
    (S, F) float64, the sums over atoms of what enters the last layer of the head, less the same of lone atoms
    where these are subtracted; descriptors (N, A), the final features of the atoms."""

    energy: Tensor
    features: Tensor
    descriptors: Tensor


class Potential(Copied):
    """Network, heads and references of one model file."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.embedding = nn.Embedding(backbone.num_elements, backbone.emb_size_atom)
        self.backbone = GemNetOC(backbone, config.policy)
        self.heads = nn.ModuleDict(
            {head.name: Head(head, backbone.emb_size_atom, backbone.emb_size_edge) for head in config.heads}
        )
        self._references = {head.name: Float64Table(by_number(head.references)) for head in config.heads}
        self._binding = {
            head.name: Float64Table(by_number(head.binding)) for head in config.heads if head.binding
        }
        self._scales = {
            head.name: Float64Table((head.energy_scale, head.force_scale)) for head in config.heads
        }
        self._masses = Float64Table(ATOMIC_MASSES)
        self._radii = Float64Table(COVALENT_RADII)
        self._repulsion = PairRepulsion(config.heads) if config.pair_repulsion else None
        self._initialise()

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network; positions, energies and references are always float64."""
        return self.embedding.weight.dtype

    def forward(
        self,
        batch: Batch,
        *,
        heads: str | Sequence[str] | ChosenHeads,
        forces: Forces = "conservative",
        stress: bool = False,
        stresses: bool = False,
        create_graph: bool = False,
        describe: bool = False,
        recompute: Recompute = "nothing",
    ) -> Prediction:
        """Evaluate a batch of S structures with N atoms, with one head or with one energy head per structure.

        Args:
            batch: structures.
            heads: a head name, one name per structure (S,), or the heads themselves.
            forces: -dE/dx, the direct head, or none.
            stress: also dE/dε per volume (conservative only).
            stresses: also the share of every atom in it (``derivatives.virial_shares``; conservative only).
            create_graph: keep the graph of the derivatives, for training through forces.
            describe: also give the final features.
            recompute: what is computed again for derivatives instead of being kept; the result is the same.
        """
        chosen = heads if isinstance(heads, ChosenHeads) else ChosenHeads.of(self.config, heads, batch)
        differentiate = forces == "conservative" or stress or stresses
        positions = batch.positions.detach().requires_grad_(differentiate)
        strain = torch.zeros_like(batch.cell).requires_grad_(True) if stress else None
        memory = MemoryPlan(recompute, random=self.training and self.config.backbone.dropout > 0)
        with torch.set_grad_enabled(differentiate or torch.is_grad_enabled()):
            with_forces = forces == "direct" or chosen.kind == "vector"
            geometry, features = self._features(batch, positions, strain, memory, with_forces=with_forces)
            energies = self._energies(batch, features, geometry, chosen)
            energy = self._reduced(batch, energies, positions, chosen)
            result_forces = virial = shares = None
            if differentiate:
                inputs = positions, strain, geometry.pairs if stresses else None
                with memory.without_weights():
                    result_forces, virial, shares = derivatives(energy, *inputs, create_graph=create_graph)
        if forces == "direct":
            result_forces = self._direct_forces(batch, geometry, features, chosen)
        wanted = result_forces if forces != "none" else None
        tensors = None if virial is None else per_volume(virial, batch.cell)
        parts = None if shares is None else per_volume(shares, batch.cell.index_select(0, batch.structure))
        described = features.energy.detach() if describe else None
        return Prediction(energy, energies, wanted, tensors, described, parts)

    def hessian(
        self, batch: Batch, head: str, atoms: Sequence[int], *, recompute: Recompute = "nothing"
    ) -> Tensor:
        """Second derivatives of the energy of one structure with N atoms by n of them and all: (n, 3, N, 3)
        float64, eV/Å², before any symmetry is imposed.

        Args:
            batch: one structure.
            head: an energy head.
            atoms: numbers of the n atoms.
            recompute: as of ``forward``.
        """
        chosen = ChosenHeads.of(self.config, head, batch)
        memory = MemoryPlan(recompute)
        with torch.enable_grad(), memory.without_weights():
            positions = batch.positions.detach().requires_grad_(True)
            geometry, features = self._features(batch, positions, None, memory, with_forces=False)
            energies = self._energies(batch, features, geometry, chosen)
            energy = self._reduced(batch, energies, positions, chosen)
            forces, _, _ = derivatives(energy, positions, create_graph=True)
            if not forces.requires_grad:  # no pair within the cutoff
                return forces.new_zeros((len(atoms), 3, *forces.shape))
            rows = [
                torch.autograd.grad(-forces[atom, axis], positions, retain_graph=True)[0]
                for atom in atoms
                for axis in range(3)
            ]
        return torch.stack(rows).view(len(atoms), 3, *positions.shape)

    def descriptors(self, batch: Batch, layer: Layer) -> Tensor:
        """Invariant features of every atom (N, A), without gradients: h after interaction block ``layer``, or
        the final xE."""
        with torch.no_grad():
            _, features = self._backbone(batch, batch.positions, None, MemoryPlan(), with_forces=False)
        return features.energy if layer == "final" else features.atoms[layer - 1].tensor()

    @torch.no_grad()
    def readout(self, batch: Batch, head: str) -> Readout:
        """Energies of an energy head and the features that they are read from."""
        geometry, features = self._features(batch, batch.positions, None, MemoryPlan(), with_forces=False)
        chosen = ChosenHeads.of(self.config, head, batch)
        energies = self._energies(batch, features, geometry, chosen)
        return Readout(
            self._reduced(batch, energies, batch.positions, chosen),
            self.last_layer(batch, features.energy, head),
            features.energy[: batch.n_atoms],
        )

    @torch.no_grad()
    def final_features(self, batch: Batch) -> Tensor:
        """What the heads read, as ``Prediction.features``: (N + L, A)."""
        _, features = self._features(batch, batch.positions, None, MemoryPlan(), with_forces=False)
        return features.energy

    def last_layer(self, batch: Batch, features: Tensor, head: str) -> Tensor:
        """Sums over the atoms of each structure of what enters the last layer of an energy head, less the
        same of lone atoms where these are subtracted: (S, F) float64, from the final features (N + L, A)."""
        entering = self._head(self.config.head(head)).before_last(features).to(torch.float64)
        return self._summed(batch, entering)

    def head_energies(self, batch: Batch, features: Tensor, head: str) -> Tensor:
        """What an energy head adds to references, binding and repulsion: (S,) eV float64, from the final
        features (N + L, A)."""
        config = self.config.head(head)
        values = self._head(config).per_atom(features).squeeze(-1).to(torch.float64)
        return self._scales[head].on(values.device)[0] * self._summed(batch, values)

    def slopes(
        self, batch: Batch, energies: Callable[[Tensor], Tensor], *, recompute: Recompute = "nothing"
    ) -> Tensor:
        """Minus the derivatives by the positions of K energies: (K, N, 3) float64, eV/Å.

        Args:
            batch: S structures with N atoms.
            energies: makes the energies (K, S) in eV of the final features (N + L, A).
            recompute: as of ``forward``.
        """
        memory = MemoryPlan(recompute)
        with torch.enable_grad(), memory.without_weights():
            positions = batch.positions.detach().requires_grad_(True)
            _, features = self._features(batch, positions, None, memory, with_forces=False)
            rows = energies(features.energy).sum(dim=1)
            if not rows.requires_grad:  # only lone atoms
                return positions.new_zeros((len(rows), *positions.shape))
            found = [torch.autograd.grad(-row, positions, retain_graph=True)[0] for row in rows]
        return torch.stack(found)

    def _summed(self, batch: Batch, values: Tensor) -> Tensor:
        """Sums over the atoms of each structure (S, ...) of values (N + L, ...), less those of lone atoms."""
        if self.config.subtract_lone_atom:
            lone = values[batch.n_atoms :].index_select(0, batch.lone_of_atom)
            values = values[: batch.n_atoms] - lone
        return segment_sum(values, batch.structure, batch.n_structures)

    def fit_scale_factors(self, batches: Sequence[Batch]) -> None:
        """Fit all scale factors, one after the other, on the same batches (``gemnet_oc.md`` section 10); no
        dropout."""
        training = self.training
        self.eval()
        with torch.no_grad():
            for _, factor in scale_factors(self.backbone):
                factor.scale_factor.zero_()
            for _, factor in scale_factors(self.backbone):
                with observed(factor) as ratio:
                    for batch in batches:
                        branch = self.config.backbone.force_branch
                        self._backbone(batch, batch.positions, None, MemoryPlan(), with_forces=branch)
                factor.scale_factor.fill_(ratio.value())
        self.train(training)

    def shared_parameters(self) -> list[tuple[Tensor, int]]:
        """Parameters of any shape that several blocks use, with the number of uses (``training.md`` section
        9)."""
        bases, blocks = self.backbone.bases, self.config.backbone.num_blocks
        per_block = [(parameter, blocks) for parameter in bases.uses_per_block()]
        return [*per_block, (bases.mlp_rbf_out.linear.weight, blocks + 1)]

    def tables(self, heads: Sequence[str]) -> list[Float64Table]:
        """Constants of these heads, in their order: what belongs to the data and not to the kind of
        network."""
        kinds = self._references, self._binding, self._scales
        found = [tables[name] for name in heads for tables in kinds if name in tables]
        return (
            found if self._repulsion is None else [*found, *(self._repulsion.reach(name) for name in heads)]
        )

    def freeze(self, forces: Forces) -> None:
        """Make this network one for inference only: weights and constants are combined once, the rest is let
        go.

        Afterwards it gives ``forces`` of this kind only, and cannot be trained, copied, moved or saved.
        """
        self.eval().requires_grad_(False)
        direct = forces == "direct"
        if not direct:
            self.backbone.drop_force_branch()
        for module in self.modules():
            if isinstance(module, Prepared):
                module.freeze()
        one_atom = build_graph(
            np.zeros((1, 3)),
            np.ones(1, dtype=np.int64),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
            self.config.policy,
        )
        device = self.embedding.weight.device
        batch = collate([one_atom], device=device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            self._backbone(batch, batch.positions, None, MemoryPlan(), with_forces=direct)

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight)
        for module in self.backbone.modules():
            if isinstance(module, Linear | AngularBasis):
                he_orthogonal_(module.weight)

    def _features(
        self, batch: Batch, positions: Tensor, strain: Tensor | None, memory: MemoryPlan, *, with_forces: bool
    ) -> tuple[Geometry, Features]:
        """Geometry and features of positions (N, 3) in Å, with strain (S, 3, 3); lone atoms behind the
        others."""
        if self.config.subtract_lone_atom:
            batch = with_lone_atoms(batch)
        return self._backbone(batch, positions, strain, memory, with_forces=with_forces)

    def _backbone(
        self, batch: Batch, positions: Tensor, strain: Tensor | None, memory: MemoryPlan, *, with_forces: bool
    ) -> tuple[Geometry, Features]:
        """Geometry and features of positions (N, 3) in Å, with strain (S, 3, 3)."""
        config = self.config
        with torch.autocast(
            positions.device.type, enabled=False
        ):  # cosines in bfloat16 would have two digits
            geometry = batch_geometry(batch, positions, strain, config.backbone, config.policy, self.dtype)
        h = self.embedding(batch.numbers - 1)
        return geometry, self.backbone(batch, geometry, h, memory, with_forces=with_forces)

    def _energies(self, batch: Batch, features: Features, geometry: Geometry, heads: ChosenHeads) -> Tensor:
        """Per-atom energies (N,) in eV, or per-atom outputs (N, ...) of another kind of head."""
        if heads.kind == "vector":
            return self._direct_forces(batch, geometry, features, heads)
        energies = heads.picked(
            [
                self._head_values(batch, features, head) + self._binding_energies(batch, geometry, head)
                for head in heads.configs
            ]
        )
        if self._repulsion is not None and heads.kind == "energy":
            source, target = batch.main.source, batch.main.target
            numbers = batch.numbers[source], batch.numbers[target]
            pairs = self._repulsion(geometry.main.length, *numbers, heads, target)
            energies = energies + segment_sum(pairs, target, batch.n_atoms)
        return energies

    def _head(self, config: HeadConfig) -> Head:
        head = self.heads[config.name]
        assert isinstance(head, Head)
        return head

    def _head_values(self, batch: Batch, features: Features, config: HeadConfig) -> Tensor:
        """One head's outputs per atom (N,), of several classes (N, classes): eV for energies."""
        values = self._head(config).per_atom(features.energy).to(torch.float64)
        if self.config.subtract_lone_atom:
            atoms, lone = values[: batch.n_atoms], values[batch.n_atoms :]
            # The scalar of a lone atom means nothing, so that only energies are counted from it.
            values = atoms - lone.index_select(0, batch.lone_of_atom) if config.kind == "energy" else atoms
        if config.num_classes == 1:
            values = values.squeeze(-1)
        if config.kind != "energy":
            return values
        scale = self._scales[config.name].on(values.device)[0]
        return scale * values + self._references[config.name].on(values.device)[batch.numbers]

    def _binding_energies(self, batch: Batch, geometry: Geometry, config: HeadConfig) -> Tensor | float:
        """The head's binding energy per atom (N,) in eV, as far as each atom is bound."""
        if config.name not in self._binding:
            return 0.0
        main, edges = geometry.main, batch.main
        if config.binding_gate == "bonds":
            radii = self._radii.on(main.length.device)[batch.numbers]
            gate = bond_gate(main.length, main.weight, edges, radii)
        else:
            gate = envelope_gate(main.weight, edges, batch.n_atoms)
        return self._binding[config.name].on(gate.device)[batch.numbers] * gate

    def _reduced(self, batch: Batch, values: Tensor, positions: Tensor, heads: ChosenHeads) -> Tensor:
        """What the structures have (S,), (S, classes) or (S, 3), from the values of their atoms (N, ...)."""
        config = heads.configs[0]
        if config.kind == "energy":
            if batch.n_structures == 1:  # inductor cannot make parallel code of sums into a single segment
                return values.sum(0, keepdim=True)
            return segment_sum(values, batch.structure, batch.n_structures)
        if config.kind == "spatial_extent":
            masses = self._masses.on(values.device)[batch.numbers]
            reduced = spatial_extent(values, positions, masses, batch.structure, batch.n_structures)
        else:
            reduced = reduce_atoms(values, batch.structure, batch.n_structures, config.reduction)
        scalar = config.energy_scale * reduced + config.energy_shift
        if config.references:
            references = self._references[config.name].on(values.device)[batch.numbers]
            scalar = scalar + segment_sum(references, batch.structure, batch.n_structures)
        return scalar

    def _direct_forces(
        self, batch: Batch, geometry: Geometry, features: Features, heads: ChosenHeads
    ) -> Tensor:
        """Outputs of the direct heads in eV/Å (N, 3), each structure's of its own head."""
        if features.forces is None:
            raise ValueError("the direct force branch was not evaluated")
        main = geometry.main.unit, batch.main.target, batch.n_atoms
        return heads.picked(
            [
                self._scales[head.name].on(batch.numbers.device)[1]
                * self._head(head).per_edge_vectors(features.forces, *main).to(torch.float64)
                for head in heads.configs
            ]
        )
