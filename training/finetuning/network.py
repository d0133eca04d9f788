"""The network of a fine-tuning before it has weights: graphs, force branch, and the new head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.elements import pair_numbers

from ..data.cohesive import cohesive_energies
from ..data.frame import Frame
from ..data.pairs import shorter, shortest_pairs
from ..data.references import References
from ..targets.fit import FittedTarget
from ..validation.domains import domains_of
from .old_heads import energy_heads
from .options import OLD_HEADS, ModelOptions

if TYPE_CHECKING:
    from jmp_calc.zoo.container import LoadedModel


def network_for(
    loaded: LoadedModel,
    options: ModelOptions,
    target: FittedTarget | None,
    *,
    direct_forces: bool,
    messages: list[str],
) -> ModelConfig:
    """The start model's network with the graphs of the run; ModelError if it has no branch for what is
    trained.

    ``messages`` receives what the user should know about the graphs.
    """
    config = _with_policy(loaded.potential.config, options, messages)
    if direct_forces and not config.backbone.force_branch:
        raise ModelError(
            f"{loaded.card.name} has no branch for direct forces.",
            hint="train with --forces conservative, or start from jmp-s or jmp-l",
        )
    if target is not None and target.task.kind == "vector":
        config = _with_force_branch(config, options, loaded.card.name)
    return config


def new_head(
    options: ModelOptions,
    frames: Sequence[Frame],
    references: References | None,
    target: FittedTarget | None,
    *,
    direct_forces: bool,
    cutoff: float,
) -> HeadConfig:
    """The new head: elements, pairs within ``cutoff`` (Å), scales and references of the training frames, or
    what the target needs."""
    elements = tuple(sorted({int(z) for frame in frames for z in np.unique(frame.numbers)}))
    pairs = shortest_pairs(frames, cutoff)
    head = HeadConfig(
        name=options.head_name,
        level_of_theory=options.level,
        theory=options.theory,
        domain=domains_of(frames),
        elements=elements,
        pairs=pairs,
    )
    return _for_energies(head, frames, references, direct_forces) if target is None else target.head(head)


def with_present_name(options: ModelOptions, config: ModelConfig, messages: list[str]) -> ModelOptions:
    """The options with what the old head is called now; ``messages`` receives that it was renamed."""
    present = config.present_name(options.head)
    if present == options.head:
        return options
    messages.append(f"the old head {options.head} is called {present} now")
    return replace(options, head=present)


def check_old_head(options: ModelOptions, config: ModelConfig, head: HeadConfig, *, direct: bool) -> None:
    """ModelError if the new head cannot start from the old one that was named, UsageError if from none."""
    if options.head in OLD_HEADS:
        return
    if head.kind != "energy":
        raise UsageError(
            "A head for a target starts from new weights, not from a head for energies.",
            hint="leave out --head",
        )
    names = [old.name for old in energy_heads(config, direct=direct)]
    if options.head not in names:
        raise ModelError(
            f"There is no head {options.head!r} to start from.",
            hint=f"choose one of {', '.join(names)}, auto or scratch; --head-name names the new head",
        )


def kept_heads(options: ModelOptions, config: ModelConfig, needed: Collection[str]) -> list[str]:
    """Old heads that stay beside the new one: those that earlier data need, or all; UsageError if one has its
    name."""
    kept = [old.name for old in config.heads if options.keep_heads or old.name in needed]
    other = "give the new one another name with --head-name NAME"
    if options.head_name in needed:
        raise UsageError(
            f"The old head {options.head_name!r} of the earlier data has the name of the new one.", hint=other
        )
    if options.head_name in kept:
        raise UsageError(
            f"The model already has a head {options.head_name!r}.",
            where=options.model,
            hint=f"{other}, or leave out --keep-heads",
        )
    return kept


def with_layers(
    head: HeadConfig, config: ModelConfig, options: ModelOptions, template: str | None
) -> HeadConfig:
    """The new head with the layers of the old one that it starts from.

    Without such a template, with those of the old energy heads, with or without bias as asked for.
    """
    old = (
        config.head(template)
        if template
        else next((h for h in config.heads if h.kind == "energy"), HeadConfig(name=""))
    )
    bias = old.bias if template or options.head_bias is None else options.head_bias
    return replace(head, hidden=old.hidden, num_layers=old.num_layers, bias=bias)


def with_knowledge(head: HeadConfig, template: HeadConfig | None, *, lone_atoms: bool) -> HeadConfig:
    """The new head with the pairs that its old head knows too, and with energies of bound atoms that fade
    where bonds break.

    They are those of the old head, which its weights belong to; else, of references from least squares, the
    cohesive energies of the elements. Such references, which are means of bound atoms, rise by them to
    energies of lone atoms. ``lone_atoms``: whether a lone atom has its reference energy.
    """
    known = set(head.elements or ())
    if template is not None and template.pairs is not None and head.pairs is not None:
        pairs = shorter((head.pairs, template.pairs))
        head = replace(head, pairs={n: d for n, d in pairs.items() if known.issuperset(pair_numbers(n))})
    if head.kind != "energy" or not lone_atoms:
        return head
    head = replace(head, binding_gate="bonds")
    fitted, binding = head.reference_kind == "least_squares", dict[int, float]()
    if template is not None and template.binding:
        binding = {z: template.binding.get(z, 0.0) for z in sorted(known)}
    elif fitted:
        cohesive = cohesive_energies()
        binding = {z: -cohesive[z] for z in sorted(known)}
    atoms = {z: energy - binding.get(z, 0.0) for z, energy in head.references.items()}
    return replace(head, binding=binding, references=atoms if fitted else head.references)


def _for_energies(
    head: HeadConfig, frames: Sequence[Frame], references: References | None, direct_forces: bool
) -> HeadConfig:
    forces = [frame.forces for frame in frames if frame.forces is not None]
    force_rms = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else 1.0
    return replace(
        head,
        direct_forces=direct_forces,
        energy_scale=max(force_rms, 1e-2),
        force_scale=max(force_rms, 1e-2),
        references=dict(references.values) if references else {},
        reference_kind=references.kind if references else "none",
    )


def _with_force_branch(config: ModelConfig, options: ModelOptions, name: str) -> ModelConfig:
    """A network with the edge features that vectors are made of: new weights may have them, others have them
    or not."""
    if config.backbone.force_branch or options.from_scratch:
        return replace(config, backbone=replace(config.backbone, force_branch=True))
    raise ModelError(
        f"{name} has no branch for direct forces, which vectors are made of.",
        hint="start from jmp-s or jmp-l, or train new weights with --from-scratch",
    )


def _with_policy(config: ModelConfig, options: ModelOptions, messages: list[str]) -> ModelConfig:
    """The model's own graphs, except that official ones become smooth unless the user wants them."""
    if config.policy.name == "smooth":
        if options.graph == "official":
            raise ModelError(
                "This model was made with smooth graphs; the official ones would be another function.",
                hint="leave out --graph official",
            )
        if options.cutoff is not None:
            messages.append(
                f"graphs: the model's own (the {options.cutoff:g} Å of the recipe are for official weights)"
            )
        return config
    policy = config.policy
    fewer = policy.fewer_neighbors if options.fewer_neighbors is None else options.fewer_neighbors
    policy = replace(
        policy,
        cutoff=options.cutoff or policy.cutoff,
        fewer_neighbors=fewer,
        max_neighbors=options.max_neighbors or policy.max_neighbors,
    )
    config = replace(config, policy=policy)
    if options.graph == "official":
        messages.append(
            "graphs: official; its energy jumps where neighbours change rank, and its second derivative "
            "has no limit at collinear atoms: right for published numbers, not for dynamics or phonons"
        )
        return config
    from jmp_calc.graph.selection import smooth_for_official

    messages.append("graphs: smooth (the official weights adapt to it during fine-tuning)")
    return replace(
        config, policy=smooth_for_official(policy.cutoff, policy.max_neighbors, policy.fewer_neighbors)
    )
