"""Typed description of a model: backbone sizes, graph policy, heads. Stored as JSON in model files.

Sizes and names follow ``gemnet_oc.md`` section 2; nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

HeadKind = Literal["energy", "scalar", "binary", "multiclass", "vector", "spatial_extent"]
Reduction = Literal["sum", "mean", "max"]
PolicyName = Literal["official", "smooth"]


@dataclass(frozen=True)
class BackboneConfig:
    """GemNet-OC hyperparameters (``gemnet_oc.md`` section 2); the defaults are those of JMP-S."""

    num_spherical: int = 7
    num_radial: int = 128
    num_blocks: int = 4
    emb_size_atom: int = 256
    emb_size_edge: int = 512
    emb_size_trip_in: int = 64
    emb_size_trip_out: int = 64
    emb_size_quad_in: int = 32
    emb_size_quad_out: int = 32
    emb_size_aint_in: int = 64
    emb_size_aint_out: int = 64
    emb_size_rbf: int = 16
    emb_size_cbf: int = 16
    emb_size_sbf: int = 32
    num_before_skip: int = 2
    num_after_skip: int = 2
    num_concat: int = 1
    num_atom: int = 3
    num_output_afteratom: int = 3
    num_atom_emb_layers: int = 2
    num_global_out_layers: int = 2
    num_elements: int = 120
    envelope_exponent: int = 5
    radial_cutoff: float = 12.0
    """absolute_rbf_cutoff in Å: the length that scales distances in every radial basis."""
    qint_tags: tuple[int, ...] = (1, 2)
    quad_interaction: bool = True
    """Whether blocks have the quadruplet interaction (JMP: always; off in jmp-xs, where it doubles the cost)."""
    force_branch: bool = True
    """Whether the edge features xF for direct forces exist (official: regress_forces)."""
    dropout: float = 0.0
    """Share of the features that each dense layer of the atom updates (in interaction and output blocks) loses in training."""


@dataclass(frozen=True)
class FewerNeighbors:
    """A smaller n for large structures (``training.md`` section 19)."""

    above: int
    """It holds for structures of more atoms than this."""
    max_neighbors: int


CONDITIONAL_NEIGHBORS = (FewerNeighbors(200, 10), FewerNeighbors(300, 5))
"""Of the published runs on QMOF and MatBench: 30 neighbours up to 200 atoms, 10 up to 300, 5 above."""


@dataclass(frozen=True)
class GraphPolicy:
    """How the four graphs are chosen (docs/smooth.md; ``gemnet_oc.md`` section 3).

    ``official``: nearest-neighbour ranks and hard cutoffs as published; ``max_neighbors`` is the n of
    section 3.3 and ``cutoff`` holds for all four graphs.
    ``smooth``: no ranks; every graph has its own C3 envelope that vanishes at its own cutoff (fixed), or at
    a smooth per-atom cutoff that keeps about ``adaptive_neighbors`` neighbours (adaptive).
    """

    name: PolicyName = "official"
    cutoff: float = 12.0
    """official: all four graphs, Å; smooth: the main graph."""
    max_neighbors: int = 30
    """official: n of from_goc_base_proportions(n); smooth: used only by the adaptive form (n, 2n/3, 4n/15)."""
    fewer_neighbors: tuple[FewerNeighbors, ...] = ()
    """Smaller n of large structures, wherever ``max_neighbors`` is used. With it energies are not extensive: a supercell
    may have another n than its cell."""
    a2a_cutoff: float = 12.0
    a2ee2a_cutoff: float = 12.0
    qint_cutoff: float = 12.0
    """smooth: cutoffs of the three other graphs, Å (official ignores them)."""
    adaptive: bool = False
    """smooth only: per-atom adaptive cutoffs instead of fixed ones."""
    taper: float = 1.0
    """smooth only: share of a cutoff over which its envelope falls from 1 to 0 (1: over the whole range)."""
    collinear_width: float = 0.0
    """smooth only: 0 weights Fourier mode m by (|u||v|)^m; > 0 tapers the official basis to zero where the sine
    of the angle is below this width (for official weights)."""
    tags: Literal["ignore", "atoms"] = "ignore"

    def neighbors_of(self, n_atoms: int) -> int:
        """n for a structure of ``n_atoms`` atoms."""
        return min([self.max_neighbors, *(fewer.max_neighbors for fewer in self.fewer_neighbors if n_atoms > fewer.above)])


@dataclass(frozen=True)
class HeadConfig:
    """One output of a model: its network, its units, and where it may be used."""

    name: str
    kind: HeadKind = "energy"
    reduction: Reduction = "sum"
    hidden: int = 256
    """Width of the hidden layers (input width = backbone features)."""
    num_layers: int = 5
    bias: bool = True
    """Bias in the hidden layers (fine-tuned official energy heads have none)."""
    num_classes: int = 1
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the outputs (of a binary head: of no and yes); empty: not known."""
    direct_forces: bool = False
    target: str | None = None
    """Key of the scalar, class or vector in the training data; None: an energy, or not known."""
    energy_scale: float = 1.0
    """eV per unit of the network output (for other kinds: label units)."""
    energy_shift: float = 0.0
    """Constant per structure, in label units (scalar kinds only; an energy shift would not be extensive)."""
    force_scale: float = 1.0
    """eV/Å per unit of the direct force output (of a vector head: label units)."""
    unit: str = "eV"
    level_of_theory: str = "unknown"
    elements: tuple[int, ...] | None = None
    """Atomic numbers this head was trained on; None: not known."""
    references: dict[int, float] = field(default_factory=dict)
    """Energy in eV of the isolated atom or linear reference, by atomic number; empty: no absolute reference. Of a scalar:
    label units, summed over the atoms whatever the reduction."""
    reference_kind: Literal["none", "isolated_atoms", "least_squares"] = "none"
    binding: dict[int, float] = field(default_factory=dict)
    """eV by atomic number that an atom with neighbours has beside the network; fades smoothly to 0 for a lone atom. It
    lets a head with isolated atoms as references start from weights that were trained with other references."""
    cutoff: float | None = None
    """Cutoff that this head means under the official policy (8 Å for ani1x/transition1x), Å."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a Potential, in order: network, graphs, heads, options of our own files."""

    backbone: BackboneConfig
    policy: GraphPolicy
    heads: tuple[HeadConfig, ...]
    default_head: str | None = None
    subtract_lone_atom: bool = False
    """Subtract the network's output for a lone atom, so that isolated atoms have their reference energy."""
    pair_repulsion: bool = False
    """Add a ZBL pair repulsion faded out before the sum of covalent radii."""

    def head(self, name: str) -> HeadConfig:
        """The head called ``name``; KeyError if there is none."""
        return {head.name: head for head in self.heads}[name]

    def with_new_head(self, head: HeadConfig, kept: Sequence[str]) -> ModelConfig:
        """The same network with a new head, which is its default, beside the ``kept`` ones."""
        heads = (*(self.head(name) for name in kept), head)
        return dataclasses.replace(self, heads=heads, default_head=head.name)


