"""Edges, memory and time of energy and forces, before anything is evaluated.

    from jmp_calc import estimate
    print(estimate(atoms, "jmp-l").seconds)

The graphs are built as the calculator builds them; of the model file only the description is read. The time
is a sum of what must be done, each divided by how fast this machine does it (``machine.py``), times a
constant of ``TimeConstants``.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .. import checks
from ..arguments import one_structure
from ..errors import UsageError
from ..graph.policy import PolicyName
from ..machine.device import choose_device, choose_dtype, free_memory
from ..machine.speed import Machine, probe_machine
from ..model.cost import GraphCounts, dense_flops, dense_layers, kept_values
from .head_choice import HeadChoice
from .memory import (
    Checkpointing,
    Purpose,
    choose_recompute,
    estimated_bytes,
    expected_counts,
    refuse_if_too_large,
)
from .settings import (
    Elements,
    Settings,
    check_covered,
    check_settings,
    choose_policy,
    dtype_name,
    portable,
    structure_graph,
)

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from ..model.config import BackboneConfig, HeadConfig, ModelConfig
    from ..model.recompute import Recompute

Terms = tuple[float, float, float, float]
MOST_THREADS_PER_CORE = 8
FORWARD_SHARE = 0.45
"""Elementwise work and operations without derivatives, over those with forces (time of energies alone: 0.43
to 0.50)."""


RECOMPUTE_TIME: dict[Recompute, float] = {"nothing": 1.0, "interactions": 1.25, "blocks": 1.6}
"""Time of a memory plan over that of keeping all (benchmarks/memory.py: jmp-s on Si64 and ac-ala5-nhme)."""


@dataclass(frozen=True)
class TimeConstants:
    """Factors on the terms of ``Work.times``, fitted to calls by ``python benchmarks/estimates.py --fit``."""

    dense: float = 1.0
    """1: the dense layers run at the rate of a large product."""
    moved: float = 38.0
    """Bytes moved elementwise, by gathers and by small batched products, over the bytes of the values that
    are kept."""
    weights: float = 5.5
    """Bytes moved per byte of the weights: they are read from memory and packed for the products, twice."""
    layers: float = 4.2
    """Operations over those of the dense layers with their activations."""


CONSTANTS = TimeConstants()


@dataclass(frozen=True)
class Work:
    """What one evaluation has to do: bytes and FLOP, and the number of dense layers."""

    dense_flops: int
    kept_bytes: int
    weight_bytes: int
    layers: float

    @classmethod
    def of(
        cls,
        config: BackboneConfig,
        head: HeadConfig,
        counts: GraphCounts,
        dtype: str,
        *,
        direct: bool = False,
    ) -> Work:
        """The work of energy and forces of a structure, conservative or direct."""
        itemsize, share = 8 if dtype == "float64" else 4, FORWARD_SHARE if direct else 1.0
        layers = dense_layers(config, head, counts, direct=direct)
        kept = itemsize * kept_values(config, counts)
        flops = dense_flops(config, head, counts, derivatives=0 if direct else 1, direct=direct)
        weights = itemsize * sum(layer.n_in * layer.n_out for layer in layers)
        return cls(flops, int(share * kept), weights, share * len(layers))

    def times(self, machine: Machine) -> Terms:
        """Seconds of each term on a machine, in the order of TimeConstants, before its constant."""
        return (
            self.dense_flops / machine.flops,
            self.kept_bytes / machine.bytes_per_s,
            self.weight_bytes / machine.read_bytes_per_s,
            self.layers * machine.layer_s,
        )

    def seconds(self, machine: Machine, constants: TimeConstants = CONSTANTS) -> float:
        """Estimated time of one call."""
        return sum(factor * term for factor, term in zip(dataclasses.astuple(constants), self.times(machine)))


@dataclass(frozen=True, repr=False)
class Estimate:
    """What energy and forces of one structure would take."""

    formula: str
    model: str
    head: str
    device: str
    threads: int
    dtype: str
    forces: str
    counts: GraphCounts
    counted: bool
    """False: more than 100 000 atoms that would not fit anyway; edges are expected from the density, not
    counted."""
    recompute: Recompute
    """Memory plan: what is computed again for the forces."""
    memory_bytes: float
    """Peak of one call, beside the weights."""
    weight_bytes: int
    free_bytes: int | None
    """None: not known."""
    dense_flops: int
    machine: Machine
    seconds: float

    def __repr__(self) -> str:
        free = "?" if self.free_bytes is None else f"{self.free_bytes / 2**30:.3g}"
        needed = (self.memory_bytes + self.weight_bytes) / 2**30
        return (
            f"Estimate({self.formula!r}, {self.model!r}, head={self.head!r}, {self.seconds:.3g} s/step on "
            f"{self.device}, {needed:.3g} of {free} GiB{'' if self.fits else ': does not fit'})"
        )

    @property
    def fits(self) -> bool:
        """Whether a calculator with the model in memory would take the structure."""
        return self.free_bytes is None or self.memory_bytes + self.weight_bytes <= self.free_bytes

    @property
    def atoms_that_fit(self) -> int | None:
        """About how many atoms of such a structure fit into the free memory; None: not known, or an atom
        without edges."""
        if self.free_bytes is None or not self.memory_bytes:
            return None
        return int(self.counts.atoms * max(self.free_bytes - self.weight_bytes, 0) / self.memory_bytes)

    def ns_per_day(self, timestep_fs: float) -> float:
        """Dynamics with one evaluation per step."""
        return 86400.0 / self.seconds * timestep_fs * 1e-6

    def require_fit(self) -> None:
        """OutOfMemoryError where ``fits`` is False."""
        refuse_if_too_large(
            self.counts.atoms, self.counts.main, self.memory_bytes + self.weight_bytes, self.free_bytes
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with what follows from the fields."""
        derived = {
            "fits": self.fits,
            "atoms_that_fit": self.atoms_that_fit,
            "steps_per_s": 1.0 / self.seconds,
        }
        return {**dataclasses.asdict(self), **derived}


