"""Programs compiled ahead of time: ``jmp-calc export --to aoti`` writes one, ``JMPCalculator(...,
compiled=FILE)`` reads it.

The program is that of ``compiled.py``, traced alike, but made by torch's AOTInductor into a file: a .pt2
archive with a shared library, in which the weights are, and a header (JSON) that says what it was made of and
for. The header is read, and all of
it compared with the calculator, before any code is loaded: code for another torch, model or processor would
give other numbers or end the process. What is right then is still checked against the network for each class
of sizes.

The library is machine code and runs with the rights of the user: files from elsewhere are as dangerous as any
program. CPUs only, so far.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ..errors import JMPError, UsageError
from ..zoo.container import write_atomically
from .compiled import TOLERANCE, first_line, largest_difference, traced
from .program import ARCHITECTURES, HEADER, load_program

if TYPE_CHECKING:
    from ase import Atoms
    from torch.fx import GraphModule

    from .evaluator import Evaluator


class OnEvaluator(Protocol):
    """What is exported: a calculator."""

    @property
    def evaluator(self) -> Evaluator:
        """The loaded model that computes for it."""
        ...


def export_program(calculator: OnEvaluator, path: str | os.PathLike[str]) -> float:
    """Compile the network of a calculator into a file that ``JMPCalculator(..., compiled=path)`` reads
    (minutes).

    Args:
        calculator: on a CPU; model, head, precision, kind of forces and graphs of the program are its own.
        path: file to write, it appears complete or not at all; the name ends with .pt2.

    Returns:
        Largest difference to the network for a crystal in eV per atom, eV/Å and eV/Å³ (see
        ``compiled.largest_difference``).

    Raises:
        UsageError: the calculator is not on a CPU, or the name does not end with .pt2.
        JMPError: torch could not compile it, or the program differs from the network.
    """
    path, evaluator = Path(path), calculator.evaluator
    if path.suffix != ".pt2":
        raise UsageError("The name of a compiled program ends with .pt2.", where=str(path))
    if evaluator.device.type != "cpu":
        raise UsageError(
            f"Programs are exported for CPUs only, and this calculator is on {evaluator.device}.",
            hint="choose device='cpu'",
        )
    from ..graph.batch import collate

    batch = collate([evaluator.build_graph(check_structure(evaluator))])
    with (
        tempfile.TemporaryDirectory(prefix="jmp-calc-") as folder,
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        package = Path(folder) / "program.pt2"
        expected = evaluator.network(batch)  # first: it keeps constants that a traced call must not make
        try:
            graph, inputs, _ = traced(evaluator.network, batch)
            header = dataclasses.asdict(evaluator.program_header())
            write_package(package, graph, inputs, json.dumps(header, allow_nan=False))
        except Exception as error:  # compilers fail in many ways
            raise JMPError(
                f"The network could not be compiled: {first_line(error)}.",
                hint="a C++ compiler is needed: g++ or clang++, or the one that CXX names",
            ) from error
        difference = largest_difference(load_program(package, evaluator.program_header())(batch), expected)
        if not difference <= TOLERANCE[evaluator.potential.dtype]:
            raise JMPError(f"The compiled program is wrong by {difference:.1e}, nothing was written.")
        write_atomically(path, [package.read_bytes()])
    return difference


def write_package(path: Path, graph: GraphModule, inputs: list[Any], text: str) -> None:
    """Compile a traced graph and write it with a header as a .pt2 archive; any exception of torch's compiler.

    Args:
        path: to write; its folder is used for what is made on the way.
        graph: operations.
        inputs: fake tensors.
        text: content of the header.
    """
    from torch._inductor import aot_compile
    from torch.export.pt2_archive._package import package_pt2

    options: dict[str, Any] = {
        "aot_inductor.package": True,
        "aot_inductor.output_path": str(path.parent),
        "cpp.dynamic_threads": True,  # as many as torch has when it is called, not now
    }
    if platform.machine() in (
        "x86_64",
        "AMD64",
    ):  # not all that this very processor has: the file may be used on another
        options["cpp.march"] = ARCHITECTURES[torch.backends.cpu.get_cpu_capability()]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # torch copies its own options in a way that it deprecates
        files: Any = aot_compile(graph, tuple(inputs), options=options)
    package_pt2(str(path), aoti_files=files, extra_files={HEADER: text})


def check_structure(evaluator: Evaluator) -> Atoms:
    """A disordered crystal of up to four elements of the head, for the check."""
    from ase import Atoms

    spacing, elements = 2.2, (evaluator.head.elements or (1, 6, 7, 8))[:4]
    grid = spacing * np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms(np.resize(elements, len(grid)), grid, cell=[2 * spacing] * 3, pbc=True)
    atoms.rattle(0.1, seed=0)
    return atoms
