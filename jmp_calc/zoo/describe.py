"""Plain, printable description of a model file for ``jmp-calc models info``; reads no weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..graph.policy import GraphPolicy
from ..model.config import DomainErrors, HeadConfig, ModelConfig, reference_text
from ..model.elements import symbols
from ..model.skill import SKILL_FRAMES, describe_errors, force_share, has_skill, skill_note
from . import cache
from .container import ModelCard, describe_model
from .knowledge import Knowledge
from .names import ModelFile
from .registry import RegistryEntry

NO_REFERENCE = (
    "energies have no atomic reference: formation, cohesive and adsorption energies cannot be computed"
)


OFFICIAL_CONTENT = "CRC-32 of every tensor, checked when it is read"
NOT_RECORDED = "not recorded: written by a jmp-calc that did not note a hash of the content"


@dataclass(frozen=True)
class FileFacts:
    """What a model file says of itself."""

    config: ModelConfig
    card: ModelCard
    format: str
    content: str
    """How damage of the weights is noticed: the hash of the content, or the words for none."""
    sha256: str | None = None
    """Of the whole file; None: not computed."""
    knowledge: Knowledge = field(default_factory=Knowledge)


def describe_file(path: Path, *, official: bool) -> FileFacts:
    """What is in a model file; of one of ours the hash of the content is checked.

    Raises:
        ModelError: not such a file, or a damaged one.
    """
    if official:
        from .official import describe_official

        return FileFacts(*describe_official(path), "official checkpoint", OFFICIAL_CONTENT)
    ours = describe_model(path)
    version = f"jmp-calc format version {ours.format_version}"
    content = content_words(ours.content_sha256)
    return FileFacts(ours.config, ours.card, version, content, ours.sha256, ours.knowledge)


def content_words(sha256: str | None) -> str:
    """What is said of the content of one of our files, whose hash has been checked."""
    return NOT_RECORDED if sha256 is None else f"sha256 {sha256}, as recorded in the file"


def describe(found: ModelFile) -> dict[str, Any]:
    """Everything a user should know about the model before using it, as plain data."""
    facts = describe_file(found.path, official=found.official)
    config, card = facts.config, facts.card
    notes = list(card.notes)
    notes += [note for head in config.heads if (note := skill_note(head)) is not None]
    if not found.published:
        notes.append("added by hand; not known to be the published file")
    return {
        "name": found.name or card.name,
        "file": str(found.path),
        "size_bytes": found.path.stat().st_size,
        "sha256": found.sha256 or facts.sha256 or cache.sha256_of(found.path),
        "content": facts.content,
        "format": facts.format,
        "licence": found.entry.licence if found.entry else card.licence,
        "source": card.source,
        "created": card.created or "unknown",
        "default_head": config.default_head,
        "default_heads": None if config.default_heads is None else asdict(config.default_heads),
        "head_aliases": dict(config.head_aliases),
        "heads": [_head(head) for head in config.heads],
        "energy_reference": card.energy_reference or _reference(config),
        "statistics": _statistics(facts.knowledge),
        "graphs": _policy(config.policy),
        "network": {
            "blocks": config.backbone.num_blocks,
            "atom_features": config.backbone.emb_size_atom,
            "edge_features": config.backbone.emb_size_edge,
            "lone_atom_subtracted": config.subtract_lone_atom,
            "pair_repulsion": config.pair_repulsion,
        },
        "training_data": [dict(item) for item in card.training_data],
        "metrics": dict(card.metrics),
        "notes": notes,
    }


def describe_entry(name: str, entry: RegistryEntry) -> dict[str, Any]:
    """What the registry knows about a model whose file is not on this machine."""
    return {
        "name": name,
        "summary": entry.summary,
        "licence": entry.licence,
        "url": entry.url,
        "size_bytes": entry.size if entry.size is not None else "not stated",
        "sha256": entry.sha256 or "not published; recorded at the first download and checked ever after",
        "status": f"not on this machine; run: jmp-calc models fetch {name}",
    }


def _head(head: HeadConfig) -> dict[str, Any]:
    energies = head.kind == "energy"
    described: dict[str, Any] = {
        "name": head.name,
        "kind": head.kind,
        "unit": head.unit,
        "level_of_theory": head.level_of_theory,
        "domain": ", ".join(head.domain) or "unknown",
        "elements": "unknown" if head.elements is None else " ".join(symbols(head.elements)),
        "pairs": "unknown" if head.pairs is None else len(head.pairs),
        "direct_forces": head.direct_forces,
    }
    theory = {name: text for name, text in asdict(head.theory).items() if text}
    described |= {"theory": theory} if theory else {}
    described |= {"errors": [_errors(errors) for errors in head.errors]} if head.errors else {}
    if energies:
        described["reference"] = NO_REFERENCE if head.reference_kind == "none" else reference_text(head)
        if head.references:
            pairs = zip(symbols(head.references), sorted(head.references.items()), strict=True)
            described["references_ev"] = {symbol: energy for symbol, (_, energy) in pairs}
        if head.binding:
            pairs = zip(symbols(head.binding), sorted(head.binding.items()), strict=True)
            described["binding_ev"] = {symbol: energy for symbol, (_, energy) in pairs}
    if head.committee:
        described["committee"] = {"heads": ", ".join(head.committee), "scale": head.committee_scale}
    if head.cutoff is not None:
        described["cutoff_angstrom"] = head.cutoff
    return described


def _errors(errors: DomainErrors) -> dict[str, Any]:
    """Errors in one domain, with force errors as shares of the mean force."""
    share = force_share(errors)
    relative = {"forces_mae_share_of_mean_force": round(share, 4)} if math.isfinite(share) else {}
    skill = {None: f"not known from fewer than {SKILL_FRAMES} frames", True: "yes", False: "none"}
    summary = {"skill": skill[has_skill(errors)], "summary": describe_errors(errors)}
    return {**asdict(errors), **relative, **summary}


def _statistics(knowledge: Knowledge) -> dict[str, Any]:
    """What the file has of the features of its training data."""
    of_heads, elements = sorted(knowledge.heads), knowledge.elements
    return {
        **({"feature_covariance_of_heads": of_heads} if of_heads else {}),
        **({} if elements is None else {"descriptors_of_elements": " ".join(symbols(elements.numbers))}),
    }


def _reference(config: ModelConfig) -> str:
    texts = {reference_text(head) for head in config.heads if head.kind == "energy"}
    return "; ".join(sorted(texts)) or "no energies"


def _policy(policy: GraphPolicy) -> dict[str, Any]:
    described: dict[str, Any] = {"policy": policy.name, "cutoff_angstrom": policy.cutoff}
    if policy.fewer_neighbors:
        described["max_neighbors_above_atoms"] = {
            fewer.above: fewer.max_neighbors for fewer in policy.fewer_neighbors
        }
    if policy.name == "official":
        return described | {"max_neighbors": policy.max_neighbors, "smooth": False}
    return described | {
        "a2a_cutoff_angstrom": policy.a2a_cutoff,
        "a2ee2a_cutoff_angstrom": policy.a2ee2a_cutoff,
        "qint_cutoff_angstrom": policy.qint_cutoff,
        "adaptive": policy.adaptive,
        "smooth": True,
    }
