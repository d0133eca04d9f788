"""Typed description of a model: backbone sizes, graph policy, heads. Stored as JSON in model files.

Sizes and names follow ``gemnet_oc.md`` section 2; nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..graph.policy import FewerNeighbors, GraphPolicy

REFERENCE_TEXT = {
    "none": "no atomic reference: energies have an arbitrary zero per element; "
    "formation, cohesive and adsorption energies cannot be computed",
    "isolated_atoms": "isolated atoms",
    "least_squares": "linear reference fitted to the training data",
}


UNTOLD_LEVEL = "as in the training data"
"""Level of theory of a fine-tuned head about which nothing was said."""
Domain = Literal["molecules", "crystals", "surfaces", "liquids"]
"""What the training data of a head are structures of."""
ReferenceKind = Literal["none", "isolated_atoms", "least_squares"]
StructureKind = Literal["molecules", "periodic"]
"""What decides for a default head: a structure with any periodic direction is periodic."""
HeadKind = Literal["energy", "scalar", "binary", "multiclass", "vector", "spatial_extent"]
Reduction = Literal["sum", "mean", "max"]
BindingGate = Literal["bonds", "envelope"]


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
    """Whether blocks have the quadruplet interaction (JMP: always; off in jmp-xs, where it doubles the
    cost)."""
    force_branch: bool = True
    """Whether the edge features xF for direct forces exist (official: regress_forces)."""
    dropout: float = 0.0
    """Share of the features that each dense layer of the atom updates (in interaction and output blocks)
    loses in training."""


@dataclass(frozen=True)
class Theory:
    """How the labels of a head were calculated, in the words of its field; empty: not known."""

    functional: str = ""
    """Such as PBE, ωB97X, GFN2-xTB."""
    basis: str = ""
    """Such as 6-31G(d), plane waves 520 eV."""
    dispersion: str = ""
    """Such as D3(BJ), or none."""
    spin: str = ""
    """Such as restricted, collinear."""
    hubbard_u: str = ""
    """Such as Materials Project, or none."""


@dataclass(frozen=True)
class DomainErrors:
    """Errors of a head on held-out frames of one domain; forces by component."""

    domain: Domain
    frames: int
    """Frames with forces."""
    forces_mae_mev_per_a: float
    mean_force_mev_per_a: float
    """Mean size of a component of the labels: the error of a head that always says zero."""
    forces_correlation: float | None = None
    """Of predictions and labels (Pearson); None: one of them does not vary."""
    energy_mae_mev_per_atom: float | None = None


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
    """Names of the classes, in the order of the outputs (of a binary head: of no and yes); empty: not
    known."""
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
    """In one line, for people."""
    theory: Theory = Theory()
    """The same in fields."""
    domain: tuple[Domain, ...] = ()
    """What its training data are structures of; empty: not known."""
    elements: tuple[int, ...] | None = None
    """Atomic numbers this head was trained on; None: not known."""
    references: dict[int, float] = field(default_factory=dict)
    """Energy in eV of the isolated atom or linear reference, by atomic number; empty: no absolute reference.
    Of a scalar: label units, summed over the atoms whatever the reduction."""
    reference_kind: ReferenceKind = "none"
    binding: dict[int, float] = field(default_factory=dict)
    """eV by atomic number that a bound atom has beside the network, and a lone one has not: a head whose
    references are energies of lone atoms starts with the right mean energies."""
    binding_gate: BindingGate = "envelope"
    """What counts as bound: ``bonds`` nearer than 1.2 to 1.8 sums of covalent radii, or the ``envelope`` of
    files of format version 1 (``binding.py``)."""
    pairs: dict[str, float] | None = None
    """Shortest distance in Å of every pair of elements within the cutoff in the training data, by names such
    as H-C in the order of atomic numbers (``elements.pair_name``); None: not known (format version 1)."""
    errors: tuple[DomainErrors, ...] = ()
    """On held-out frames, by domain; empty: not known."""
    cutoff: float | None = None
    """Cutoff that this head means under the official policy (8 Å for ani1x/transition1x), Å."""
    committee: tuple[str, ...] = ()
    """Other heads of the file that were trained with this one on resampled frames: their spread is its
    uncertainty."""
    committee_scale: float = 1.0
    """What that spread is multiplied by to be right on held-out frames,"""
    committee_force_factor: float = 1.0
    """and that of forces once more."""


@dataclass(frozen=True)
class DefaultHeads:
    """The heads that are taken where none is named, by what the first structure is."""

    molecules: str
    """For structures without a periodic direction."""
    periodic: str
    """For all others."""

    def of(self, kind: StructureKind) -> str:
        """The head for structures of this kind."""
        return self.molecules if kind == "molecules" else self.periodic


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a Potential, in order: network, graphs, heads, options of our own files."""

    backbone: BackboneConfig
    policy: GraphPolicy
    heads: tuple[HeadConfig, ...]
    default_head: str | None = None
    """The head that is taken where none is named, for every structure."""
    default_heads: DefaultHeads | None = None
    """Instead of it: one for molecules and one for periodic structures."""
    head_aliases: dict[str, str] = field(default_factory=dict)
    """Present names of heads that once had another name, by the old one."""
    subtract_lone_atom: bool = False
    """Subtract the network's output for a lone atom, so that isolated atoms have their reference energy."""
    pair_repulsion: bool = False
    """Add a ZBL pair repulsion that ends where the training data of a pair begin (``repulsion.py``)."""

    def head(self, name: str) -> HeadConfig:
        """The head called ``name``; KeyError if there is none."""
        return {head.name: head for head in self.heads}[name]

    def present_name(self, name: str) -> str:
        """What the head with this name is called now."""
        return self.head_aliases.get(name, name)

    def with_new_head(self, head: HeadConfig, kept: Sequence[str]) -> ModelConfig:
        """The same network with a new head, which is its default, beside the ``kept`` ones. These lose what
        was measured with the network before: errors, and committees with their scales."""
        old = (
            dataclasses.replace(
                self.head(name), errors=(), committee=(), committee_scale=1.0, committee_force_factor=1.0
            )
            for name in kept
        )
        return self.with_heads((*old, head), head.name)

    def with_heads(self, heads: Iterable[HeadConfig], default: str | DefaultHeads | None) -> ModelConfig:
        """The same network with these heads and defaults; old names of heads that it lost are forgotten."""
        heads = tuple(heads)
        names = {head.name for head in heads}
        heads = tuple(
            dataclasses.replace(head, committee=tuple(other for other in head.committee if other in names))
            for head in heads
        )
        aliases = {old: new for old, new in self.head_aliases.items() if new in names and old not in names}
        by_kind = default if isinstance(default, DefaultHeads) else None
        return dataclasses.replace(
            self,
            heads=heads,
            default_head=default if isinstance(default, str) else None,
            default_heads=by_kind,
            head_aliases=aliases,
        )


