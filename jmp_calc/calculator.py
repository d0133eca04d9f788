"""JMPCalculator: a JMP model as an ASE calculator.

Energies are in eV, forces in eV/Å and stresses in eV/Å³ (Voigt-6, ASE's sign). Nothing global is touched: no default
dtype, TF32 switch, environment variable or random state, and the user's Atoms are only read.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from . import checks
from .device import choose_device, choose_dtype, free_memory
from .errors import ModelError, OutOfMemoryError, UsageError
from .info import model_info, symbols
from .memory import estimated_bytes, expected_edges
from .model.config import PolicyName
from .settings import Settings, check_settings, choose_head, choose_policy, portable, uncovered

if TYPE_CHECKING:
    from ase import Atoms

    from .graph.build import Graph
    from .jumps import JumpReport
    from .model.config import ModelConfig
    from .model.potential import Prediction

logger = logging.getLogger("jmp_calc")
PROPERTIES = ("energy", "free_energy", "energies", "forces", "stress")


class JMPCalculator(Calculator):
    """Energies, forces and stresses of a JMP model for ASE.

    Args:
        model: name ('jmp-xs', 'jmp-s', 'jmp-l'), path of one of our files, or path of an official checkpoint (.pt).
        head: which output of the model; None takes the file's default head. Fixed for the life of the calculator.
        device: 'auto' (CUDA if there is one), 'cpu', 'cuda' or 'cuda:N'.
        dtype: precision of the network, 'float32' or 'float64'; positions and energy sums are float64 always.
        forces: 'conservative' (gradient of the energy) or 'direct' (own output, only some official heads).
        weights: which weights of an official checkpoint: 'ema', 'raw' or 'official-ft'.
        graph: None takes the file's policy; 'official' or 'smooth' asks for one by name.
        cutoff: overrides the cutoff in Å (smooth: of the main graph).
        max_neighbors: overrides the one neighbour number of the policy.
        tags: 'atoms' reads atoms.get_tags() (0 sub-surface, 1 surface, 2 adsorbate); None: all atoms count as 2.
    """

    implemented_properties: ClassVar[list[str]] = list(PROPERTIES)
    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        head: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        forces: Literal["conservative", "direct"] = "conservative",
        weights: Literal["ema", "raw", "official-ft"] = "ema",
        graph: PolicyName | None = None,
        cutoff: float | None = None,
        max_neighbors: int | None = None,
        tags: Literal["atoms"] | None = None,
    ) -> None:
        super().__init__()
        settings = Settings(
            portable(model), head, str(device), str(dtype), forces, weights, graph, cutoff, max_neighbors, tags
        )
        check_settings(settings)
        self._device, torch_dtype = choose_device(settings.device), choose_dtype(settings.dtype)
        from .model.potential import Potential
        from .zoo.names import resolve

        # The caller may be inside inference_mode: weights made there could never carry a gradient.
        with torch.inference_mode(False):
            loaded = resolve(settings.model, weights=settings.weights)
            self._head = choose_head(loaded.potential.config, settings)
            self._policy = choose_policy(loaded.potential.config, self._head, settings)
            potential = loaded.potential
            if self._policy != potential.config.policy:
                config = dataclasses.replace(potential.config, policy=self._policy)
                potential = Potential.from_state(config, potential.state_dict())
            self._potential = potential.to(device=self._device, dtype=torch_dtype).eval()
            self._potential.freeze(forces)
        self._settings = settings
        self.parameters = dataclasses.asdict(settings)
        self.info = model_info(loaded, self._head, self._policy, settings, str(self._device))
        self._start()

    def _start(self) -> None:
        self.atoms = None
        self.results: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._told: frozenset[str] = frozenset()
        self._jump_warned = False
        self._tags: np.ndarray | None = None

    # ------------------------------------------------------------------ ASE interface

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's comparison (positions, numbers, cell, pbc), a charge in info, and tags where the model reads them."""
        changes = super().check_state(atoms, tol=tol)
        if self._policy.tags == "atoms" and (
            self._tags is None or not np.array_equal(self._tags, atoms.get_tags())
        ):
            changes.append("tags")
        if checks.has_charge(atoms.info):
            changes.append("charge")  # nothing cached is valid for it: calculate will refuse
        return changes

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """One property of `atoms`, from the cache if nothing changed; a copy, so callers may change it."""
        with self._lock:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"{name} is not implemented by JMPCalculator; available: {', '.join(PROPERTIES)}"
                )
            subject = self.atoms if atoms is None else atoms
            if name == "stress" and subject is not None:
                self._require_stress(subject)
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute the properties (and what comes at no extra cost) of `atoms` into self.results.

        Raises BadStructureError, ModelError, OutOfMemoryError or PropertyNotImplementedError.
        """
        with self._lock:
            atoms = self.atoms if atoms is None else atoms
            if atoms is None:
                raise UsageError("calculate was called without atoms")
            unknown = sorted(set(properties) - set(PROPERTIES))
            if unknown:
                raise PropertyNotImplementedError(
                    f"{', '.join(unknown)} is not implemented by JMPCalculator; available: {', '.join(PROPERTIES)}"
                )
            # Cleared first and set last: an interrupt or error in between leaves an empty cache, never a wrong one.
            self.atoms, self.results = None, {}
            snapshot = atoms.copy()
            results = self._evaluate(snapshot, properties)
            self._tags = snapshot.get_tags()
            self.atoms, self.results = snapshot, results

    def set(self, **settings: Any) -> dict[str, Any]:
        """Refused with settings: they are fixed, make a new calculator to change one (UsageError)."""
        if settings:
            raise UsageError(
                f"settings of a JMPCalculator are fixed ({', '.join(sorted(settings))} cannot be set)",
                hint="make a new JMPCalculator",
            )
        return {}

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Settings that differ from the defaults and the model's sha256, as plain JSON types."""
        shown = {
            field.name: getattr(self._settings, field.name)
            for field in dataclasses.fields(self._settings)
            if not skip_default or getattr(self._settings, field.name) != field.default
        }
        return {**shown, "sha256": self.info.sha256}

    # ------------------------------------------------------------------ beyond ASE

    def measured_jump(self, atoms: Atoms, *, displacement: float = 0.01, probes: int = 4) -> JumpReport:
        """How far the energy jumps where neighbours swap near this structure; see jmp_calc.jumps."""
        from .jumps import measured_jump

        return measured_jump(self, atoms, displacement=displacement, probes=probes)

    def warn_if_not_smooth(self, atoms: Atoms) -> None:
        """Before dynamics or phonons: warn once if the energy has jumps, with their size measured at `atoms`."""
        if self._policy.name == "official" and not self._jump_warned:
            from .jumps import warn_of_jumps

            self._jump_warned = True
            warn_of_jumps(self.measured_jump(atoms))

    @property
    def model_config(self) -> ModelConfig:
        """Sizes, graphs and heads of the model, with the graphs that this calculator uses."""
        return self._potential.config

    def build_graph(self, atoms: Atoms) -> Graph:
        """The neighbour graphs this calculator uses for `atoms` (numpy, one structure)."""
        from .graph.build import build_graph

        tags = atoms.get_tags() if self._policy.tags == "atoms" else None
        return build_graph(
            np.array(atoms.positions, dtype=float), np.array(atoms.numbers), atoms.cell.array.copy(),
            np.array(atoms.pbc), self._policy, tags, self._potential.config.backbone.qint_tags,
        )  # fmt: skip

    # ------------------------------------------------------------------ copies

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._settings, self.info.sha256, self.atoms, self.results)

    def restore(self, atoms: Atoms | None, results: dict[str, Any]) -> None:
        """Fill the cache with results computed earlier for `atoms` by an equal calculator."""
        self.atoms, self.results = atoms, results
        self._tags = None if atoms is None else atoms.get_tags()

    def __copy__(self) -> JMPCalculator:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._start()
        with self._lock:
            twin.restore(None if self.atoms is None else self.atoms.copy(), copy.deepcopy(self.results))
        twin.parameters = dict(self.parameters)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> JMPCalculator:
        """A calculator with its own cache that shares the (frozen) weights."""
        return self.__copy__()

    # ------------------------------------------------------------------ evaluation

    def _evaluate(self, atoms: Atoms, properties: Sequence[str]) -> dict[str, Any]:
        gradient = "forces" in properties or "stress" in properties
        self._check(atoms, gradient)
        if "stress" in properties:
            self._require_stress(atoms)
        # One backward pass gives both: cell relaxations and NPT ask for forces and stress in two calls.
        stress = gradient and self._why_no_stress(atoms) is None
        prediction = self._predict(atoms, forces=gradient, stress=stress)
        energy = float(prediction.energy.detach()[0])
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": _numpy(prediction.energies)}
        if prediction.forces is not None:
            results["forces"] = _numpy(prediction.forces)
        if prediction.stress is not None:
            full = _numpy(prediction.stress)[0]
            results["stress"] = full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]].copy()
        _check_results(results)
        return results

    def _predict(self, atoms: Atoms, *, forces: bool, stress: bool) -> Prediction:
        from .graph.batch import collate

        mode = self._settings.forces if forces else "none"
        with ExitStack() as stack:
            # The caller's no_grad, inference_mode and autocast must not reach the gradient that gives the forces.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad() if mode == "conservative" else torch.no_grad())
            stack.enter_context(torch.autocast(self._device.type, enabled=False))
            graph = self.build_graph(atoms)
            self._guard_memory(len(atoms), graph.n_edges, len(graph.qint), forces)
            batch = collate([graph], device=self._device)
            if stress:  # graphs drop the vectors of open directions; the volume of a slab's cell needs them
                batch = dataclasses.replace(batch, cell=torch.tensor(atoms.cell.array[None], device=self._device))
            try:
                return self._potential(batch, heads=self._head.name, forces=mode, stress=stress)
            except torch.OutOfMemoryError as error:
                raise OutOfMemoryError(
                    f"{self._device} ran out of memory for {len(atoms)} atoms and {graph.n_edges} edges",
                    hint="use a smaller cell, a smaller model, or device='cpu'",
                ) from error

    def _check(self, atoms: Atoms, gradient: bool) -> None:
        if self._device.type == "cuda" and os.getpid() != self._pid:
            raise UsageError(
                "this calculator lives on a GPU and cannot be used in a forked process",
                hint="start processes with multiprocessing's 'spawn', or make the calculator in the child",
            )
        checks.check_atoms(atoms, num_elements=self._potential.config.backbone.num_elements)
        self._check_elements(atoms.numbers)
        ignored = frozenset(checks.ignored_inputs(atoms)) - self._told
        if ignored:
            self._told |= ignored
            logger.info("%s are ignored: the model does not read them", " and ".join(sorted(ignored)))
        if len(atoms) > checks.MANY_ATOMS:
            self._guard_memory(len(atoms), *expected_edges(atoms, self._policy), gradient)

    def _check_elements(self, numbers: np.ndarray) -> None:
        missing = uncovered(self._head, numbers)
        if not missing:
            return
        others = [
            head.name
            for head in self._potential.config.heads
            if head.kind == "energy" and head.elements is not None and not uncovered(head, numbers)
        ]
        hint = f"heads that cover this structure: {', '.join(others)}" if others else (
            f"no head of {self.info.name} covers this structure"
        )
        raise ModelError(
            f"head {self._head.name!r} was not trained on {', '.join(symbols(missing))}; "
            f"it covers {' '.join(symbols(self._head.elements or ()))}",
            hint=hint,
        )

    def _why_no_stress(self, atoms: Atoms) -> str | None:
        if self._settings.forces == "direct":
            return "stress needs the gradient of the energy, and this calculator was made with forces='direct'"
        return checks.why_no_stress(atoms.cell.array, atoms.pbc)

    def _require_stress(self, atoms: Atoms) -> None:
        reason = self._why_no_stress(atoms)
        if reason is not None:
            raise PropertyNotImplementedError(reason)

    def _guard_memory(self, n_atoms: int, n_edges: float, n_middle: float, gradient: bool) -> None:
        config, dtype = self._potential.config, self._settings.dtype
        needed = estimated_bytes(config, n_atoms, n_edges, n_middle, dtype, gradient=gradient)
        if needed > 2**28:  # asking the system costs more than a small calculation
            checks.refuse_if_too_large(n_atoms, needed, free_memory(self._device))


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """A float64 numpy copy that owns its memory."""
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float64)


def _check_results(results: dict[str, Any]) -> None:
    """ModelError naming the first property, and atom, that is NaN or infinite."""
    for name, value in results.items():
        bad = np.argwhere(~np.isfinite(value))
        if not len(bad):
            continue
        place = f" of atom {bad[0][0]}" if name in ("forces", "energies") else ""
        raise ModelError(
            f"the model returned a non-finite {name.rstrip('s') if place else name}{place}",
            hint="look for atoms far too close to each other; if there are none, try dtype='float64'",
        )


def _rebuild(settings: Settings, sha256: str, atoms: Atoms | None, results: dict[str, Any]) -> JMPCalculator:
    """Unpickle: load the model again from its file; ModelError if that file is not the same any more."""
    arguments = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    calculator = JMPCalculator(arguments.pop("model"), **arguments)
    if calculator.info.sha256 != sha256:
        raise ModelError(
            f"{settings.model} has changed since this calculator was pickled",
            where=f"sha256 {calculator.info.sha256[:12]}…, was {sha256[:12]}…",
        )
    calculator.restore(atoms, results)
    return calculator
