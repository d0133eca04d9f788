"""The network a fine-tuning starts from: which weights, which old head, which scales and references."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.model.config import CONDITIONAL_NEIGHBORS, FewerNeighbors, HeadConfig, ModelConfig

from .batches import Batches
from .binding import with_fitted_energies
from .dataset import FrameGraphs
from .earlier import EarlierSet, EarlierTask, bound
from .labels import Frame
from .old_heads import energy_heads, force_errors, knowing
from .order import Shuffled
from .references import References
from .targets import FittedTarget
from .tasks import Task

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential
    from jmp_calc.zoo.container import LoadedModel

    from .finetune_recipes import FinetuneRecipe

SCRATCH = "scratch:"
N_SCALE_BATCHES = 8
"""Batches for the scale factors; every factor takes one pass over them, so they are small."""


@dataclass(frozen=True)
class ModelOptions:
    """What to start from and what to keep."""

    model: str = "jmp-xs"
    """Name or path; with the prefix ``scratch:`` only its architecture is used."""
    head: str = "finetuned"
    """Name of the new head."""
    init_head: str = "auto"
    """Old head that the new one starts from: auto (smallest force error on a few frames), scratch, or a name."""
    keep_heads: bool = False
    """Keep the old heads in the written file; after full fine-tuning they no longer fit the backbone."""
    graph: str = "smooth"
    """Graph policy for official weights: smooth, or official to reproduce published numbers."""
    cutoff: float | None = None
    """Å, of official graphs (and of smooth ones made from them); None: the model's."""
    max_neighbors: int | None = None
    """Neighbours of official graphs; None: the model's."""
    fewer_neighbors: tuple[FewerNeighbors, ...] | None = None
    """Fewer of them in large structures; None: as the model."""
    head_bias: bool | None = None
    """Whether the hidden layers of a new head have a bias; None: as the old heads."""
    level_of_theory: str = "as in the training data"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.graph not in ("smooth", "official"):
            raise UsageError(f"graph cannot be {self.graph!r}.", hint="choose smooth or official")
        if not self.head.isidentifier() and not self.head.replace("-", "_").isidentifier():
            raise UsageError(f"{self.head!r} is not a name for a head.", hint="use letters, digits, - and _")
        if self.from_scratch and self.keep_heads:
            raise UsageError("A network from scratch has no old heads to keep.", hint="leave out --keep-heads")

    @property
    def from_scratch(self) -> bool:
        """Whether new random weights are used."""
        return self.model.startswith(SCRATCH)

    @property
    def absolute_model(self) -> str:
        """``model``, with the absolute path if it is one."""
        name = self.model.removeprefix(SCRATCH)
        path = str(Path(name).absolute()) if Path(name).is_file() else name
        return f"{SCRATCH}{path}" if self.from_scratch else path

    def for_recipe(self, recipe: FinetuneRecipe) -> ModelOptions:
        """The same with the graphs and the new head of a published task; an old head that was named stays."""
        scratch = recipe.from_scratch and not self.from_scratch
        return dataclasses.replace(
            self, model=SCRATCH + self.model if scratch else self.model, cutoff=recipe.cutoff,
            max_neighbors=recipe.max_neighbors,
            fewer_neighbors=CONDITIONAL_NEIGHBORS if recipe.conditional_neighbors else (), head_bias=recipe.head_bias,
            init_head="scratch" if self.init_head == "auto" else self.init_head,
        )


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
        trained = {self.head.name, *(item.task.head for item in self.replayed)}
        return tuple(head.name for head in self.potential.config.heads if head.name not in trained)


def load_start(options: ModelOptions) -> LoadedModel:
    """The model file behind the options."""
    from jmp_calc.zoo.names import resolve

    return resolve(options.model.removeprefix(SCRATCH))


