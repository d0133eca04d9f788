"""The programs of a run as each of its processes uses them: loaded when they are there, checked, or not used.

A program lies in a file whose name says what it is made for (``StepSpec.key``), in the folder of inductor's
cache. One process of a run has it made (``background.py``); all of them look for it at every part of a step,
and compute the part by the network as long as there is none. The first part of every class of sizes (powers
of two) is computed by both.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jmp_calc.graph.dropout import EdgeScales
from jmp_calc.inference.compiled import CheckedSizes, first_line, sizes_of
from jmp_calc.inference.memory import choose_recompute
from jmp_calc.inference.program import load_code, read_header_as
from jmp_calc.io.schema import parse
from jmp_calc.model.cost import GraphCounts
from jmp_calc.zoo.header import plain_json

from ..config import ForcesMode, TrainConfig
from ..loss import LossShare
from ..optim.gradients import wants_stress
from .inputs import NetworkInputs, part_tensors
from .spec import StepSpec, step_spec

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Largest difference between program and network: of the loss terms relative to the loss, of the gradients to
the norm of all. Rounding of float32 is about 1e-7, and more where errors of forces come near it."""


@dataclass(frozen=True)
class Kind:
    """Which programs a run may need."""

    forces: ForcesMode
    stress: bool


@dataclass(frozen=True)
class StepHeader:
    """What a program's file says about its outputs."""

    gradients: tuple[str, ...]
    """Weights by their names in the program."""

    @classmethod
    def read(cls, path: Path) -> StepHeader:
        """From the file of a program, without its code; ModelError where it is damaged."""
        return read_header_as(path, lambda text: parse(cls, plain_json(text), "header"))


@dataclass(frozen=True, eq=False)
class StepProgram:
    """Machine code from the tensors of network and part to loss terms (4,) and gradients."""

    run: Callable[[list[Tensor]], Sequence[Tensor]]
    gradients: tuple[str, ...]
    """Weights by their names in the program."""

    @classmethod
    def load(cls, path: Path) -> StepProgram:
        """From a file; ModelError where it is damaged."""
        return cls(load_code(path), StepHeader.read(path).gradients)


