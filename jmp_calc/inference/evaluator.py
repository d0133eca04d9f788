"""A loaded model with everything that one evaluation needs: checks, graphs, prediction, results.

``JMPCalculator`` is the ASE side of it. Nothing here keeps results: calls do not depend on each other.
"""

from __future__ import annotations

import copy
import logging
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ase.calculators.calculator import PropertyNotImplementedError

from .. import checks
from ..errors import JMPError, OutOfMemoryError, UsageError
from ..graph.neighbours import NeighbourSearch, neighbour_edges
from ..machine.device import free_memory
from ..machine.forks import evaluating
from ..machine.host_memory import allocation_errors
from ..machine.malloc import LARGE_BYTES, keep_large_arrays
from ..model.cost import GraphCounts
from ..model.recompute import Recompute
from ..version import __version__
from .head_choice import Decided
from .info import ModelInfo, model_info, with_choice
from .memory import SMALL, choose_recompute, estimated_bytes, expected_counts, refuse_if_too_large
from .opened import loaded_model, opened_model
from .properties import needs_gradient, of_stress
from .results import check_results, single_results, to_numpy
from .settings import Output, Settings, structure_graph
from .told import Told
from .uncertainty import FileCommittee, Source, deviations, refuse_other_method, source_of

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.build import Graph
    from ..model.config import HeadConfig
    from ..model.potential import Layer, Prediction
    from .compiled import CompiledEvaluation, Evaluation
    from .program import ProgramHeader

logger = logging.getLogger("jmp_calc")