def make_start(
    loaded: LoadedModel, options: ModelOptions, frames: Sequence[Frame], references: References | None, *,
    direct_forces: bool, device: torch.device, seed: int, max_edges: int, target: FittedTarget | None = None,
    retained: Sequence[EarlierSet] = (), replayed: Sequence[EarlierSet] = (),
) -> Start:
    """Build the network with its new head, and with the old ones that earlier data or the user need.

    ``frames`` are the training frames, ``target`` what replaces energies.
    """
    from jmp_calc.device import choose_dtype
    from jmp_calc.model.potential import Potential

    messages: list[str] = []
    config = _with_policy(loaded.potential.config, options, messages)
    if direct_forces and not config.backbone.force_branch:
        raise ModelError(f"{loaded.card.name} has no branch for direct forces.",
                         hint="train with --forces conservative, or start from jmp-s or jmp-l")
    if target is not None and target.task.kind == "vector":
        config = _with_force_branch(config, options, loaded.card.name)
    elements = tuple(sorted({int(z) for frame in frames for z in np.unique(frame.numbers)}))
    head = HeadConfig(name=options.head, level_of_theory=options.level_of_theory, elements=elements)
    head = _for_energies(head, frames, references, direct_forces) if target is None else target.head(head)
    dtype = choose_dtype(options.dtype)
    torch.manual_seed(seed)
    if options.from_scratch:
        potential = with_fitted_energies(
            _from_scratch(config, head, options, frames, dtype, device, seed, max_edges), head.name, frames, device)
        source = f"architecture of {loaded.card.name}, new weights (seed {seed})"
        return Start(potential, potential.config.head(head.name), source, "as the training data", (), None, {},
                     tuple(messages))
    source = f"{loaded.card.name} (sha256 {loaded.sha256[:12]})"
    # Its tensors may be those of the file: it is only evaluated, and the new network copies what it takes.
    old = Potential.from_state(config, loaded.potential.state_dict()).to(dtype=dtype, device=device)
    if options.head in {h.name for h in config.heads} and options.keep_heads:
        raise UsageError(f"The model already has a head {options.head!r}.", where=loaded.card.name,
                         hint="give the new one another name with --head-name NAME, or leave out --keep-heads")
    watched, trained = (tuple(bound(item, old, direct=direct_forces, device=device) for item in items)
                        for items in (retained, replayed))
    needed = {item.task.head for item in (*watched, *trained)}
    if options.head in needed:
        raise UsageError(f"The old head {options.head!r} of the earlier data has the name of the new one.",
                         hint="give the new one another name with --head-name NAME")
    template, probe = _similar_head(old, options, head, frames, direct_forces, device, messages)
    kept = [h.name for h in config.heads if options.keep_heads or h.name in needed]
    potential = with_fitted_energies(
        _add_head(old, head, template, options, kept), head.name, frames, device)
    return Start(potential, potential.config.head(head.name), source, loaded.card.licence,
                 loaded.card.training_data, template, probe, tuple(messages), watched, trained)


def _for_energies(
    head: HeadConfig, frames: Sequence[Frame], references: References | None, direct_forces: bool
) -> HeadConfig:
    forces = [frame.forces for frame in frames if frame.forces is not None]
    force_rms = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else 1.0
    return dataclasses.replace(
        head, direct_forces=direct_forces, energy_scale=max(force_rms, 1e-2), force_scale=max(force_rms, 1e-2),
        references=dict(references.values) if references else {},
        reference_kind=references.kind if references else "none",
    )


def _with_force_branch(config: ModelConfig, options: ModelOptions, name: str) -> ModelConfig:
    """A network with the edge features that vectors are made of: new weights may have them, others have them or not."""
    if config.backbone.force_branch or options.from_scratch:
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, force_branch=True))
    raise ModelError(f"{name} has no branch for direct forces, which vectors are made of.",
                     hint="start from jmp-s or jmp-l, or train new weights with --from-scratch")


def _add_head(
    old: Potential, head: HeadConfig, template: str | None, options: ModelOptions, kept: Sequence[str]
) -> Potential:
    """The old network with the new head as default, and with the old heads that are kept."""
    shape = old.config.head(template) if template else _shape_of_new(old.config, options)
    head = dataclasses.replace(head, hidden=shape.hidden, num_layers=shape.num_layers, bias=shape.bias)
    if template:
        head = dataclasses.replace(head, energy_scale=shape.energy_scale, force_scale=shape.force_scale,
                                   direct_forces=shape.direct_forces and head.direct_forces)
    return old.with_new_head(head, kept, init_from=template)


