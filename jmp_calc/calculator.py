"""JMPCalculator: a JMP model as an ASE calculator.

Energies are in eV, forces in eV/Å and stresses in eV/Å³ (Voigt-6, ASE's sign). But for the memory that the
process keeps after a call of more than a gigabyte on a CPU (``allocator.py``), nothing global is touched: no
default dtype, TF32 switch, environment variable or random state, and the user's Atoms are only read.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from .arguments import names, structure_list
from .errors import ModelError, UsageError
from .graph.policy import PolicyName
from .graph.skin import ReusedNeighbours
from .inference.evaluator import Evaluator
from .inference.memory import Checkpointing
from .inference.properties import PROPERTIES, available_properties, check_properties
from .inference.settings import Elements, Settings, Uncertainty, absolute, dtype_name, portable
from .machine.forks import evaluating
from .model.elements import pair_numbers
from .unread import state_given

if TYPE_CHECKING:
    import torch
    from ase import Atoms
    from numpy.typing import NDArray

    from .graph.build import Graph
    from .hessian import Hessian
    from .inference.descriptors import Descriptors
    from .inference.head_choice import Decided
    from .inference.info import ModelInfo
    from .inference.jumps import JumpReport
    from .model.config import ModelConfig
    from .model.potential import Layer

SKIN = 0.6
"""Å that the kept neighbour list reaches beyond the cutoff; benchmarks/skin.py measures what it gains."""


class JMPCalculator(Calculator):
    """Energies (eV), forces (eV/Å) and stresses (eV/Å³) of a JMP model for ASE.

    ``calc.info`` says what it computes with. Settings are fixed for the life of a calculator.
    """

    implemented_properties: list[str] = list(PROPERTIES)  # noqa: RUF012
    """Of a calculator with an uncertainty two more. Stresses of atoms are computed only when asked for."""
    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        head: str | None = Settings.head,
        device: str | torch.device = Settings.device,
        dtype: str | torch.dtype = Settings.dtype,
        forces: Literal["conservative", "direct"] = Settings.forces,
        weights: Literal["ema", "raw", "official-ft"] = Settings.weights,
        graph: PolicyName | None = Settings.graph,
        cutoff: float | None = Settings.cutoff,
        max_neighbors: int | None = Settings.max_neighbors,
        tags: Literal["atoms"] | None = Settings.tags,
        elements: Elements = Settings.elements,
        activation_checkpointing: Checkpointing = Settings.activation_checkpointing,
        compile: bool = Settings.compile,
        compiled: str | os.PathLike[str] | None = Settings.compiled,
        uncertainty: Uncertainty | None = Settings.uncertainty,
        committee: Sequence[str | os.PathLike[str]] = Settings.committee,
    ) -> None:
        """Load a model.

        Args:
            model: name (jmp-xs, jmp-s, jmp-l), or path of a .safetensors file of ours or of an official .pt
                file.
            head: output of the model, by name; the file's default if none is given. A file may have two, for
                molecules and for periodic structures: the first structure decides for good, and one of the
                other kind is an error. Default: None.
            device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
            dtype: precision of the network, float32 or float64; positions and sums of energies are float64
                always. Default: "float32".
            forces: conservative (gradient of the energy) or direct (an output of its own, which only some
                official heads have). Default: "conservative".
            weights: which weights of an official checkpoint: ema (averaged), raw or official-ft. Default:
                "ema".
            graph: graph policy, official or smooth; the file's if none is given. Default: None.
            cutoff: cutoff of the main graph, Å; that of the head or the file if none is given. Default: None.
            max_neighbors: most neighbours of an atom; the file's numbers if none is given. Default: None.
            tags: "atoms" reads atoms.get_tags() (0 sub-surface, 1 surface, 2 adsorbate); with None all atoms
                count as 2. Default: None.
            elements: elements that are accepted: "trained", those that the head was trained on, or "any",
                with a warning: to compare with other code, for what it gives there is arbitrary. Default:
                "trained".
            activation_checkpointing: "on" keeps little for the forces and computes it again, a third slower;
                "off" keeps all; "auto" keeps what the free memory allows. Results are the same. Default:
                "auto".
            compile: compile the network at the first call: minutes, then 2 to 4 times the steps for small
                structures (see jmp_calc.inference.compiled). Default: False.
            compiled: file of ``jmp-calc export`` for this model and these settings: the same gain without the
                minutes. It holds code that is executed: name only files that you trust. Default: None.
            uncertainty: where energy_std and forces_std come from (docs/uncertainty.md): last-layer (what the
                file knows of its training data) or committee (heads of one file, or several files). Energies
                and forces stay as they are. Default: None.
            committee: further model files of the same method, for ``uncertainty`` committee. Default: ().

        Raises:
            UsageError: a setting that is none of its choices, or settings that exclude each other.
            ModelError: no such model or head, a damaged file, or settings that the model was not made for.
        """
        super().__init__()
        settings = Settings(
            model=portable(model),
            head=head,
            device=str(device),
            dtype=dtype_name(dtype),
            forces=forces,
            weights=weights,
            graph=graph,
            cutoff=cutoff,
            max_neighbors=max_neighbors,
            tags=tags,
            elements=elements,
            activation_checkpointing=activation_checkpointing,
            compile=compile,
            compiled=None if compiled is None else absolute(compiled),
            uncertainty=uncertainty,
            committee=tuple(portable(path) for path in names(committee, "committee")),
        )
        self.implemented_properties = list(available_properties(settings))
        self.evaluator = Evaluator(settings)
        self._settings = settings
        self.parameters = dataclasses.asdict(settings)
        self._start()

    def _start(self) -> None:
        self.atoms = None
        self.results: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._search = ReusedNeighbours(SKIN)
        self._jump_warned = False
        self._tags: np.ndarray | None = None

    @property
    def info(self) -> ModelInfo:
        """What it computes with, and where that comes from."""
        return self.evaluator.info

    def decide_head(self, atoms: Atoms) -> str | None:
        """Let a structure decide for one of two default heads, as the first that is computed does.

        Returns:
            what the user is to be told, the first time; None where nothing had to be decided.

        Raises:
            ModelError: a structure of another kind than the first.
        """
        return self.evaluator.decide_head(atoms)

    # ------------------------------------------------------------------ ASE interface

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's comparison (positions, numbers, cell, pbc), a charge in info, and tags where the model reads
        them."""
        changes = super().check_state(atoms, tol=tol)
        if self.evaluator.policy.tags == "atoms" and (
            self._tags is None or not np.array_equal(self._tags, atoms.get_tags())
        ):
            changes.append("tags")
        if state_given(atoms.info, atoms.numbers) is not None:
            changes.append("charge")  # nothing cached is valid for it: calculate will refuse
        return changes

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """One property of `atoms`, from the cache if nothing changed; a copy, so callers may change it."""
        with evaluating(), self._lock:  # in this order: a forked process would wait for the lock for ever
            check_properties([name], self.implemented_properties)
            subject = self.atoms if atoms is None else atoms
            if name in ("stress", "stresses") and subject is not None:
                self.evaluator.require_stress(subject)
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute the properties (and what comes at no extra cost) of `atoms` into self.results.

        Raises:
            BadStructureError: a structure that no model can evaluate. ModelError: elements that the head does
                not know. OutOfMemoryError: not enough memory. UsageError: no atoms, a forked process.
            PropertyNotImplementedError: a property that the structure or the head does not have.
        """
        with evaluating(), self._lock:
            atoms = self.atoms if atoms is None else atoms
            if atoms is None:
                raise UsageError("Calculate was called without atoms.")
            check_properties(properties, self.implemented_properties)
            # Cleared first and set last: an interrupt or error in between leaves an empty cache, never a
            # wrong one.
            self.atoms, self.results = None, {}
            snapshot = atoms.copy()
            results = self.evaluator.evaluate(snapshot, properties, self._search)
            self._tags = snapshot.get_tags()
            self.atoms, self.results = snapshot, results

    def set(self, **settings: Any) -> dict[str, Any]:
        """Refused with settings: they are fixed, make a new calculator to change one (UsageError)."""
        if settings:
            raise UsageError(
                f"Settings of a JMPCalculator are fixed ({', '.join(sorted(settings))} cannot be set).",
                hint="make a new JMPCalculator",
            )
        return {}

    def __repr__(self) -> str:
        shown = {**self.todict(), "head": self.info.head}
        words = [f"{name}={value!r}" for name, value in shown.items() if name not in ("model", "sha256")]
        return f"{type(self).__name__}({self._settings.model!r}, {', '.join(sorted(words))})"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Settings that differ from the defaults and the model's sha256, as plain JSON types."""
        shown = {
            field.name: getattr(self._settings, field.name)
            for field in dataclasses.fields(self._settings)
            if not skip_default or getattr(self._settings, field.name) != field.default
        }
        decided = {} if self.evaluator.choice.decided is None else {"head": self.info.head}
        return {**shown, **decided, "sha256": self.info.sha256}

    # ------------------------------------------------------------------ beyond ASE

    def measured_jump(self, atoms: Atoms, *, displacement: float = 0.01, probes: int = 4) -> JumpReport:
        """How far the energy jumps where neighbours swap near this structure; see
        jmp_calc.inference.jumps."""
        from .inference.jumps import measured_jump

        return measured_jump(self, atoms, displacement=displacement, probes=probes)

    def warn_if_not_smooth(self, atoms: Atoms) -> None:
        """Before dynamics or phonons: warn once if the energy has jumps, with their size measured at
        `atoms`."""
        if self.evaluator.policy.name == "official" and not self._jump_warned:
            from .inference.jumps import warn_of_jumps

            self._jump_warned = True
            warn_of_jumps(self.measured_jump(atoms))

    @property
    def shortest_distances(self) -> dict[tuple[int, int], float] | None:
        """Shortest distance in Å of every pair of elements in the training data of the head, by atomic
        numbers; None: not known. Dynamics and relaxations stop far below them."""
        pairs = self.evaluator.head.pairs
        return None if pairs is None else {pair_numbers(name): length for name, length in pairs.items()}

    @property
    def model_config(self) -> ModelConfig:
        """Sizes, graphs and heads of the model, with the graphs that this calculator uses."""
        return self.evaluator.config

    def batch(
        self, structures: Atoms | Iterable[Atoms], properties: Sequence[str] = ("energy", "forces")
    ) -> list[dict[str, Any]]:
        """Results of one structure or many of any size and periodicity, one dictionary each, in as few passes
        as fit memory.

        The numbers are those of single calls. The calculator's own cache and the structures stay as they are.

        Raises:
            The errors of ``calculate``, with the number of the structure.
        """
        from .inference.batching import evaluate_many

        check_properties(properties, self.implemented_properties)
        return evaluate_many(self.evaluator, structure_list(structures), properties)

    def descriptors(self, structures: Atoms | Iterable[Atoms], *, layer: Layer = "final") -> Descriptors:
        """Invariant features of the atoms of one structure or several, as the network sees them
        (docs/descriptors.md).

        Args:
            structures: of any size and periodicity; the features do not depend on what they are batched with.
            layer: after an interaction block, counted from 1, or 'final', what the heads read.

        Raises:
            UsageError: no such layer.
            The errors of ``calculate``, with the number of the structure; elements only have to be known to
            some head.
        """
        from .inference.descriptors import describe

        return describe(self.evaluator, structure_list(structures), layer)

    def get_hessian(self, atoms: Atoms | None = None, indices: Sequence[int] | None = None) -> Hessian:
        """Second derivatives of the energy by automatic differentiation, in the time of a few evaluations per
        atom (docs/vibrations.md).

        Args:
            atoms: the structure; the one that was computed last if none is given. Constraints are ignored.
            indices: numbers of the atoms whose derivatives are wanted; all if none are given.

        Raises:
            UsageError: no atoms, or indices that are none. PropertyNotImplementedError: forces='direct'.
            The errors of ``calculate``.
        """
        from .inference.differentiate import hessian

        with evaluating(), self._lock:
            subject = self.atoms if atoms is None else atoms
            if subject is None:
                raise UsageError("The Hessian was asked for without atoms.")
            return hessian(self.evaluator, subject.copy(), indices)

    def get_hessian_rows(self, atoms: Atoms, indices: Sequence[int]) -> NDArray[np.float64]:
        """Second derivatives of the energy by the positions of some atoms and of all: (n, 3, N, 3), eV/Å², as
        automatic differentiation gives them; of a supercell, the force constants of those atoms.

        Raises:
            UsageError: indices that are none. The other errors of ``get_hessian``.
        """
        from .inference.differentiate import hessian_rows

        with evaluating(), self._lock:
            return hessian_rows(self.evaluator, atoms.copy(), indices)

    def build_graph(self, atoms: Atoms) -> Graph:
        """The neighbour graphs this calculator uses for `atoms` (numpy, one structure)."""
        return self.evaluator.build_graph(atoms)

    # ------------------------------------------------------------------ copies

    def __reduce__(self) -> tuple[Any, ...]:
        choice = self.evaluator.choice
        return _rebuild, (self._settings, self.info.sha256, self.atoms, self.results, choice.decided)

    def restore(self, atoms: Atoms | None, results: dict[str, Any]) -> None:
        """Fill the cache with results computed earlier for `atoms` by an equal calculator."""
        self.atoms, self.results = atoms, results
        self._tags = None if atoms is None else atoms.get_tags()

    def __copy__(self) -> JMPCalculator:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.evaluator = copy.copy(self.evaluator)
        twin._start()
        with self._lock:
            twin.restore(None if self.atoms is None else self.atoms.copy(), copy.deepcopy(self.results))
        twin.parameters = dict(self.parameters)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> JMPCalculator:
        """A calculator with its own cache that shares the (frozen) weights."""
        return self.__copy__()


def _rebuild(
    settings: Settings,
    sha256: str,
    atoms: Atoms | None,
    results: dict[str, Any],
    decided: Decided | None,
) -> JMPCalculator:
    """Unpickle: load the model again from its file; ModelError if that file is not the same any more."""
    arguments = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    calculator = JMPCalculator(arguments.pop("model"), **arguments)
    if calculator.info.sha256 != sha256:
        raise ModelError(
            f"{settings.model} has changed since this calculator was pickled.",
            where=f"sha256 {calculator.info.sha256[:12]}…, was {sha256[:12]}…",
        )
    calculator.evaluator.with_choice(decided)
    calculator.restore(atoms, results)
    return calculator