def estimate(
    atoms: Atoms,
    model: str | os.PathLike[str],
    *,
    head: str | None = Settings.head,
    device: str | torch.device = Settings.device,
    dtype: str | torch.dtype = Settings.dtype,
    forces: Literal["conservative", "direct"] = Settings.forces,
    graph: PolicyName | None = Settings.graph,
    cutoff: float | None = Settings.cutoff,
    max_neighbors: int | None = Settings.max_neighbors,
    tags: Literal["atoms"] | None = Settings.tags,
    elements: Elements = Settings.elements,
    activation_checkpointing: Checkpointing = Settings.activation_checkpointing,
    threads: int | None = None,
) -> Estimate:
    """Edges, memory and time of energy and forces of ``atoms``; nothing is evaluated, fetched or kept.

    Args:
        atoms: structure of any size and periodicity; it needs no calculator.
        model: name (jmp-xs, jmp-s, jmp-l), or path of a .safetensors file of ours or of an official .pt file.
        head: output of the model, by name; the file's default head if none is given. Default: None.
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the network, float32 or float64. Default: "float32".
        forces: conservative (gradient of the energy) or direct (an output of its own, which only some
            official heads have). Default: "conservative".
        graph: graph policy, official or smooth; the file's if none is given. Default: None.
        cutoff: cutoff of the main graph, Å; that of the head or the file if none is given. Default: None.
        max_neighbors: most neighbours of an atom; the file's numbers if none is given. Default: None.
        tags: "atoms" reads atoms.get_tags() (0 sub-surface, 1 surface, 2 adsorbate); with None all atoms
            count as 2. Default: None.
        elements: elements that are accepted: "trained", those that the head was trained on, or "any", with a
            warning: to compare with other code, for what it gives there is arbitrary. Default: "trained".
        activation_checkpointing: "on" keeps little for the forces and computes it again, "off" keeps all,
            "auto" keeps what the free memory allows. Default: "auto".
        threads: CPU threads; as many as torch uses now if no number is given. Default: None.

    Returns:
        Estimate; a structure that would not fit is no error here, see ``Estimate.fits``.

    Raises:
        UsageError: a setting that is none of its choices, threads far beyond the cores.
        ModelError: no such model or head, or elements that the head was not trained on.
        BadStructureError: a structure that no model can evaluate.
    """
    atoms = one_structure(atoms)
    settings = Settings(
        model=portable(model),
        head=head,
        device=str(device),
        dtype=dtype_name(dtype),
        forces=forces,
        graph=graph,
        cutoff=cutoff,
        max_neighbors=max_neighbors,
        tags=tags,
        elements=elements,
        activation_checkpointing=activation_checkpointing,
    )
    check_settings(settings)
    _check_threads(threads)
    return _estimated(atoms, settings, threads)