def _shape_of_new(config: ModelConfig, options: ModelOptions) -> HeadConfig:
    """Layers of a head with new weights: those of the old energy heads, with or without bias as asked for."""
    shape = next((h for h in config.heads if h.kind == "energy"), HeadConfig(name="none"))
    return shape if options.head_bias is None else dataclasses.replace(shape, bias=options.head_bias)


def _from_scratch(
    config: ModelConfig, head: HeadConfig, options: ModelOptions, frames: Sequence[Frame], dtype: torch.dtype,
    device: torch.device, seed: int, max_edges: int,
) -> Potential:
    """New weights in the same architecture, with scale factors fitted on the training frames."""
    from jmp_calc.model.potential import Potential

    shape = _shape_of_new(config, options)
    head = dataclasses.replace(head, hidden=shape.hidden, num_layers=shape.num_layers, bias=shape.bias)
    config = dataclasses.replace(config, heads=(head,), default_head=head.name)
    potential = Potential(config).to(dtype=dtype, device=device)
    chosen = np.random.default_rng(seed).permutation(len(frames))[: 2 * N_SCALE_BATCHES]
    graphs = FrameGraphs([frames[i] for i in chosen], config.policy, Task(head.name),
                         qint_tags=config.backbone.qint_tags)
    order = Shuffled(graphs.sizes, max_edges=max_edges, max_structures=2, seed=seed)
    batches = Batches(graphs, order, device=device)
    potential.fit_scale_factors([t.batch for t, _ in zip(batches.all(), range(N_SCALE_BATCHES))])
    return potential


def _with_policy(config: ModelConfig, options: ModelOptions, messages: list[str]) -> ModelConfig:
    """The model's own graphs, except that official ones become smooth unless the user wants them."""
    if config.policy.name == "smooth":
        if options.graph == "official":
            raise ModelError("This model was made with smooth graphs; the official ones would be another function.",
                             hint="leave out --graph official")
        if options.cutoff is not None:
            messages.append(f"graphs: the model's own (the {options.cutoff:g} Å of the recipe are for official weights)")
        return config
    policy = config.policy
    fewer = policy.fewer_neighbors if options.fewer_neighbors is None else options.fewer_neighbors
    policy = dataclasses.replace(policy, cutoff=options.cutoff or policy.cutoff, fewer_neighbors=fewer,
                                 max_neighbors=options.max_neighbors or policy.max_neighbors)
    config = dataclasses.replace(config, policy=policy)
    if options.graph == "official":
        messages.append("graphs: official; its energy jumps where neighbours change rank, and its second derivative "
                        "has no limit at collinear atoms: right for published numbers, not for dynamics or phonons")
        return config
    from jmp_calc.graph.policies import smooth_for_official

    messages.append("graphs: smooth (the official weights adapt to it during fine-tuning)")
    return dataclasses.replace(
        config, policy=smooth_for_official(policy.cutoff, policy.max_neighbors, policy.fewer_neighbors))


def _similar_head(
    potential: Potential, options: ModelOptions, head: HeadConfig, frames: Sequence[Frame], direct: bool,
    device: torch.device, messages: list[str],
) -> tuple[str | None, dict[str, float]]:
    """Name of the old head to start from (None: new weights), and the force RMSE of those compared."""
    heads = energy_heads(potential.config, direct=direct)
    if options.init_head == "scratch" or (head.kind != "energy" and options.init_head == "auto"):
        return None, {}
    if head.kind != "energy":
        raise UsageError("A head for a target starts from new weights, not from a head for energies.",
                         hint="leave out --head")
    if options.init_head != "auto":
        if options.init_head not in {h.name for h in heads}:
            raise ModelError(f"There is no head {options.init_head!r} to start from.",
                             hint=f"choose one of {', '.join(h.name for h in heads)}, auto or scratch")
        return options.init_head, {}
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
