"""The network a fine-tuning starts from: which weights, which old head, which scales and references."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from jmp_calc.model.config import HeadConfig, ModelConfig

from ..batches.dataset import FrameGraphs
from ..batches.loader import Batches
from ..batches.order import Shuffled
from ..batches.tasks import Task
from ..data.frame import Frame
from .committee import member_names, with_members
from .earlier import EarlierTask, bound, with_own_titles
from .fitted_energies import with_fitted_energies
from .network import (
    check_old_head,
    kept_heads,
    network_for,
    new_head,
    with_knowledge,
    with_layers,
    with_present_name,
)
from .old_heads import energy_heads, force_errors, knowing
from .options import ModelOptions
from .prepare import Prepared

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential


N_SCALE_BATCHES = 8
"""Batches for the scale factors; every factor takes one pass over them, so they are small."""


@dataclass(frozen=True)
class Start:
    """A network that is ready for training, and where it comes from."""

    potential: Potential
    head: HeadConfig
    source: str
    """Name and hash of the start model, in words."""
    licence: str
    training_data: tuple[dict[str, object], ...]
    """What the start weights have seen."""
    init_head: str | None
    """Old head the new one started from; None: new weights."""
    probe: dict[str, float]
    """Force RMSE of the old heads on a few frames, eV/Å."""
    messages: tuple[str, ...]
    retained: tuple[EarlierTask, ...] = ()
    """Earlier data under old heads, which the network has beside the new one, that are watched;"""
    replayed: tuple[EarlierTask, ...] = ()
    """and those that are trained on."""

    @property
    def fixed_heads(self) -> tuple[str, ...]:
        """Old heads that are not trained."""
        trained = {self.head.name, *self.head.committee, *(item.task.head for item in self.replayed)}
        return tuple(head.name for head in self.potential.config.heads if head.name not in trained)


def make_start(prepared: Prepared, device: torch.device) -> Start:
    """Build the network with its new head, and with the old ones that earlier data or the user need."""
    options, config = prepared.start, prepared.config
    direct, messages = config.forces == "direct", list[str]()
    network = network_for(prepared.loaded, options, prepared.target, direct_forces=direct, messages=messages)
    head = new_head(
        options,
        prepared.train,
        prepared.references,
        prepared.target,
        direct_forces=direct,
        cutoff=network.policy.cutoff,
    )
    torch.manual_seed(config.seed)
    if options.from_scratch:
        return _with_new_weights(prepared, network, head, device, messages)
    return _with_old_weights(prepared, network, head, device, messages)


def _with_new_weights(
    prepared: Prepared, network: ModelConfig, head: HeadConfig, device: torch.device, messages: list[str]
) -> Start:
    from jmp_calc.machine.device import choose_dtype

    options, seed = prepared.start, prepared.config.seed
    dtype, room = choose_dtype(options.dtype), prepared.config.max_edges_per_batch
    potential = _from_scratch(network, head, options, prepared.train, dtype, device, seed, room)
    potential = with_members(potential, head.name, options.committee, seed, fresh=True)
    potential = with_fitted_energies(potential, head.name, prepared.train, device)
    return Start(
        potential,
        potential.config.head(head.name),
        source=f"architecture of {prepared.loaded.card.name}, new weights (seed {seed})",
        licence="as the training data",
        training_data=(),
        init_head=None,
        probe={},
        messages=tuple(messages),
    )


def _with_old_weights(
    prepared: Prepared, network: ModelConfig, head: HeadConfig, device: torch.device, messages: list[str]
) -> Start:
    from jmp_calc.machine.device import choose_dtype
    from jmp_calc.model.potential import Potential

    options, loaded, direct = prepared.start, prepared.loaded, prepared.config.forces == "direct"
    # Its tensors may be those of the file: it is only evaluated, and the new network copies what it takes.
    old = Potential.from_state(network, loaded.potential.state_dict())
    old = old.to(dtype=choose_dtype(options.dtype), device=device)
    watched, trained = (
        with_own_titles([bound(item, old, direct=direct, device=device) for item in items], items)
        for items in (prepared.retained, prepared.replayed)
    )
    options = with_present_name(options, network, messages)
    kept = kept_heads(options, network, {item.task.head for item in (*watched, *trained)})
    check_old_head(options, network, head, direct=direct)
    template, probe = _similar_head(old, options, head, prepared.train, direct, device, messages)
    potential = _add_head(old, head, template, options, kept)
    fresh, seed = template is None, prepared.config.seed
    potential = with_members(potential, head.name, options.committee, seed, fresh=fresh)
    potential = with_fitted_energies(potential, head.name, prepared.train, device)
    return Start(
        potential,
        potential.config.head(head.name),
        source=f"{loaded.card.name} (sha256 {loaded.sha256[:12]})",
        licence=loaded.card.licence,
        training_data=loaded.card.training_data,
        init_head=template,
        probe=probe,
        messages=tuple(messages),
        retained=watched,
        replayed=trained,
    )


def _add_head(
    old: Potential, head: HeadConfig, template: str | None, options: ModelOptions, kept: Sequence[str]
) -> Potential:
    """The old network with the new head as default, and with the old heads that are kept."""
    head = with_layers(head, old.config, options, template)
    shape = old.config.head(template) if template else None
    head = with_knowledge(head, shape, lone_atoms=old.config.subtract_lone_atom)
    if shape is not None:
        head = dataclasses.replace(
            head,
            energy_scale=shape.energy_scale,
            force_scale=shape.force_scale,
            direct_forces=shape.direct_forces and head.direct_forces,
        )
    return old.with_new_head(head, kept, init_from=template)


def _from_scratch(
    config: ModelConfig,
    head: HeadConfig,
    options: ModelOptions,
    frames: Sequence[Frame],
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
    max_edges: int,
) -> Potential:
    """New weights in the same architecture, with scale factors fitted on the training frames."""
    from jmp_calc.model.potential import Potential

    head = with_knowledge(
        with_layers(head, config, options, None), None, lone_atoms=config.subtract_lone_atom
    )
    config = config.with_new_head(head, kept=())
    potential = Potential(config).to(dtype=dtype, device=device)
    chosen = np.random.default_rng(seed).permutation(len(frames))[: 2 * N_SCALE_BATCHES]
    graphs = FrameGraphs(
        [frames[i] for i in chosen], config.policy, Task(head.name), qint_tags=config.backbone.qint_tags
    )
    order = Shuffled(graphs.sizes, max_edges=max_edges, max_structures=2, seed=seed)
    batches = Batches(graphs, order, device=device)
    potential.fit_scale_factors([t.batch for t, _ in zip(batches.all(), range(N_SCALE_BATCHES))])
    return potential


def _similar_head(
    potential: Potential,
    options: ModelOptions,
    head: HeadConfig,
    frames: Sequence[Frame],
    direct: bool,
    device: torch.device,
    messages: list[str],
) -> tuple[str | None, dict[str, float]]:
    """Name of the old head to start from (None: new weights), and the force RMSE of those compared."""
    heads = energy_heads(potential.config, direct=direct)
    if options.head == "scratch" or (head.kind != "energy" and options.head == "auto"):
        return None, {}
    if options.head != "auto":
        return options.head, {}
    cover = [h.name for h in knowing(heads, head.elements or ())]
    if not cover:
        messages.append("no old head knows all the elements: the new head starts from new weights")
        return None, {}
    probe = force_errors(potential, cover, frames, direct=direct, device=device) if len(cover) > 1 else {}
    best = min(probe, key=probe.__getitem__) if probe else cover[0]
    ranked = sorted(probe.items(), key=lambda item: item[1])[:5]
    text = ", ".join(f"{name} {1e3 * rmse:.0f}" for name, rmse in ranked)
    why = f" (force RMSE before training, meV/Å: {text})" if text else ""
    messages.append(f"the new head starts from {best!r}{why}")
    return best, probe


def resolved(prepared: Prepared, potential: Potential) -> Prepared:
    """The settings with learning rate (by size of the network), batch size (by number of training structures)
    and what a target decides."""
    config = prepared.config
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=min(max(4, math.ceil(len(prepared.train) / 500)), 32))
    if prepared.target is not None:
        config = prepared.target.configured(config)
    if config.optim.lr is None:
        n_weights = sum(p.numel() for p in potential.parameters())
        # 8e-5 for JMP-L with 1.6e8 weights (Shoghi et al. 2023) and 1e-3 for 1e6 weights lie on this line.
        lr = float(f"{min(1e-3 * (1e6 / n_weights) ** 0.5, 2e-3):.2g}")
        config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=lr))
    return dataclasses.replace(prepared, config=config)


def to_publish(potential: Potential, start: ModelOptions) -> Potential:
    """The network without the old heads that it had for earlier data, unless they are to be kept."""
    names = [start.head_name, *member_names(start.head_name, start.committee)]
    if start.keep_heads or len(potential.config.heads) == len(names):
        return potential
    return potential.with_heads(names, start.head_name)
