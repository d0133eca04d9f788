"""What a compiled training step is made for: everything that its code depends on, and nothing else.

Weights, constants of heads (references, scales, binding energies) and batches are inputs. Fine-tunings of one
network on any data therefore share a program, and so do the processes of a run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import jmp_calc
from jmp_calc.model.config import HeadConfig, Theory, model_config_from_dict, to_dict

from ..config import ForcesMode, LossConfig, TrainConfig
from ..optim.lora import train_low_rank

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

_SOURCES = ("model", "graph", "inference/compiled.py")
"""What makes the code of a program, beside this package and the loss: a change there makes another one."""


@dataclass(frozen=True)
class StepSpec:
    """A program: which network, with which heads and trained weights, for which loss."""

    network: dict[str, Any]
    """Configuration of the model with the heads of the run alone, which have numbers instead of names."""
    dtype: str
    trained: tuple[str, ...]
    """Names of the trained weights in that model."""
    low_rank: tuple[int, float | None] | None
    """Rank and α of the updates that are trained instead of the weights."""
    forces: ForcesMode
    stress: bool
    loss: dict[str, Any]

    @property
    def key(self) -> str:
        """Name of the program's file: differs with all that its code depends on."""
        machine = (torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine())
        text = "\n".join([self.to_json(), *machine, _sources()])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads in the network of the program."""
        return tuple(head["name"] for head in self.network["heads"])

    @property
    def loss_config(self) -> LossConfig:
        """The settings of the loss."""
        return LossConfig(**{**self.loss, "class_weights": tuple(self.loss["class_weights"])})

    def to_json(self) -> str:
        """As text, the same for equal programs."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StepSpec:
        """Inverse of ``to_json``."""
        data = json.loads(text)
        low_rank = None if data["low_rank"] is None else tuple(data["low_rank"])
        return cls(**{**data, "trained": tuple(data["trained"]), "low_rank": low_rank})

    def new_potential(self) -> Potential:
        """A network of this kind with random weights, ready for training."""
        from jmp_calc.model.potential import Potential

        potential = Potential(model_config_from_dict(self.network)).to(getattr(torch, self.dtype)).train()
        if self.low_rank is not None:
            train_low_rank(potential, *self.low_rank)
        for name, weight in potential.named_parameters():
            weight.requires_grad_(name in self.trained)
        return potential


def step_spec(
    potential: Potential, heads: Sequence[str], config: TrainConfig, forces: ForcesMode, *, stress: bool
) -> StepSpec:
    """The program of a network as it is trained, for batches with these heads."""
    weights = dict(potential.named_parameters())
    names = numbered_names(weights, heads)
    described = tuple(
        _anonymous(potential.config.head(head), f"head{number}") for number, head in enumerate(heads)
    )
    network = dataclasses.replace(
        potential.config, heads=described, default_head=None, default_heads=None, head_aliases={}
    )
    loss = dataclasses.asdict(config.loss) | {"class_weights": list(config.loss.class_weights)}
    return StepSpec(
        network=json.loads(json.dumps(to_dict(network))),
        dtype=str(potential.dtype).removeprefix("torch."),
        trained=tuple(new for new, old in names.items() if weights[old].requires_grad),
        low_rank=None if config.lora_rank is None else (config.lora_rank, config.lora_alpha),
        forces=forces,
        stress=stress,
        loss=loss,
    )


def numbered_names(names: Sequence[str] | dict[str, Any], heads: Sequence[str]) -> dict[str, str]:
    """Names in a model by names in the network of the program, sorted by the latter; other heads are left
    out."""
    numbers = {head: number for number, head in enumerate(heads)}
    found = {}
    for name in names:
        parts = name.split(".")
        if parts[0] == "heads":
            if parts[1] not in numbers:
                continue
            parts[1] = f"head{numbers[parts[1]]}"
        found[".".join(parts)] = name
    return dict(sorted(found.items()))


def _anonymous(head: HeadConfig, name: str) -> HeadConfig:
    """A head without what belongs to its data: that is an input, or means nothing to a program."""
    return dataclasses.replace(
        head,
        name=name,
        energy_scale=1.0,
        force_scale=1.0,
        level_of_theory="",
        theory=Theory(),
        domain=(),
        elements=None,
        errors=(),
        pairs=None if head.pairs is None else {},
        references={},
        reference_kind="none",
        binding={1: 0.0} if head.binding else {},
    )


@cache
def _sources() -> str:
    """Digest of the files that make programs."""
    package, training = Path(jmp_calc.__file__).parent, Path(__file__).parents[1]
    roots = [*(package / name for name in _SOURCES), training / "loss.py", training / "compiled"]
    files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()
