"""A complete model: embedding, backbone, heads and energy references, from a batch to energies and forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.batch import Batch, Edges, collate
from ..graph.build import build_graph
from .bases import AngularBasis
from .config import HeadConfig, HeadKind, ModelConfig
from .elements import ATOMIC_MASSES
from .envelopes import smooth_step
from .gemnet_oc import Features, GemNetOC
from .geometry import Geometry, batch_geometry
from .heads import Head, reduce_atoms, spatial_extent
from .layers import Linear, Prepared, he_orthogonal_
from .recompute import Memory, Recompute
from .repulsion import PairRepulsion
from .scaling import observed, scale_factors
from .segment import segment_sum
from .shapes import shapes_only
from .tables import Float64Table

Forces = Literal["conservative", "direct", "none"]
Layer = int | Literal["final"]
"""Where atom features are taken: after an interaction block, counted from 1, or what the heads read."""


@dataclass(frozen=True)
class Prediction:
    """Results of a batch: S structures, N atoms.

    energy (S,) eV float64 (other kinds: label units, (S,), logits (S, classes) or vectors (S, 3)); energies
    (N,) eV float64, or what a structure's output is summed from; forces (N, 3) eV/Å; stress (S, 3, 3) eV/Å³,
    ASE's sign (positive: tension). NaN stress: a cell without volume.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor | None
    stress: Tensor | None


FULLY_BOUND = 0.5
"""Sum of the main envelopes of an atom from which on its binding energy is complete (one neighbour at half
the cutoff)."""


