"""The fresh network of a pre-training: architecture of the recipe, one head per level of theory, fitted scale
factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_L, JMP_S, JMP_XS, JMP_XS_POLICY, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential

from ..batches.dataset import FrameGraphs
from ..batches.loader import Batches
from ..batches.order import Shuffled
from ..batches.tasks import Task
from ..data.frame import each_of
from ..data.pairs import shorter, shortest_pairs
from .chain import StageFile
from .mixture import Mixture
from .recipe import NetworkOptions
from .sets import force_scale
from .source_set import SourceSet

MOST_FRAMES = 200_000
"""Frames of a set whose distances are looked at, spread evenly: all but those of the largest record sets."""
SCALE_FIT_BATCHES = 16
"""As in ``training.md`` part II."""
_BACKBONES = {"jmp-xs": JMP_XS, "jmp-s": JMP_S, "jmp-l": JMP_L}


def network_config(
    options: NetworkOptions, mixture: Mixture, sets: Sequence[SourceSet], *, direct_forces: bool
) -> ModelConfig:
    """The network with all heads of the mixture and without energy references, which training subtracts per
    set, and without pairs, which take time to find."""
    small = options.architecture == "jmp-xs"
    width, layers = options.head_width or (32 if small else 256), options.head_layers or (3 if small else 5)
    by_name = {source.name: source for source in sets}
    policy = (
        JMP_XS_POLICY
        if small
        else GraphPolicy("official", options.cutoff, options.max_neighbors, tags=options.tags)
    )
    heads = []
    for head in mixture.heads:
        own = [by_name[item.name] for item in mixture.sets_of(head.name) if item.name in by_name]
        energy, forces = _scales(own, mixture)
        heads.append(
            HeadConfig(
                name=head.name,
                hidden=width,
                num_layers=layers,
                level_of_theory=head.level_of_theory,
                energy_scale=energy,
                direct_forces=direct_forces,
                force_scale=forces,
                cutoff=mixture.sets_of(head.name)[0].cutoff,
                binding=next((s.described.binding for s in own if s.described.binding), {}),
                binding_gate="bonds",
                elements=tuple(sorted({z for source in own for z in source.references})),
            )
        )
    backbone = dataclasses.replace(
        _BACKBONES[options.architecture], force_branch=direct_forces, dropout=options.dropout
    )
    return ModelConfig(
        backbone=backbone,
        policy=policy,
        heads=tuple(heads),
        default_head=mixture.default_head,
        subtract_lone_atom=options.subtract_lone_atom,
        pair_repulsion=small,
    )


def with_known_pairs(config: ModelConfig, mixture: Mixture, sets: Sequence[SourceSet]) -> ModelConfig:
    """The network whose heads know the shortest distances of element pairs within the cutoff in the training
    frames of their sets; of very many frames in a sample of them."""
    tables = {
        source.name: shortest_pairs(each_of(source.train, MOST_FRAMES), config.policy.cutoff)
        for source in sets
    }
    heads = tuple(
        replace(
            head,
            pairs=shorter(tables[item.name] for item in mixture.sets_of(head.name) if item.name in tables),
        )
        for head in config.heads
    )
    return replace(config, heads=heads)


def _scales(sets: Sequence[SourceSet], mixture: Mixture) -> tuple[float, float]:
    """eV and eV/Å per unit of the outputs of a head."""
    if not sets:
        return 1.0, 1.0
    if mixture.normalisation == "jmp":
        return float(np.mean([source.energy_std for source in sets])), float(
            np.mean([source.force_rms for source in sets])
        )
    scale = float(np.mean([force_scale(source.force_rms) for source in sets]))
    return scale, scale


def continued_network(
    config: ModelConfig, start: StageFile, *, device: torch.device, dtype: torch.dtype, seed: int
) -> Potential:
    """The network with the weights and scales of an earlier stage of the same widths; heads that
    it did not have are new."""
    known = {head.name: head for head in start.model.heads}
    heads = tuple(_going_on(head, known[head.name]) if head.name in known else head for head in config.heads)
    torch.manual_seed(seed)
    potential = Potential(replace(config, heads=heads))
    state = potential.state_dict()
    for name, value in start.weights.items():
        if name in state:
            state[name] = value
    potential.load_state_dict(state)
    return potential.to(dtype=dtype, device=device)


def _going_on(head: HeadConfig, before: HeadConfig) -> HeadConfig:
    """A head with the scales and energies that its weights were trained with, and all that it has seen."""
    tables = [pairs for pairs in (before.pairs, head.pairs) if pairs is not None]
    return replace(
        before,
        elements=head.elements,
        level_of_theory=head.level_of_theory,
        binding={**head.binding, **before.binding},
        pairs=shorter(tables) if tables else None,
    )


def fresh_network(
    config: ModelConfig, sets: Sequence[SourceSet], *, device: torch.device, dtype: torch.dtype, seed: int
) -> Potential:
    """New weights, with scale factors fitted on a few frames of every set."""
    torch.manual_seed(seed)
    potential = Potential(config).to(dtype=dtype, device=device)
    rng = np.random.default_rng(seed)
    frames = []
    for source in sets:
        light = np.flatnonzero(source.train_sizes[:10_000, 1] <= 20_000)
        frames += [
            source.train[int(i)] for i in rng.permutation(light)[: max(2, 2 * SCALE_FIT_BATCHES // len(sets))]
        ]
    # The scale factors belong to the backbone: any head will do.
    graphs = FrameGraphs(
        frames, config.policy, Task(config.heads[0].name), qint_tags=config.backbone.qint_tags
    )
    batches = Batches(
        graphs, Shuffled(graphs.sizes, max_edges=20_000, max_structures=4, seed=seed), device=device
    )
    potential.fit_scale_factors([target.batch for target, _ in zip(batches.all(), range(SCALE_FIT_BATCHES))])
    return potential