JMP_S = BackboneConfig()
JMP_L = BackboneConfig(
    num_blocks=6,
    emb_size_edge=1024,
    emb_size_trip_out=128,
    emb_size_quad_in=64,
    emb_size_rbf=32,
    emb_size_sbf=64,
    num_concat=4,
)

JMP_XS = BackboneConfig(
    num_spherical=4,
    num_radial=32,
    num_blocks=2,
    emb_size_atom=96,
    emb_size_edge=96,
    emb_size_trip_in=16,
    emb_size_trip_out=32,
    emb_size_aint_in=16,
    emb_size_aint_out=32,
    emb_size_rbf=16,
    emb_size_cbf=8,
    num_before_skip=1,
    num_after_skip=1,
    num_concat=1,
    num_atom=1,
    num_output_afteratom=1,
    num_atom_emb_layers=1,
    num_global_out_layers=1,
    radial_cutoff=6.0,
    quad_interaction=False,
    force_branch=False,
)
JMP_XS_POLICY = GraphPolicy(name="smooth", cutoff=5.0, a2a_cutoff=6.0, a2ee2a_cutoff=5.0, qint_cutoff=0.0)
"""Network and graphs of a new jmp-xs (training/pretraining/recipes/jmp_xs.toml): below 1 M weights and
3 MFLOP per main edge. Bundled files up to jmp-xs-v3 have 64 features of atoms and edges.
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
        head["domain"] = tuple(head.get("domain", ()))
        head["committee"] = tuple(head.get("committee", ()))
        head["theory"] = Theory(**head.get("theory", {}))
        head["errors"] = tuple(DomainErrors(**found) for found in head.get("errors", ()))
        heads.append(HeadConfig(**head))
    backbone = dict(data["backbone"])
    backbone["qint_tags"] = tuple(backbone["qint_tags"])
    policy = dict(data["policy"])
    policy["fewer_neighbors"] = tuple(FewerNeighbors(**fewer) for fewer in policy.get("fewer_neighbors", ()))
    rest = {k: v for k, v in data.items() if k not in ("backbone", "policy", "heads")}
    if rest.get("default_heads") is not None:
        rest["default_heads"] = DefaultHeads(**rest["default_heads"])
    return ModelConfig(
        backbone=BackboneConfig(**backbone), policy=GraphPolicy(**policy), heads=tuple(heads), **rest
    )


def reference_text(head: HeadConfig) -> str:
    """What the references of a head are, in words."""
    text = REFERENCE_TEXT[head.reference_kind]
    estimated = head.reference_kind == "least_squares" and head.binding
    return f"{text}, with an estimate of what lone atoms have above it" if estimated else text