class Potential(nn.Module):
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
        self._references = {head.name: Float64Table(_by_number(head.references)) for head in config.heads}
        self._binding = {
            head.name: Float64Table(_by_number(head.binding)) for head in config.heads if head.binding
        }
        self._masses = Float64Table(ATOMIC_MASSES)
        self._repulsion = PairRepulsion() if config.pair_repulsion else None
        self._initialise()

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network; positions, energies and references are always float64."""
        return self.embedding.weight.dtype

    def forward(
        self,
        batch: Batch,
        *,
        heads: str | Sequence[str],
        forces: Forces = "conservative",
        stress: bool = False,
        create_graph: bool = False,
        recompute: Recompute = "nothing",
    ) -> Prediction:
        """Evaluate a batch with one head, or with one energy head per structure.

        Args:
            batch: structures.
            heads: a head name, or one name per structure.
            forces: -dE/dx, the direct head, or none.
            stress: also dE/dε per volume (conservative only).
            create_graph: keep the graph of the derivatives, for training through forces.
            recompute: what is computed again for derivatives instead of being kept; the result is the same.
        """
        differentiate = forces == "conservative" or stress
        positions = batch.positions.detach()
        strain = torch.zeros_like(batch.cell) if stress else None
        memory = Memory(recompute, random=self.training and self.config.backbone.dropout > 0)
        with torch.set_grad_enabled(differentiate or torch.is_grad_enabled()):
            if differentiate:
                positions = positions.requires_grad_(True)
            if strain is not None:
                strain.requires_grad_(True)
            with_forces = forces == "direct" or self._kind(heads) == "vector"
            geometry, features = self._features(batch, positions, strain, memory, with_forces=with_forces)
            energies = self._energies(batch, features, geometry, heads)
            energy = self._reduced(batch, energies, positions, heads)
            memory.without_weights = True
            gradients = (
                self._gradients(energy, positions, strain, create_graph) if differentiate else (None, None)
            )
            memory.without_weights = False
        result_forces, result_stress = gradients
        if forces == "direct":
            result_forces = self._direct_forces(batch, geometry, features, heads)
        if result_stress is not None:
            a, b, c = batch.cell.unbind(1)
            volume = (torch.linalg.cross(a, b) * c).sum(-1).abs().view(-1, 1, 1)
            has_volume = volume > 0  # divided by 1 elsewhere: a NaN factor would reach the gradients of all
            result_stress = torch.where(
                has_volume, result_stress / torch.where(has_volume, volume, 1.0), torch.nan
            )
        wanted = result_forces if forces != "none" else None
        return Prediction(energy, energies, wanted, result_stress)

    def descriptors(self, batch: Batch, layer: Layer) -> Tensor:
        """Invariant features of every atom (N, A), without gradients: h after interaction block ``layer``, or
        the final xE."""
        with torch.no_grad():
            _, features = self._backbone(batch, batch.positions, None, Memory(), with_forces=False)
        return features.energy if layer == "final" else features.atoms[layer - 1].tensor()

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
                        self._backbone(batch, batch.positions, None, Memory(), with_forces=branch)
                factor.scale_factor.fill_(ratio.value())
        self.train(training)

    def shared_parameters(self) -> list[tuple[Tensor, int]]:
        """Parameters that several blocks use, with the number of uses (``training.md`` section 9)."""
        bases, blocks = self.backbone.bases, self.config.backbone.num_blocks
        per_block = [(parameter, blocks) for parameter in bases.uses_per_block()]
        return [*per_block, (bases.mlp_rbf_out.linear.weight, blocks + 1)]

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
            self._backbone(batch, batch.positions, None, Memory(), with_forces=direct)

    @classmethod
    def from_state(cls, config: ModelConfig, state: dict[str, Tensor]) -> Potential:
        """A network that owns the tensors of ``state``: no random start, no second copy of the weights."""
        with shapes_only():
            potential = cls(config)
        potential.load_state_dict(state, assign=True)
        for parameter in potential.parameters():
            parameter.requires_grad_(True)
        return potential

    def with_new_head(self, head: HeadConfig, kept: Sequence[str], init_from: str | None = None) -> Potential:
        """A copy with a new head, which is its default, beside the ``kept`` ones.

        The new head has new weights or those of an old one of the same shape, ``init_from``; that one may
        have its name, or go.
        """
        state = {name: value.detach() for name, value in self.state_dict().items()}
        backbone, others = self.config.backbone, tuple(f"heads.{name}." for name in kept)
        if init_from is None:
            fresh = Head(head, backbone.emb_size_atom, backbone.emb_size_edge).to(self.embedding.weight)
            own = fresh.state_dict()
        else:
            old = f"heads.{init_from}."
            own = {name.removeprefix(old): value for name, value in state.items() if name.startswith(old)}
        state = {
            name: value
            for name, value in state.items()
            if not name.startswith("heads.") or name.startswith(others)
        }
        state |= {f"heads.{head.name}.{name}": value for name, value in own.items()}
        return Potential.from_state(
            self.config.with_new_head(head, kept), {name: value.clone() for name, value in state.items()}
        )

    def with_heads(self, names: Sequence[str], default: str | None) -> Potential:
        """A copy that has only the named heads."""
        kept = tuple(self.config.head(name) for name in names)
        dropped = tuple(f"heads.{head.name}." for head in self.config.heads if head.name not in names)
        state = {name: value for name, value in self._cloned_state().items() if not name.startswith(dropped)}
        return Potential.from_state(replace(self.config, heads=kept, default_head=default), state)

    def with_config(self, config: ModelConfig) -> Potential:
        """A copy with the same weights under another graph policy or other head descriptions."""
        return Potential.from_state(config, self._cloned_state())

    def __deepcopy__(self, memo: dict[int, object]) -> Potential:
        duplicate = Potential.from_state(self.config, self._cloned_state())
        for mine, theirs in zip(self.parameters(), duplicate.parameters()):
            theirs.requires_grad_(mine.requires_grad)
        return duplicate.train(self.training)

    def _cloned_state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight)
        for module in self.backbone.modules():
            if isinstance(module, Linear | AngularBasis):
                he_orthogonal_(module.weight)

    def _features(
        self, batch: Batch, positions: Tensor, strain: Tensor | None, memory: Memory, *, with_forces: bool
    ) -> tuple[Geometry, Features]:
        if self.config.subtract_lone_atom:
            batch = with_lone_atoms(batch)
        return self._backbone(batch, positions, strain, memory, with_forces=with_forces)

    def _backbone(
        self, batch: Batch, positions: Tensor, strain: Tensor | None, memory: Memory, *, with_forces: bool
    ) -> tuple[Geometry, Features]:
        config = self.config
        with torch.autocast(
            positions.device.type, enabled=False
        ):  # cosines in bfloat16 would have two digits
            geometry = batch_geometry(batch, positions, strain, config.backbone, config.policy, self.dtype)
        h = self.embedding(batch.numbers - 1)
        return geometry, self.backbone(batch, geometry, h, memory, with_forces=with_forces)

    def _energies(
        self, batch: Batch, features: Features, geometry: Geometry, heads: str | Sequence[str]
    ) -> Tensor:
        """Per-atom energies in eV (N,), or per-atom outputs of another kind of head."""
        names = [heads] if isinstance(heads, str) else list(dict.fromkeys(heads))
        if self._kind(heads) == "vector":
            return self._direct_forces(batch, geometry, features, heads)
        values = [
            self._head_values(batch, features, name) + self._binding_energies(batch, geometry, name)
            for name in names
        ]
        if len(names) == 1:
            energies = values[0]
        else:
            energies = torch.stack(values).gather(0, _choice(names, heads, batch).unsqueeze(0)).squeeze(0)
        if self._repulsion is not None and self.config.head(names[0]).kind == "energy":
            source, target = batch.main.source, batch.main.target
            pairs = self._repulsion(geometry.main.length, batch.numbers[source], batch.numbers[target])
            energies = energies + segment_sum(pairs, target, batch.n_atoms)
        return energies

    def _kind(self, heads: str | Sequence[str]) -> HeadKind:
        """What the heads of a batch give; they are all of one kind."""
        return self.config.head(heads if isinstance(heads, str) else heads[0]).kind

    def _head(self, name: str) -> Head:
        head = self.heads[name]
        assert isinstance(head, Head)
        return head

    def _head_values(self, batch: Batch, features: Features, name: str) -> Tensor:
        config = self.config.head(name)
        values = self._head(name).per_atom(features.energy).to(torch.float64)
        if self.config.subtract_lone_atom:
            atoms, lone = values[: batch.n_atoms], values[batch.n_atoms :]
            # The scalar of a lone atom means nothing, so that only energies are counted from it.
            values = atoms - lone.index_select(0, batch.lone_of_atom) if config.kind == "energy" else atoms
        if config.num_classes == 1:
            values = values.squeeze(-1)
        if config.kind != "energy":
            return values
        return config.energy_scale * values + self._references[name].on(values.device)[batch.numbers]

    def _binding_energies(self, batch: Batch, geometry: Geometry, name: str) -> Tensor | float:
        """The head's binding energy per atom (N,), faded with the number of neighbours within the main
        cutoff."""
        if name not in self._binding:
            return 0.0
        neighbours = segment_sum(geometry.main.weight.to(torch.float64), batch.main.target, batch.n_atoms)
        return self._binding[name].on(neighbours.device)[batch.numbers] * smooth_step(
            neighbours / FULLY_BOUND
        )

    def _reduced(self, batch: Batch, values: Tensor, positions: Tensor, heads: str | Sequence[str]) -> Tensor:
        config = self.config.head(heads if isinstance(heads, str) else heads[0])
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

    @staticmethod
    def _gradients(
        energy: Tensor, positions: Tensor, strain: Tensor | None, create_graph: bool
    ) -> tuple[Tensor, Tensor | None]:
        inputs = [positions] if strain is None else [positions, strain]
        if not energy.requires_grad:  # only lone atoms: nothing depends on positions
            return torch.zeros_like(positions), None if strain is None else torch.zeros_like(strain)
        gradients = torch.autograd.grad(
            energy.sum(), inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
        virial = None if strain is None else 0.5 * (gradients[1] + gradients[1].transpose(1, 2))
        return -gradients[0], virial

    def _direct_forces(
        self, batch: Batch, geometry: Geometry, features: Features, heads: str | Sequence[str]
    ) -> Tensor:
        """Outputs of the direct heads in eV/Å (N, 3), each structure's of its own head."""
        if features.forces is None:
            raise ValueError("the direct force branch was not evaluated")
        names = [heads] if isinstance(heads, str) else list(dict.fromkeys(heads))
        main = geometry.main.unit, batch.main.target, batch.n_atoms
        values = [
            self.config.head(name).force_scale
            * self._head(name).per_edge_vectors(features.forces, *main).to(torch.float64)
            for name in names
        ]
        if len(names) == 1:
            return values[0]
        per_atom = _choice(names, heads, batch)
        return torch.stack(values).gather(0, per_atom[None, :, None].expand(1, -1, 3)).squeeze(0)