def _estimated(atoms: Atoms, settings: Settings, threads: int | None) -> Estimate:
    """The estimate for checked settings."""
    place, precision = choose_device(settings.device), choose_dtype(settings.dtype)
    name, head, config = _model_of(settings, atoms)
    checks.check_atoms(atoms, num_elements=config.backbone.num_elements)
    if settings.elements == "trained":
        check_covered(config, head, atoms.numbers, name)
    free, size, direct = free_memory(place), precision.itemsize, settings.forces == "direct"
    counts, counted = _counts(atoms, config, size, free)
    work = Work.of(config.backbone, head, counts, settings.dtype, direct=direct)
    used, machine = _probe(place, precision, threads)
    purpose: Purpose = "energy" if direct else "forces"
    checkpointing = settings.activation_checkpointing
    recompute: Recompute = "nothing"
    if not direct:
        recompute = choose_recompute(config, counts, size, purpose, checkpointing, place)
    return Estimate(
        formula=atoms.get_chemical_formula(),
        model=name,
        head=head.name,
        device=str(place),
        threads=used,
        dtype=settings.dtype,
        forces=settings.forces,
        counts=counts,
        counted=counted,
        recompute=recompute,
        memory_bytes=estimated_bytes(config, counts, size, purpose, recompute),
        weight_bytes=work.weight_bytes,
        free_bytes=free,
        dense_flops=work.dense_flops,
        machine=machine,
        seconds=RECOMPUTE_TIME[recompute] * work.seconds(machine),
    )


def _model_of(settings: Settings, atoms: Atoms) -> tuple[str, HeadConfig, ModelConfig]:
    """Name, head for this structure, and configuration of the model asked for; its weights are not read."""
    from ..zoo.describe import describe_file
    from ..zoo.names import locate

    found = locate(settings.model, may_fetch=False)
    facts = describe_file(found.path, official=found.official)
    config, card = facts.config, facts.card
    head = HeadChoice(config, settings, "energy").candidate(atoms)
    config = dataclasses.replace(config, policy=choose_policy(config, head, settings))
    return found.name or card.name, head, config


def _counts(atoms: Atoms, config: ModelConfig, itemsize: int, free: int | None) -> tuple[GraphCounts, bool]:
    """Edges of the real graphs; of very many atoms that would not fit anyway, those that the density lets
    expect."""
    if len(atoms) > checks.MANY_ATOMS:
        expected = expected_counts(atoms, config.policy)
        if free is None or estimated_bytes(config, expected, itemsize, "forces", "blocks") > free:
            return expected, False
    return GraphCounts.of(structure_graph(atoms, config)), True


def _check_threads(threads: int | None) -> None:
    """UsageError for numbers of threads that torch would crash with."""
    cores = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= MOST_THREADS_PER_CORE * cores:
        raise UsageError(
            f"threads={threads} on {cores} CPU cores.", hint=f"give 1 to {cores}, or leave it out"
        )


def _probe(device: torch.device, dtype: torch.dtype, threads: int | None) -> tuple[int, Machine]:
    """The probes on ``threads`` threads; torch's own number is the same afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return threads or before, probe_machine(device, dtype)
    finally:
        torch.set_num_threads(before)
