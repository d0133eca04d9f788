"""The networks of a run that goes on: heads that other data have changed, and old heads that its saved model
has no more."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from jmp_calc.model.config import HeadConfig

from ..config import TrainConfig
from ..data.frame import Frame
from ..data.pairs import shorter
from ..optim.lora import merged, train_low_rank
from ..run.checkpoint import Checkpoint
from ..validation.domains import in_order
from .fitted_energies import with_fitted_energies
from .start import Start

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential


def with_data_of_now(
    potential: Potential,
    checkpoint: Checkpoint,
    facts: Mapping[str, Any],
    start: Start,
    train: Sequence[Frame],
    config: TrainConfig,
) -> Potential:
    """The network of a saved state, whose new head and committee also know the elements and pairs of the
    frames that are trained on from now on, with their references; as it is for the frames of before.

    The weights belong to the references of before: the mean energies are fitted again.

    Args:
        potential: of the state.
        checkpoint: the state.
        facts: identity of the data of now.
        start: the start of a run with the data of now.
        train: frames to train on.
        config: settings of now.
    """
    before, head = checkpoint.data, start.head
    references = (item.get("start", {}).get("references") for item in (before, facts))
    if before.get("train") == facts["train"] and len({str(item) for item in references}) == 1:
        return potential
    names = {head.name, *head.committee}
    heads = [_joined(old, head) if old.name in names else old for old in potential.config.heads]
    potential = potential.with_config(dataclasses.replace(potential.config, heads=tuple(heads)))
    device = next(potential.parameters()).device
    fitted = with_fitted_energies(_updated(potential, checkpoint, config), head.name, train, device)
    return potential.with_config(fitted.config)


def _joined(old: HeadConfig, new: HeadConfig) -> HeadConfig:
    """The head with the elements, pairs, domains and references of both; an element that both know has the
    reference of ``new``."""
    elements = None if old.elements is None else tuple(sorted({*old.elements, *(new.elements or ())}))
    pairs = None if old.pairs is None or new.pairs is None else shorter((old.pairs, new.pairs))
    domain = in_order((*old.domain, *new.domain))
    head = dataclasses.replace(old, elements=elements, pairs=pairs, domain=domain)
    if old.kind != "energy" or new.reference_kind == "none":
        return head
    return dataclasses.replace(
        head,
        references={**old.references, **new.references},
        reference_kind=new.reference_kind,
        binding={**new.binding, **old.binding},
    )


def _updated(potential: Potential, checkpoint: Checkpoint, config: TrainConfig) -> Potential:
    """The network with the low-rank updates of the state, if there are any, in its weights."""
    if config.lora_rank is None:
        return potential
    whole = copy.deepcopy(potential)
    train_low_rank(whole, config.lora_rank, config.lora_alpha)
    whole.load_state_dict(checkpoint.weights)
    return merged(whole)


def with_fixed_heads(potential: Potential, start: Start) -> Potential:
    """The network with the old heads of the start that nobody trained, where it has them no more: a model
    that was published when the run was complete, and that its continuation reads again.

    ``start``: of a resumed run, whose network is trained apart from it.
    """
    config, first = potential.config, start.potential
    having = {head.name for head in config.heads}
    missing = [name for name in start.fixed_heads if name not in having]
    if not missing:
        return potential
    prefixes = tuple(f"heads.{name}." for name in missing)
    state = {name: value for name, value in first.state_dict().items() if name.startswith(prefixes)}
    heads = (*config.heads, *(first.config.head(name) for name in missing))
    return potential.from_state(
        config.with_heads(heads, start.head.name), {**potential.state_dict(), **_on(state, potential)}
    )


def _on(state: Mapping[str, torch.Tensor], potential: Potential) -> dict[str, torch.Tensor]:
    """The tensors in the precision and on the device of the network."""
    like = next(potential.parameters())
    return {name: value.to(like) for name, value in state.items()}
