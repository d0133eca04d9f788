"""How far energies and forces may be off: standard deviations from last-layer features or from a committee.

Last layer: an energy is linear in the features that enter the last layer of its head, so that their second
moment over the training data says in which directions the weights are free (Bigi, Chong, Ceriotti, Grasselli,
Mach. Learn.: Sci. Technol. 5, 045018 (2024)); the model file has it, with a scale that makes it right on
held-out frames. Committee: heads of one file that were trained side by side on resampled frames, or several
files; the standard deviation over the members.

Asking for an uncertainty changes no energy and no force: these are those of the one head that is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..machine.forks import evaluating
from ..machine.host_memory import allocation_errors
from ..model.cost import GraphCounts
from ..model.elements import by_number
from ..model.segment import segment_sum
from .results import to_numpy

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.batch import Batch
    from ..graph.build import Graph
    from ..model.config import HeadConfig
    from ..model.potential import Potential
    from ..model.recompute import Recompute
    from ..zoo.knowledge import HeadStatistics, Knowledge

UNCERTAIN = ("energy_std", "forces_std")
"""Properties of a calculator that is asked for an uncertainty: of the energy, eV, and of every component of
the forces, eV/Å."""
EXACT = 32
"""Up to so many last-layer features the deviations of forces are exact, beyond they are sums over so many
random directions."""
HOW = "train them with jmp-calc finetune"


class Source(Protocol):
    """Where standard deviations come from that one network gives itself."""

    few: bool
    """Whether they are of a few members, so that one may be small by chance."""

    def energy_std(self, batch: Batch, features: Tensor) -> Tensor:
        """(S,) eV float64, from the final features (N + L, A)."""
        ...

    def members(self, batch: Batch, features: Tensor) -> Tensor:
        """Energies (K, S) in eV, differentiable in the final features (N + L, A), whose slopes make
        ``spread``."""
        ...

    def spread(self, slopes: Tensor) -> Tensor:
        """Standard deviations (N, 3) from the slopes (K, N, 3) of ``members``."""
        ...


class LastLayer:
    """From the second moment of last-layer features over the training data of a head with F of them."""

    few = False

    def __init__(self, potential: Potential, head: str, statistics: HeadStatistics) -> None:
        self._potential, self._head, self._force_factor = potential, head, statistics.force_factor
        values, vectors = np.linalg.eigh(statistics.covariance)
        root = statistics.scale * vectors / np.sqrt(values.clip(min=0.0) + statistics.regulariser)
        width = len(values)
        directions = root
        if width > EXACT:
            drawn = np.random.default_rng(0).standard_normal((width, EXACT)) / np.sqrt(EXACT)
            directions = root @ drawn
        device = next(potential.parameters()).device
        self._root, self._directions = (torch.from_numpy(x.copy()).to(device) for x in (root, directions))

    def energy_std(self, batch: Batch, features: Tensor) -> Tensor:
        """|f W| with W Wᵀ = scale² (covariance + regulariser)⁻¹: (S,) eV."""
        with torch.no_grad():
            entering = self._potential.last_layer(batch, features, self._head)
        return torch.linalg.vector_norm(entering @ self._root, dim=1)

    def members(self, batch: Batch, features: Tensor) -> Tensor:
        """f W, direction by direction: (K, S) eV."""
        return (self._potential.last_layer(batch, features, self._head) @ self._directions).T

    def spread(self, slopes: Tensor) -> Tensor:
        """Root of the sum of squares of independent directions: (N, 3) eV/Å."""
        return self._force_factor * slopes.square().sum(dim=0).sqrt()


class HeadCommittee:
    """From the K heads of a committee in one file."""

    few = True

    def __init__(self, potential: Potential, heads: Sequence[str], scale: float, force_factor: float) -> None:
        """``scale``: what the deviations are multiplied by to be right on held-out frames; those of forces
        also by ``force_factor``."""
        self._potential, self._heads = potential, tuple(heads)
        self._scale, self._force_factor = scale, force_factor
        device = next(potential.parameters()).device
        configs = [potential.config.head(name) for name in heads]
        self._references, self._binding = (
            torch.from_numpy(_differences(tables)).to(device)
            for tables in ([one.references for one in configs], [one.binding for one in configs])
        )

    def energy_std(self, batch: Batch, features: Tensor) -> Tensor:
        """(S,) eV."""
        with torch.no_grad():
            return self._scale * self.members(batch, features).std(dim=0)

    def members(self, batch: Batch, features: Tensor) -> Tensor:
        """(K, S) eV, but for what all members add alike."""
        own = torch.stack([self._potential.head_energies(batch, features, name) for name in self._heads])
        return own + self._constants(batch)

    def _constants(self, batch: Batch) -> Tensor:
        """How far the constants of the members are from those of the first one: (K, S) eV. Binding energies
        count in full for atoms that have a neighbour: here nothing fades where bonds break."""
        bound = torch.zeros_like(batch.numbers, dtype=torch.float64)
        bound[batch.main.target] = 1.0
        per_atom = self._references[:, batch.numbers] + self._binding[:, batch.numbers] * bound
        return segment_sum(per_atom.T, batch.structure, batch.n_structures).T

    def spread(self, slopes: Tensor) -> Tensor:
        """(N, 3) eV/Å."""
        return self._scale * self._force_factor * slopes.std(dim=0)


def _differences(tables: Sequence[dict[int, float]]) -> np.ndarray:
    """Energies of K tables by atomic number, less those of the first: (K, numbers) eV."""
    rows = np.array([by_number(table) for table in tables])
    return rows - rows[0]


def source_of(
    potential: Potential, head: HeadConfig, knowledge: Knowledge, kind: str, model: str
) -> LastLayer | HeadCommittee:
    """Where the uncertainty of a head comes from; ModelError where its file has not what it takes.

    Args:
        potential: with this head.
        head: an energy head.
        knowledge: of the file.
        kind: last-layer or committee.
        model: name of the file, for messages.
    """
    if kind == "committee":
        names = committee_of(head, [other.name for other in potential.config.heads])
        if len(names) < 2:
            raise ModelError(
                f"Head {head.name!r} of {model} has no committee.",
                hint="name further files with committee=[...] (--committee FILE), train one with jmp-calc "
                "finetune --committee 4, or use uncertainty='last-layer'",
            )
        return HeadCommittee(potential, names, head.committee_scale, head.committee_force_factor)
    statistics = knowledge.heads.get(head.name)
    if statistics is None:
        having = ", ".join(sorted(knowledge.heads)) or "none"
        raise ModelError(
            f"{model} has no statistics of the last layer of head {head.name!r}.",
            where=f"heads that have: {having}",
            hint=f"{HOW}, which writes them where there are validation energies, or name several files",
        )
    return LastLayer(potential, head.name, statistics)


def committee_of(head: HeadConfig, names: Sequence[str]) -> list[str]:
    """The head and its further members among the heads of the file."""
    return [head.name, *(name for name in head.committee if name in names)]


class Member(Protocol):
    """A model that computes."""

    def together(self, structures: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        """Results of structures that fit into one batch."""
        ...


class FileCommittee:
    """From K model files: the one that computes, and others of the same method."""

    def __init__(self, others: Sequence[Member]) -> None:
        self.others = tuple(others)

    def results(
        self, structures: Sequence[Atoms], own: Sequence[dict[str, Any]], *, forces: bool
    ) -> list[dict[str, Any]]:
        """Standard deviations over ``own`` results and those of the others, structure by structure."""
        properties = ("energy", "forces") if forces else ("energy",)
        found = [other.together(structures, properties) for other in self.others]
        rows = []
        for number, mine in enumerate(own):
            all_ = [mine, *(results[number] for results in found)]
            row: dict[str, Any] = {"energy_std": float(np.std([one["energy"] for one in all_], ddof=1))}
            if forces:
                row["forces_std"] = np.std([one["forces"] for one in all_], axis=0, ddof=1)
            rows.append(row)
        return rows


def refuse_other_method(head: HeadConfig, other: HeadConfig | None, model: str) -> None:
    """ModelError for a member of a committee, of the file ``model``, whose labels are by another method: the
    spread would be the difference of the methods. What is not known of either is no difference, nor is a
    head (None) that the first structure decides."""
    if other is None:
        return
    for name in ("functional", "dispersion", "hubbard_u"):
        mine, theirs = (str(getattr(one.theory, name)) for one in (head, other))
        if mine and theirs and mine.lower() != theirs.lower():
            raise ModelError(
                f"Head {other.name!r} of {model} has labels of another method than head {head.name!r}: "
                f"{name} {theirs} and {mine}.",
                hint="name files that were trained on labels of one method",
            )


def deviations(
    potential: Potential,
    source: Source,
    graphs: Sequence[Graph],
    device: torch.device,
    features: Tensor | None,
    plan: Callable[[GraphCounts], Recompute] | None,
) -> list[dict[str, Any]]:
    """``energy_std`` of every structure, and ``forces_std`` where they are asked for.

    Args:
        potential: of the source.
        source: last layer or heads.
        graphs: of S structures.
        device: of the potential.
        features: final features (N + L, A); None, of a compiled network: they are computed here.
        plan: what is recomputed for slopes of a batch of some size; None: no deviations of forces.
    """
    from ..graph.batch import collate

    with (
        evaluating(),
        torch.inference_mode(False),
        torch.autocast(device.type, enabled=False),
        allocation_errors(),
    ):
        batch = collate(graphs, device=device)
        features = potential.final_features(batch) if features is None else features
        energies, spread = to_numpy(source.energy_std(batch, features)), None
        if plan is not None:
            recompute = plan(GraphCounts.of_batch(batch))
            slopes = potential.slopes(batch, partial(source.members, batch), recompute=recompute)
            spread = to_numpy(source.spread(slopes))
    rows, first = list[dict[str, Any]](), 0
    for number, size in enumerate(graph.n_atoms for graph in graphs):
        row: dict[str, Any] = {"energy_std": float(energies[number])}
        if spread is not None:
            row["forces_std"] = spread[first : first + size].copy()
        rows.append(row)
        first += size
    return rows