def _choice(names: Sequence[str], heads: Sequence[str], batch: Batch) -> Tensor:
    """(N,) number in ``names`` of the head of every atom; ``heads`` has the name of every structure's."""
    return torch.tensor([names.index(name) for name in heads], device=batch.numbers.device)[batch.structure]


def with_lone_atoms(batch: Batch) -> Batch:
    """The batch with one atom without edges appended for every element that occurs, in no structure."""
    extra = batch.lone_numbers.shape[0]

    def pad(slots: Tensor, value: int) -> Tensor:
        return torch.cat([slots, slots.new_full((extra, *slots.shape[1:]), value)])

    def extend(edges: Edges) -> Edges:
        return replace(edges, slots=pad(edges.slots, edges.count))

    main = extend(batch.main)
    nothing = batch.qint.count * batch.main.slots.shape[1]
    return replace(
        batch,
        numbers=torch.cat([batch.numbers, batch.lone_numbers]),
        main=main,
        a2a=extend(batch.a2a),
        a2ee2a=main if batch.a2ee2a is batch.main else extend(batch.a2ee2a),
        qint=extend(batch.qint),
        triangle=pad(batch.triangle, nothing),
    )


def _by_number(energies: dict[int, float]) -> list[float]:
    return [energies.get(number, 0.0) for number in range(len(ATOMIC_MASSES))]