class Evaluator:
    """Evaluates structures with one head of one model on one device."""

    def __init__(self, settings: Settings, *, gives: Output = "energy") -> None:
        """Load the model; errors of the settings, the file and the device as in JMPCalculator.

        ``gives``: what the head gives; other than energies, ``Prediction.energy`` has it in label units.
        """
        self.settings = settings
        # The caller may be inside inference_mode: constants made there could never carry a gradient.
        with evaluating(), torch.inference_mode(False):
            loaded = loaded_model(settings)
            opened = opened_model(loaded, settings, gives)
            self.potential, self.choice, self.policy = opened.potential, opened.choice, opened.policy
            self.device = opened.device
            self.potential.freeze(
                "direct" if settings.forces == "direct" or gives == "vector" else "conservative"
            )
        self.config = self.potential.config
        self._knowledge = loaded.knowledge
        self._source: Source | FileCommittee | None = None
        self._info = model_info(loaded, self.policy, settings, str(self.device))
        self._compiled: CompiledEvaluation | None = None
        if self.choice.head is not None:
            self._compile()
        self._pid = os.getpid()
        self._told: frozenset[str] = frozenset()
        known = loaded.knowledge.elements if gives == "energy" else None
        self._warnings = Told(self.config, self._info.name, settings.elements, known)
        if self.choice.head is not None and settings.uncertainty is not None:
            self._uncertain()  # what the file lacks is said now, not after the first structure

    @property
    def head(self) -> HeadConfig:
        """The head; UsageError where a structure has to decide first."""
        return self.choice.certain

    @property
    def info(self) -> ModelInfo:
        """Where the model comes from and how it is used."""
        return with_choice(self._info, self.choice)

    def decide_head(self, atoms: Atoms) -> str | None:
        """Let a structure decide for a default head, as the first that is computed does; returns what the
        user is to be told, once. The errors of ``prepare``; ModelError for a structure of another kind."""
        if self.choice.head is None:
            checks.check_atoms(atoms, num_elements=self.config.backbone.num_elements)
        self._warnings.elements(self.choice.candidate(atoms), atoms.numbers)
        told = self.choice.decide(atoms)
        if told is not None:
            self._compile()
        return told

    def with_choice(self, decided: Decided | None) -> None:
        """Let the structure that has decided for an equal evaluator decide here."""
        if decided is not None:
            self.choice.decided = decided
            self._compile()

    def __copy__(self) -> Evaluator:
        """One that shares the weights, and decides for a head on its own if that is still to be done."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.choice, twin._warnings = copy.copy(self.choice), copy.copy(self._warnings)
        return twin

    def evaluate(self, atoms: Atoms, properties: Sequence[str], search: NeighbourSearch) -> dict[str, Any]:
        """Results of one structure: what was asked for, and what comes at no extra cost."""
        graph = self.prepare(atoms, properties, search)
        try:
            return self.results([atoms], [graph], properties)[0]
        except torch.OutOfMemoryError as error:
            raise self.out_of_memory(graph) from error

    def results(
        self, structures: Sequence[Atoms], graphs: Sequence[Graph], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Results of structures whose graphs are made, as one batch; torch.OutOfMemoryError where they do not
        fit."""
        gradient = needs_gradient(properties)
        # One backward pass gives both: cell relaxations and NPT ask for forces and stress in two calls.
        stress = [gradient and self.why_no_stress(atoms) is None for atoms in structures]
        shares = "stresses" in properties
        prediction = self.predict(graphs, forces=gradient, stress=any(stress), stresses=shares, describe=True)
        sizes = [graph.n_atoms for graph in graphs]
        found = single_results(prediction, sizes, stress)
        if prediction.features is not None:
            self._warnings.surroundings(graphs, to_numpy(prediction.features[: sum(sizes)]))
        if self.settings.uncertainty is not None:
            self._add_deviations(structures, graphs, prediction, found, forces="forces_std" in properties)
        return found

    def together(self, structures: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        """Results of structures that fit into one batch; the errors of ``prepare_all``."""
        return self.results(structures, self.prepare_all(structures, properties, "structure"), properties)

    def prepare(
        self, atoms: Atoms, properties: Sequence[str], search: NeighbourSearch = neighbour_edges
    ) -> Graph:
        """The graphs of one structure, after refusing what cannot be computed or would not fit into
        memory."""
        gradient = needs_gradient(properties)
        self._check(atoms, properties)
        if of_stress(properties):
            self.require_stress(atoms)
        graph = self.build_graph(atoms, search)
        self._guard_memory(GraphCounts.of(graph), gradient)
        if "descriptors" not in properties:
            self._warnings.pairs(self.head, graph)
        return graph

    def prepare_all(
        self, structures: Iterable[Atoms], properties: Sequence[str], what: str, first: int = 0
    ) -> list[Graph]:
        """The graphs of several structures; errors name the structure as ``what`` and its number."""
        graphs = []
        for number, atoms in enumerate(structures, start=first):
            try:
                graphs.append(self.prepare(atoms, properties))
            except JMPError as error:
                raise type(error)(error.fact, where=f"{what} {number}", hint=error.hint) from error
            except PropertyNotImplementedError as error:
                raise PropertyNotImplementedError(f"{what} {number}: {error}") from error
        return graphs

    def build_graph(self, atoms: Atoms, search: NeighbourSearch = neighbour_edges) -> Graph:
        """The neighbour graphs of one structure (numpy)."""
        return structure_graph(atoms, self.config, search)

    def predict(
        self,
        graphs: Sequence[Graph],
        *,
        forces: bool,
        stress: bool,
        stresses: bool = False,
        describe: bool = False,
    ) -> Prediction:
        """Evaluate structures as one batch; torch.OutOfMemoryError where they do not fit.

        With a compiled network, a single structure gets forces and stress in any case, several where forces
        are asked for; stresses of atoms are left to the network. ``describe``: with the final features,
        unless the network is compiled.
        """
        from ..graph.batch import collate

        mode = self.settings.forces if forces else "none"
        with evaluating(), ExitStack() as stack:
            # The caller's no_grad, inference_mode and autocast must not reach the gradient that gives the
            # forces.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad() if mode == "conservative" else torch.no_grad())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            stack.enter_context(allocation_errors())
            batch = collate(graphs, device=self.device)
            recompute = self.memory_plan(GraphCounts.of_batch(batch)) if mode == "conservative" else "nothing"
            compiled = self._compiled if recompute == "nothing" and not stresses else None
            if compiled is not None and (forces or len(graphs) == 1):
                return compiled(batch)
            return self.potential(  # type: ignore[no-any-return]
                batch,
                heads=self.head.name,
                forces=mode,
                stress=stress,
                stresses=stresses,
                describe=describe,
                recompute=recompute,
            )

    @property
    def edges_together(self) -> float:
        """Main edges of a batch beyond which a compiled program would not be used for it; inf without one."""
        if self._compiled is None or not self._compiled.several:
            return float("inf")
        from .compiled import EDGES_TOGETHER

        return EDGES_TOGETHER

    def _uncertain(self) -> Source | FileCommittee:
        """Where standard deviations come from, once the head is known; ModelError where there is nothing."""
        if self._source is None:
            if self.settings.committee:
                own = replace(self.settings, uncertainty=None, committee=(), compile=False, compiled=None)
                others = [type(self)(replace(own, model=path)) for path in self.settings.committee]
                for path, other in zip(self.settings.committee, others, strict=True):
                    refuse_other_method(self.head, other.choice.head, path)
                self._source = FileCommittee(others)
            else:
                kind, name = self.settings.uncertainty or "", self._info.name
                self._source = source_of(self.potential, self.head, self._knowledge, kind, name)
        return self._source

    def _add_deviations(
        self,
        structures: Sequence[Atoms],
        graphs: Sequence[Graph],
        prediction: Prediction,
        found: Sequence[dict[str, Any]],
        *,
        forces: bool,
    ) -> None:
        """Standard deviations beside the results, those of the forces where they are asked for."""
        source = self._uncertain()
        if isinstance(source, FileCommittee):
            more = source.results(structures, found, forces=forces)
        else:
            plan = self.memory_plan if forces else None
            more = deviations(self.potential, source, graphs, self.device, prediction.features, plan)
        for own, deviation in zip(found, more, strict=True):
            check_results(deviation)
            own.update(deviation)

    @property
    def network(self) -> Evaluation:
        """The network with all outputs that this calculator can be asked for."""
        conservative = self.settings.forces == "conservative"
        return partial(self.potential, heads=self.head.name, forces=self.settings.forces, stress=conservative)

    def program_header(self) -> ProgramHeader:
        """The header of a compiled program that this evaluation could use."""
        from .program import FORMAT_VERSION, ProgramHeader

        info = self.info
        return ProgramHeader(
            format_version=FORMAT_VERSION,
            jmp_calc=__version__,
            torch=torch.__version__,
            device=self.device.type,
            system=f"{platform.system()} {platform.machine()}",
            instructions=torch.backends.cpu.get_cpu_capability(),
            model=info.name,
            sha256=info.sha256,
            weights=info.weights,
            head=self.head.name,
            dtype=info.dtype,
            forces=info.forces,
            policy=info.policy,
        )

    def _compile(self) -> None:
        """Take a compiled program for the head, where the settings ask for one."""
        if self.settings.compile or self.settings.compiled is not None:
            self._compiled = self._compiled_evaluation(self.potential.dtype)

    def _compiled_evaluation(self, dtype: torch.dtype) -> CompiledEvaluation:
        from .compiled import CompiledEvaluation

        program, choice = None, "compile=True"
        if self.settings.compiled is not None:
            from .program import load_program

            program, choice = (
                load_program(self.settings.compiled, self.program_header()),
                f"compiled={self.settings.compiled!r}",
            )
        quadruplets = self.config.backbone.quad_interaction
        return CompiledEvaluation(
            self.network, dtype, quadruplets=quadruplets, program=program, choice=choice
        )

    def descriptors(self, graphs: Sequence[Graph], layer: Layer) -> torch.Tensor:
        """Features of all atoms (N, D) of structures as one batch; torch.OutOfMemoryError where they do not
        fit."""
        from ..graph.batch import collate

        with (
            evaluating(),
            torch.inference_mode(False),
            torch.autocast(self.device.type, enabled=False),
            allocation_errors(),
        ):
            return self.potential.descriptors(collate(graphs, device=self.device), layer)  # type: ignore[no-any-return]

    def memory_plan(self, counts: GraphCounts) -> Recompute:
        """What is recomputed for forces, from the setting and the free memory."""
        choice = self.settings.activation_checkpointing
        return choose_recompute(
            self.config, counts, self.potential.dtype.itemsize, "forces", choice, self.device
        )

    def out_of_memory(self, graph: Graph) -> OutOfMemoryError:
        """The error for a structure that did not fit."""
        return OutOfMemoryError(
            f"{self.device} ran out of memory for {graph.n_atoms} atoms and {graph.n_edges} edges.",
            hint="use a smaller cell, a smaller model, or device='cpu'",
        )

    def needed_bytes(self, counts: GraphCounts, gradient: bool) -> float:
        """Estimated memory of one structure's evaluation with its memory plan."""
        itemsize = self.potential.dtype.itemsize
        if not gradient:
            return estimated_bytes(self.config, counts, itemsize, "energy")
        return estimated_bytes(self.config, counts, itemsize, "forces", self.memory_plan(counts))

    def why_no_stress(self, atoms: Atoms) -> str | None:
        """The reason why a structure has no stress, or None."""
        if self.settings.forces == "direct":
            return (
                "stress needs the gradient of the energy, and this calculator was made with forces='direct'"
            )
        return checks.why_no_stress(atoms.cell.array, atoms.pbc)

    def require_stress(self, atoms: Atoms) -> None:
        """PropertyNotImplementedError with the reason where there is no stress."""
        reason = self.why_no_stress(atoms)
        if reason is not None:
            raise PropertyNotImplementedError(reason)

    def _check(self, atoms: Atoms, properties: Sequence[str]) -> None:
        if self.device.type == "cuda" and os.getpid() != self._pid:
            raise UsageError(
                "This calculator lives on a GPU and cannot be used in a forked process.",
                hint="start processes with multiprocessing's 'spawn', or make the calculator in the child",
            )
        checks.check_atoms(atoms, num_elements=self.config.backbone.num_elements)
        if "descriptors" in properties:  # the same for all heads
            self._warnings.known(atoms.numbers)
        else:
            told = self.decide_head(atoms)
            if told is not None:
                logger.warning(told)
            self._warnings.elements(self.head, atoms.numbers)
        ignored = frozenset(checks.ignored_inputs(atoms)) - self._told
        if ignored:
            self._told |= ignored
            logger.info("%s are ignored: the model does not read them", " and ".join(sorted(ignored)))
        if len(atoms) > checks.MANY_ATOMS:
            self._guard_memory(expected_counts(atoms, self.policy), needs_gradient(properties))

    def _guard_memory(self, counts: GraphCounts, gradient: bool) -> None:
        needed = self.needed_bytes(counts, gradient)
        if needed > LARGE_BYTES and self.device.type == "cpu":
            keep_large_arrays()
        if needed > SMALL:
            refuse_if_too_large(counts.atoms, counts.main, needed, free_memory(self.device))