def program_folder() -> Path:
    """Where programs lie: the cache of inductor, without the seconds that it takes to import it."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if folder is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError, ImportError):  # users without a name, as containers make them
            user = f"uid_{os.getuid()}"
        folder = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")
    return Path(folder) / "jmp_calc"


class CompiledGradients:
    """Gradients of parts of steps by the programs of a run; in pickles without what was loaded."""

    def __init__(self, potential: Potential, heads: Sequence[str], config: TrainConfig) -> None:
        """``potential``: as it is trained, with its updates; ``heads``: of all batches."""
        modes: list[ForcesMode] = [config.forces]
        if config.conservative_after is not None:
            modes.append("conservative")
        kinds = [Kind(mode, stress) for mode in modes for stress in (False, True)]
        self.config, self.heads = config, tuple(heads)
        self.specs: dict[Kind, StepSpec] = {
            kind: step_spec(potential, heads, config, kind.forces, stress=kind.stress) for kind in kinds
        }
        self.files = {kind: program_folder() / f"{spec.key}.pt2" for kind, spec in self.specs.items()}
        self._begin()

    def _begin(self) -> None:
        self.missing: Counter[Kind] = Counter()
        """Parts that were computed by the network, for want of a program."""
        self.failure: str | None = None
        """Why programs are not used any more."""
        self.loaded: dict[Kind, StepProgram] = {}
        self._network: NetworkInputs | None = None
        self._checked: dict[Kind, CheckedSizes] = defaultdict(CheckedSizes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("config", "heads", "specs", "files")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __call__(
        self, potential: Potential, part: LossShare, forces: ForcesMode, eager: Callable[[], Tensor]
    ) -> Tensor:
        """Add the gradients of a part to the weights; returns total, energy, forces, stress, scalar (5,).

        ``eager`` does the same by the network.
        """
        quadruplets = potential.config.backbone.quad_interaction
        sizes = sizes_of(part.target.batch, quadruplets=quadruplets)
        if self.failure is not None or not self._is_served(potential, part, sizes):
            return eager()
        kind = Kind(forces, wants_stress(part.target, forces, self.config))
        program = self._program(kind)
        if program is None:
            self.missing[kind] += 1
            return eager()
        network = self._network = self._network or NetworkInputs.of(potential, self.heads)
        try:
            terms, gradients = self._computed(program, network, part)
        except Exception as error:  # of compiled code; the network needs none of it
            self._give_up(first_line(error))
            return eager()
        if not self._checked[kind].cover(sizes):
            terms, agree = self._compared(network, terms, gradients, eager)
            if agree:
                self._checked[kind].add(sizes)
            return terms
        add_gradients(network, gradients)
        return terms

    def _is_served(self, potential: Potential, part: LossShare, sizes: tuple[int, ...]) -> bool:
        """Whether programs are for such a batch: no dropped edges, no size of 0 or 1, and all fits into
        memory."""
        batch, config = part.target.batch, potential.config
        if batch.scales != EdgeScales() or min(sizes) < 2:
            return False
        recompute = choose_recompute(
            config,
            GraphCounts.of_batch(batch),
            potential.dtype.itemsize,
            "training",
            self.config.activation_checkpointing,
            batch.numbers.device,
        )
        return recompute == "nothing"

    def _program(self, kind: Kind) -> StepProgram | None:
        """A program for parts of a kind: that with stress serves those without labels for it too."""
        for other in (kind, Kind(kind.forces, True)):
            if other not in self.loaded and self.files[other].is_file():
                try:
                    self.loaded[other] = StepProgram.load(self.files[other])
                except Exception as error:  # a damaged file, or one that torch cannot load
                    with suppress(OSError):
                        self.files[other].unlink()
                    self._give_up(first_line(error))
                    return None
            if other in self.loaded:
                return self.loaded[other]
        return None

    def _computed(
        self, program: StepProgram, network: NetworkInputs, part: LossShare
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Terms (5,) and gradients by the names of the weights in the program, of the heads of the part."""
        tensors = [*network.tensors(), *part_tensors(part, network)]
        with torch.no_grad():
            terms, *gradients = program.run([tensor.contiguous() for tensor in tensors])
        heads = {f"head{self.heads.index(head)}" for head in part.target.heads}
        found = {
            name: gradient
            for name, gradient in zip(program.gradients, gradients, strict=True)
            if not name.startswith("heads.") or name.split(".")[1] in heads
        }
        return torch.cat([terms.sum().reshape(1), terms]), found

    def _compared(
        self,
        network: NetworkInputs,
        terms: Tensor,
        gradients: dict[str, Tensor],
        eager: Callable[[], Tensor],
    ) -> tuple[Tensor, bool]:
        """Add the gradients of the program if they are those of the network, else those of the network;
        whether they are."""
        weights = network.weights
        before = {name: weight.grad for name, weight in weights.items()}
        for weight in weights.values():
            weight.grad = None
        expected = eager()
        right = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        difference = largest_difference(terms, gradients, expected, right)
        agree = difference <= TOLERANCE[next(iter(weights.values())).dtype]
        if not agree and bool(torch.isfinite(expected).all()):
            self._give_up(f"its gradients differ by {difference:.1e} from those of the network")
        for name, weight in weights.items():
            weight.grad = before[name]
        add_gradients(network, gradients if agree else right)
        return (terms if agree else expected), agree

    def _give_up(self, reason: str) -> None:
        self.failure, self.loaded, self._network = reason, {}, None


def add_gradients(network: NetworkInputs, gradients: dict[str, Tensor]) -> None:
    """Add gradients (of any shape), by the names of the weights in a program, to those that there are."""
    for name, gradient in gradients.items():
        weight = network.weights[name]
        weight.grad = gradient if weight.grad is None else weight.grad + gradient


@torch.no_grad()
def largest_difference(
    terms: Tensor, gradients: dict[str, Tensor], expected: Tensor, right: dict[str, Tensor]
) -> float:
    """Largest difference of the loss terms (5,) over the loss, or of one weight's gradient (of any shape)
    over the norm of all; infinite where one side lacks a gradient."""
    norm = torch.stack([value.norm() for value in right.values()]).norm().clamp(min=1e-30)
    found = [(terms - expected).abs().max() / expected[0].abs().clamp(min=1e-30)]
    for name in {*gradients, *right}:
        one, other = gradients.get(name), right.get(name)
        if one is None or other is None:
            return float("inf")
        found.append(((one - other).norm() / norm).to(found[0]))
    return float(torch.stack(found).max())
