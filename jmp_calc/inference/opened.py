"""From settings to a network that is ready to evaluate: the one way in which a model is opened."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import ModelError
from ..machine.device import choose_device, choose_dtype
from .head_choice import HeadChoice
from .settings import Output, Settings, asked_name, check_settings, choose_head, choose_policy, output_of

if TYPE_CHECKING:
    from ..graph.policy import GraphPolicy
    from ..model.config import HeadConfig, ModelConfig
    from ..model.potential import Potential
    from ..zoo.container import LoadedModel
    from ..zoo.names import ModelFile


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A network on its device under the graphs that it is evaluated with."""

    potential: Potential
    choice: HeadChoice
    policy: GraphPolicy
    device: torch.device

    @property
    def head(self) -> HeadConfig:
        """The head; UsageError where a structure has to decide first."""
        return self.choice.certain

    @property
    def config(self) -> ModelConfig:
        """The configuration with these graphs."""
        return self.potential.config


def loaded_model(settings: Settings) -> LoadedModel:
    """The file behind the settings; UsageError for a setting that is none of its choices, ModelError for a
    file that is not there or damaged."""
    from ..zoo.names import resolve

    check_settings(settings)
    # The caller may be inside inference_mode: weights made there could never carry a gradient.
    with torch.inference_mode(False):
        return resolve(settings.model, weights=settings.weights)


def asked_output(settings: Settings) -> Output:
    """What the head gives that the settings mean, before the network is made; an energy where they mean none
    in particular.

    Raises:
        ModelError: no such model, or a damaged file.
    """
    from ..zoo.names import locate

    return _meant_output(_described(locate(settings.model)), settings)


def check_model(settings: Settings) -> None:
    """ModelError for a model that is not there, or is damaged or has no such head where one is named; makes
    no network."""
    from ..zoo.names import locate

    file = locate(settings.model)
    if settings.head is not None:
        config = _described(file)
        choose_head(config, settings, gives=_meant_output(config, settings), kind="molecules")


def _described(file: ModelFile) -> ModelConfig:
    from ..zoo.describe import describe_file

    return describe_file(file.path, official=file.official).config


def _meant_output(config: ModelConfig, settings: Settings) -> Output:
    asked = asked_name(config, settings)
    meant = [head for head in config.heads if head.name == asked or len(config.heads) == 1]
    return output_of(meant[0]) if meant else "energy"


def opened_model(loaded: LoadedModel, settings: Settings, gives: Output) -> OpenedModel:
    """The network of a file with head, graphs, device and precision of the settings.

    ``gives``: what the head is to give. ModelError for a head that is not there or gives something else, or
    graphs that the file was not made for; UsageError for a device or precision that there is not.
    """
    from ..model.potential import Potential

    device, dtype = choose_device(settings.device), choose_dtype(settings.dtype)
    with torch.inference_mode(False):
        potential = loaded.potential
        refuse_left_out(loaded, settings)
        choice = HeadChoice(potential.config, settings, gives)
        policy = _policy(potential.config, choice, settings)
        if policy != potential.config.policy:
            config = dataclasses.replace(potential.config, policy=policy)
            potential = Potential.from_state(config, potential.state_dict())
        return OpenedModel(potential.to(device=device, dtype=dtype).eval(), choice, policy, device)


def refuse_left_out(loaded: LoadedModel, settings: Settings) -> None:
    """ModelError with the reason for a head that was trained and is not in the file; heads with similar names
    are of other methods."""
    name = settings.head
    if name is None or loaded.potential.config.present_name(name) in loaded.potential.heads:
        return
    for note in loaded.card.notes:
        if note.startswith(f"The head {name} was left out"):
            raise ModelError(
                f"{settings.model} has no head {name!r}. {note}",
                hint="jmp-calc models info lists its heads; another file may have it (jmp-calc models list)",
            )


def _policy(config: ModelConfig, choice: HeadChoice, settings: Settings) -> GraphPolicy:
    """The graphs of whatever head will compute."""
    one, other = (choose_policy(config, head, settings) for head in choice.possible)
    if one != other:
        raise ModelError(
            f"The default heads of {settings.model} have different cutoffs: {choice.words}.",
            hint="choose one with head='NAME' (--head NAME)",
        )
    return one