JMP_S = BackboneConfig()
JMP_L = BackboneConfig(
    num_blocks=6, emb_size_edge=1024, emb_size_trip_out=128, emb_size_quad_in=64, emb_size_rbf=32,
    emb_size_sbf=64, num_concat=4,
)

JMP_XS = BackboneConfig(
    num_spherical=4, num_radial=32, num_blocks=2, emb_size_atom=64, emb_size_edge=64, emb_size_trip_in=16,
    emb_size_trip_out=32, emb_size_aint_in=16, emb_size_aint_out=32, emb_size_rbf=16, emb_size_cbf=8,
    num_before_skip=1, num_after_skip=1, num_concat=1, num_atom=1, num_output_afteratom=1, num_atom_emb_layers=1,
    num_global_out_layers=1, radial_cutoff=6.0, quad_interaction=False, force_branch=False,
)
JMP_XS_POLICY = GraphPolicy(name="smooth", cutoff=5.0, a2a_cutoff=6.0, a2ee2a_cutoff=5.0, qint_cutoff=0.0)
"""Network and graphs of the bundled jmp-xs (training/recipes/jmp_xs.toml): below 1 M weights and 3 MFLOP per main edge.
Without quadruplets: at equal time it learns better from twice the steps (benchmarks/xs_architecture.py)."""


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON-ready dict of any configuration dataclass of this module."""
    return dataclasses.asdict(config)


def model_config_from_dict(data: dict[str, Any]) -> ModelConfig:
    """Inverse of to_dict for ModelConfig; unknown or missing keys raise TypeError naming them."""
    heads = []
    for head in data["heads"]:
        head = dict(head)
        for table in ("references", "binding"):
            head[table] = {int(z): float(e) for z, e in head.get(table, {}).items()}
        if head.get("elements") is not None:
            head["elements"] = tuple(head["elements"])
        head["classes"] = tuple(head.get("classes", ()))
        heads.append(HeadConfig(**head))
    backbone = dict(data["backbone"])
    backbone["qint_tags"] = tuple(backbone["qint_tags"])
    policy = dict(data["policy"])
    policy["fewer_neighbors"] = tuple(FewerNeighbors(**fewer) for fewer in policy.get("fewer_neighbors", ()))
    rest = {k: v for k, v in data.items() if k not in ("backbone", "policy", "heads")}
    return ModelConfig(backbone=BackboneConfig(**backbone), policy=GraphPolicy(**policy), heads=tuple(heads), **rest)
