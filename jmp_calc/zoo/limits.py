"""Bounds that the configuration in a model file must keep, checked before a network is built from it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ModelError
from ..graph.policy import GraphPolicy
from ..model.config import BackboneConfig, DomainErrors, HeadConfig, ModelConfig
from ..model.elements import pair_numbers

MAX_SIZE = 1 << 16
MAX_DEPTH = 64
MAX_HEADS = 256
MAX_CUTOFF = 1000.0
MAX_ELEMENT = 256
_HEAD_NAME = re.compile(r"[A-Za-z0-9_+-]{1,64}")
_DEPTHS = (
    "num_spherical",
    "num_blocks",
    "num_before_skip",
    "num_after_skip",
    "num_concat",
    "num_atom",
    "num_output_afteratom",
    "num_atom_emb_layers",
    "num_global_out_layers",
    "envelope_exponent",
)
_MAY_BE_ZERO = (
    "num_before_skip",
    "num_after_skip",
    "num_concat",
    "num_atom",
    "num_output_afteratom",
    "num_atom_emb_layers",
    "num_global_out_layers",
)
_SIZES = (
    "num_radial",
    "emb_size_atom",
    "emb_size_edge",
    "emb_size_trip_in",
    "emb_size_trip_out",
    "emb_size_quad_in",
    "emb_size_quad_out",
    "emb_size_aint_in",
    "emb_size_aint_out",
    "emb_size_rbf",
    "emb_size_cbf",
    "emb_size_sbf",
)


def check_config(config: ModelConfig) -> None:
    """Refuse sizes no model has, contradictory heads, and lengths that are not positive; raises
    ModelError."""
    _check_backbone(config.backbone)
    _check_policy(config.policy)
    names = [head.name for head in config.heads]
    _require(
        1 <= len(names) <= MAX_HEADS,
        f"a model has between 1 and {MAX_HEADS} heads, not {len(names)}",
        "heads",
    )
    _require(
        len(set(names)) == len(names), f"two heads have the same name: {', '.join(sorted(names))}", "heads"
    )
    if config.default_head is not None:
        _require(
            config.default_head in names,
            f"there is no default head {config.default_head!r} in {names}",
            "heads",
        )
    _check_defaults(config, names)
    for head in config.heads:
        _check_head(head, config.backbone.num_elements)
        _check_committee(head, config)


def _check_committee(head: HeadConfig, config: ModelConfig) -> None:
    """The members of a committee are other heads for energies."""
    others = {other.name for other in config.heads if other.kind == "energy"} - {head.name}
    sound = len(set(head.committee)) == len(head.committee) and others.issuperset(head.committee)
    _require(sound, f"the committee of {head.name!r} is {', '.join(head.committee)}", "heads")
    scaled = head.committee_scale > 0 and head.committee_force_factor > 0
    _require(scaled, f"the committee of {head.name!r} is scaled by no positive number", "heads")


def _check_defaults(config: ModelConfig, names: Sequence[str]) -> None:
    """Defaults and old names mean heads that there are."""
    if config.default_heads is not None:
        _require(config.default_head is None, "it has a default head and default heads", "heads")
        for name in (config.default_heads.molecules, config.default_heads.periodic):
            _require(name in names, f"there is no default head {name!r} in {names}", "heads")
            gives = config.head(name).kind
            _require(gives == "energy", f"the default head {name!r} gives no energy", "heads")
    aliases = config.head_aliases
    _require(len(aliases) <= MAX_HEADS, f"it has {len(aliases)} old names of heads", "heads")
    for old, new in aliases.items():
        _require(_HEAD_NAME.fullmatch(old) is not None, f"{old!r} is not a valid head name", "heads")
        _require(old not in names, f"{old!r} is a head and an old name of one", "heads")
        _require(new in names, f"the old name {old!r} means {new!r}, which there is not", "heads")


def _check_backbone(backbone: BackboneConfig) -> None:
    for name in _SIZES:
        value = getattr(backbone, name)
        _require(1 <= value <= MAX_SIZE, f"{name} = {value} is not between 1 and {MAX_SIZE}", "backbone")
    for name in _DEPTHS:
        value, least = getattr(backbone, name), 0 if name in _MAY_BE_ZERO else 1
        _require(
            least <= value <= MAX_DEPTH,
            f"{name} = {value} is not between {least} and {MAX_DEPTH}",
            "backbone",
        )
    elements = backbone.num_elements
    _require(
        1 <= elements <= MAX_ELEMENT,
        f"num_elements = {elements} is not between 1 and {MAX_ELEMENT}",
        "backbone",
    )
    _check_length("radial_cutoff", backbone.radial_cutoff, "backbone")
    _require(0 <= backbone.dropout < 1, f"dropout = {backbone.dropout} is not in [0, 1)", "backbone")


def _check_policy(policy: GraphPolicy) -> None:
    for name in ("cutoff", "a2a_cutoff", "a2ee2a_cutoff"):
        _check_length(name, getattr(policy, name), "policy")
    if policy.qint_cutoff != 0.0:  # 0: no middle edges, for a network without quadruplets
        _check_length("qint_cutoff", policy.qint_cutoff, "policy")
    _require(policy.max_neighbors >= 1, f"max_neighbors = {policy.max_neighbors} is not positive", "policy")
    for fewer in policy.fewer_neighbors:
        _require(
            fewer.above >= 1 and fewer.max_neighbors >= 1,
            f"fewer_neighbors = {fewer} is not positive",
            "policy",
        )
    _require(0 < policy.taper <= 1, f"taper = {policy.taper} is not in (0, 1]", "policy")
    _require(
        0 <= policy.collinear_width < 1,
        f"collinear_width = {policy.collinear_width} is not in [0, 1)",
        "policy",
    )


def _check_head(head: HeadConfig, num_elements: int) -> None:
    where = f"head {head.name}"
    _require(_HEAD_NAME.fullmatch(head.name) is not None, f"{head.name!r} is not a valid head name", "heads")
    _require(1 <= head.hidden <= MAX_SIZE, f"hidden = {head.hidden} is not between 1 and {MAX_SIZE}", where)
    _require(
        1 <= head.num_layers <= MAX_DEPTH, f"num_layers = {head.num_layers} is not 1 to {MAX_DEPTH}", where
    )
    _require(1 <= head.num_classes <= MAX_SIZE, f"num_classes = {head.num_classes} is not positive", where)
    named, classes = len(head.classes), 2 if head.kind == "binary" else head.num_classes
    _require(named in (0, classes), f"it has {classes} classes and {named} names of classes", where)
    _require(
        head.kind != "vector" or head.reduction != "max", "a vector cannot be a maximum over atoms", where
    )
    _require(len(set(head.classes)) == named, "two of its classes have the same name", where)
    _require(head.energy_scale > 0 and head.force_scale > 0, "its scales are not positive", where)
    numbers = {*(head.elements or ()), *head.references, *head.binding}
    _require(
        all(1 <= z < num_elements for z in numbers),
        f"it names elements outside 1 to {num_elements - 1}",
        where,
    )
    if head.cutoff is not None:
        _check_length("cutoff", head.cutoff, where)
    _require(len(set(head.domain)) == len(head.domain), "one of its domains is there twice", where)
    for found in head.errors:
        _check_errors(found, where)
    for name, shortest in (head.pairs or {}).items():
        _check_pair(name, shortest, num_elements, where)


def _check_errors(found: DomainErrors, where: str) -> None:
    sizes = (found.forces_mae_mev_per_a, found.mean_force_mev_per_a, found.energy_mae_mev_per_atom or 0.0)
    _require(found.frames >= 1 and min(sizes) >= 0, "its errors are negative or of no frames", where)
    correlation = found.forces_correlation
    _require(correlation is None or abs(correlation) <= 1, "a correlation is not in [-1, 1]", where)


def _check_pair(name: str, shortest: float, num_elements: int, where: str) -> None:
    try:
        known = pair_numbers(name)[1] < num_elements
    except ValueError:
        known = False
    _require(known, f"{name!r} is not a pair of its elements", where)
    _check_length(f"the shortest distance of {name}", shortest, where)


def _check_length(name: str, value: float, where: str) -> None:
    _require(0 < value <= MAX_CUTOFF, f"{name} = {value} Å is not between 0 and {MAX_CUTOFF}", where)


def _require(condition: bool, fact: str, where: str) -> None:
    if not condition:
        raise ModelError(fact, where=where)


def least_tensors(config: ModelConfig) -> int:
    """A number of tensors that every network of this configuration has at least: one for each layer."""
    backbone = config.backbone
    block = backbone.num_before_skip + backbone.num_after_skip + backbone.num_concat
    block += backbone.num_atom_emb_layers + backbone.num_output_afteratom
    return backbone.num_blocks * (1 + block) + sum(head.num_layers for head in config.heads)
