"""The network as compiled code (torch's inductor): many small operations become fewer and larger ones.

One program is made per calculator, at its first call: energy, forces and stress of one structure, derived by
autograd and traced with symbols for all sizes, so that it serves any structure and no step of a dynamics
compiles again. It holds the same equations as the network: it is traced from it. Where a program cannot be
made, or does not agree with the network, the network itself is used, with a warning. Batches of several
structures have a program of their own, with a symbol for their number too, made at the first of them.
``export.py`` keeps that of single structures in a file.

What jmp-xs gains on 2 cores (benchmarks/compiled.py): 3.7 times the steps for ethanol, 3.1 for aspirin, 2.1
for a peptide of 62 atoms, 1.8 for Si64, 1.4 for 192 atoms of water. The first call takes 1.5 minutes, half a
minute in later processes, from inductor's cache on disk. CUDA takes the same way; it has not been measured.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import JMPWarning
from ..graph.batch import Batch, Edges, filled, flat
from ..machine.host_memory import allocation_errors
from ..model.potential import Prediction

if TYPE_CHECKING:
    from torch.fx import GraphModule

logger = logging.getLogger("jmp_calc")

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference to the network in eV per atom, eV/Å and eV/Å³, for forces up to 1 eV/Å; larger ones
scale it."""
LARGEST_EDGES = 12_000
"""Main edges up to which a program is used: so far the gain was measured, and the network cares for memory
beyond."""
EDGES_TOGETHER = 6_000
"""Main edges of a batch: more do not make it faster (benchmarks/screen.py relax)."""
EXAMPLE_ATOMS, EXAMPLE_ELEMENTS, EXAMPLE_STRUCTURES = 23, 5, 7
EXAMPLE_MAIN, EXAMPLE_A2A, EXAMPLE_A2EE2A, EXAMPLE_QINT = (302, 19), (358, 29), (262, 17), (131, 11)
"""Sizes that are traced: edges and slots per atom, and structures where there are several. No two are equal,
or they would count as one size for ever."""
OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"cpp_wrapper": True, "cpp_wrapper_build_separate": True},
    "cuda": {},
}
"""Of inductor. On a CPU C++ also calls the operations (a third faster for ethanol), and compiles beside its
kernels."""

Evaluation = Callable[[Batch], Prediction]


class CompiledEvaluation:
    """An evaluation of batches: by a program where there is one, by the network otherwise."""

    def __init__(
        self,
        network: Evaluation,
        dtype: torch.dtype,
        *,
        quadruplets: bool,
        program: Program | None = None,
        choice: str = "compile=True",
    ) -> None:
        """Compiles nothing yet.

        Args:
            network: what the program must do.
            dtype: precision of the network.
            quadruplets: whether the network reads the graph qint.
            program: of this network, for single structures; batches of several go to the network then. None:
                one for single structures and one for several are made when they are needed.
            choice: the argument that asked for it, for warnings.
        """
        self._network, self._quadruplets, self._choice = network, quadruplets, choice
        self._tolerance = TOLERANCE[dtype]
        self._programs: dict[bool, Program] = {} if program is None else {False: program}
        """By whether they are for several structures."""
        self.several = program is None
        """Whether batches of several structures have a program too."""
        self._given_up = False
        self._lock = threading.Lock()
        self._checked = {several: CheckedSizes() for several in (False, True)}

    def __call__(self, batch: Batch) -> Prediction:
        """The prediction for a batch; torch.OutOfMemoryError where it does not fit."""
        sizes = sizes_of(batch, quadruplets=self._quadruplets)
        several = batch.n_structures > 1
        no_program = batch.main.count > LARGEST_EDGES or (several and not self.several)
        if self._given_up or no_program or min(sizes) < 2:  # sizes 0 and 1 are never symbols
            return self._network(batch)
        # The network goes first, because it keeps constants that it makes, and those of a traced call would
        # be symbols.
        checked = self._checked[several]
        sizes = (batch.n_structures, *sizes)
        expected = None if checked.cover(sizes) else self._network(batch)
        try:
            with self._lock:  # copies of a calculator share this object, and may be used by several threads
                program = self._programs.get(several) or compiled_program(self._network, batch)
                self._programs[several] = program
            with allocation_errors():
                prediction = program(batch)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways, and the network needs none of them
            self._give_up(first_line(error))
            return expected or self._network(batch)
        if expected is not None:
            difference = largest_difference(prediction, expected)
            if not difference <= self._tolerance:
                self._give_up(f"its results differ by {difference:.1e} from those of the network")
                return expected
            checked.add(sizes)
        return prediction

    def _give_up(self, reason: str) -> None:
        self._given_up, self._programs = True, {}
        warnings.warn(JMPWarning(f"{self._choice} has no effect: {reason}."), stacklevel=2)


def sizes_of(batch: Batch, *, quadruplets: bool) -> tuple[int, ...]:
    """All sizes of a batch that are symbols in a program, but the numbers of elements and structures."""
    graphs = [batch.main, batch.a2a, batch.a2ee2a, *([batch.qint] if quadruplets else [])]
    return (batch.n_atoms, *(size for edges in graphs for size in (edges.count, edges.slots.shape[1])))


class CheckedSizes:
    """Sizes of batches at which a program agreed with the network.

    Code may take another path for another size (of a vector, of a product of matrices): it is compared at
    every power of two of each size by itself. All powers of all sizes together would be a comparison for
    nearly every batch of some structures that end one after the other.
    """

    def __init__(self) -> None:
        self._powers: set[tuple[int, int]] = set()

    def cover(self, sizes: Sequence[int]) -> bool:
        """Whether each size, by its place, had this power of two before."""
        return self._powers.issuperset(_powers(sizes))

    def add(self, sizes: Sequence[int]) -> None:
        """The program agreed for these."""
        self._powers.update(_powers(sizes))


def _powers(sizes: Sequence[int]) -> set[tuple[int, int]]:
    return {(place, size.bit_length()) for place, size in enumerate(sizes)}


@dataclass(frozen=True)
class Program:
    """Compiled code for one structure of any size, or for any number of at least two."""

    run: Callable[[list[Tensor]], Sequence[Tensor]]
    """From all tensors of a batch to the outputs."""
    outputs: tuple[str, ...]
    """Fields of the prediction, in their order."""

    def __call__(self, batch: Batch) -> Prediction:
        """The prediction for a batch of as many structures as the program is for."""
        if batch.lone_numbers.shape[0] == 1:  # a size of 1 is never a symbol; the second is not used
            batch = replace(batch, lone_numbers=batch.lone_numbers.repeat(2))
        with torch.no_grad():
            found = dict(zip(self.outputs, self.run(flat(batch)), strict=True))
        return Prediction(found["energy"], found["energies"], found.get("forces"), found.get("stress"))


def compiled_program(network: Evaluation, batch: Batch) -> Program:
    """Compile for structures on the device of ``batch``, one or several as there; any exception of torch's
    compiler."""
    from torch._inductor import compile as compile_graph

    device = batch.positions.device.type
    started = time.perf_counter()
    graph, inputs, outputs = traced(network, batch)
    with torch.no_grad():
        run = compile_graph(graph, inputs, options=OPTIONS[device])
    logger.info("compiled %d operations in %.0f s", len(graph.graph.nodes), time.perf_counter() - started)
    return Program(lambda tensors: run(*tensors), outputs)


def traced(network: Evaluation, batch: Batch) -> tuple[GraphModule, list[Any], tuple[str, ...]]:
    """All operations of an evaluation with symbols for sizes, its inputs as fake tensors, and what its
    outputs are; for one structure, or for any number of several if ``batch`` has several."""
    from torch.fx.experimental.proxy_tensor import make_fx

    if batch.positions.device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()  # raises now, not after all was traced
    several = batch.n_structures > 1
    example, outputs = example_batch(batch, EXAMPLE_STRUCTURES if several else 1), list[str]()

    def evaluate(*tensors: Tensor) -> list[Tensor]:
        given = filled(example, tensors)
        prediction = network(replace(given, n_structures=given.cell.shape[0]) if several else given)
        outputs[:] = [item.name for item in fields(prediction) if getattr(prediction, item.name) is not None]
        return [getattr(prediction, name) for name in outputs]

    # Weights are constants of the program: they are frozen, and no fake tensors.
    sums: dict[Any, Callable[..., Tensor]] = {torch.ops.aten.index_add.default: scattered_sum}
    graph = make_fx(evaluate, sums, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*flat(example))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    inputs = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    return graph, inputs, tuple(outputs)


def example_batch(batch: Batch, n_structures: int = 1) -> Batch:
    """Zeros of the example sizes, on the device of ``batch`` and with its identity of graphs."""
    device = batch.positions.device

    def integers(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    def reals(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=device)

    def edges(count: int, width: int) -> Edges:
        ends = integers(count), integers(count)
        slots, place = integers(EXAMPLE_ATOMS, width), integers(count)
        return Edges(*ends, reals(count, 3), integers(count), slots, place)

    main, qint = edges(*EXAMPLE_MAIN), edges(*EXAMPLE_QINT)
    a2ee2a = main if batch.a2ee2a is batch.main else edges(*EXAMPLE_A2EE2A)
    return Batch(
        positions=reals(EXAMPLE_ATOMS, 3),
        numbers=integers(EXAMPLE_ATOMS),
        cell=reals(n_structures, 3, 3),
        structure=integers(EXAMPLE_ATOMS),
        n_structures=n_structures,
        main=main,
        a2a=edges(*EXAMPLE_A2A),
        a2ee2a=a2ee2a,
        qint=qint,
        swap=integers(main.count),
        a2ee2a_of_main=integers(main.count),
        main_of_a2ee2a=integers(a2ee2a.count),
        qint_of_main=integers(main.count),
        mirror_of_qint=integers(qint.count),
        triangle=integers(EXAMPLE_ATOMS, EXAMPLE_MAIN[1], EXAMPLE_QINT[1]),
        lone_numbers=integers(EXAMPLE_ELEMENTS),
        lone_of_atom=integers(EXAMPLE_ATOMS),
        cutoffs=None if batch.cutoffs is None else reals(EXAMPLE_ATOMS, 3),
    )


def scattered_sum(start: Tensor, dim: int, index: Tensor, rows: Tensor) -> Tensor:
    """``index_add`` along axis 0, that inductor leaves to torch with several threads: its own has another
    order in every run."""
    places = index.view(-1, *[1] * (rows.dim() - 1)).expand_as(rows)
    return start.scatter_reduce(dim, places, rows, "sum")


@torch.no_grad()
def largest_difference(found: Prediction, expected: Prediction) -> float:
    """Largest difference of two predictions in eV per atom, eV/Å and eV/Å³, divided by the largest force
    beyond 1 eV/Å."""
    differences = []
    for item in ("energies", "forces", "stress"):
        one, other = getattr(found, item), getattr(expected, item)
        if other is not None:
            both_undefined = one.isnan() & other.isnan()
            differences.append(torch.where(both_undefined, 0.0, one - other).abs().max())
    largest_force = 1.0 if expected.forces is None else max(1.0, float(expected.forces.abs().max()))
    return float(torch.stack(differences).max()) / largest_force


def first_line(error: Exception) -> str:
    """What an error says, without the compiler's output."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
