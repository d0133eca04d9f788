"""Programs compiled ahead of time: ``jmp-calc export --to aoti`` writes one, ``JMPCalculator(..., compiled=FILE)`` reads it.

The program is that of ``compiled.py``, traced alike, but made by torch's AOTInductor into a file: a .pt2 archive with a shared
library, in which the weights are, and a header (JSON) that says what it was made of and for. The header is read, and all of
it compared with the calculator, before any code is loaded: code for another torch, model or processor would give other
numbers or end the process. What is right then is still checked against the network for each class of sizes.

The library is machine code and runs with the rights of the user: files from elsewhere are as dangerous as any program.
CPUs only, so far.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import __version__
from .compiled import TOLERANCE, Program, first_line, largest_difference, traced
from .errors import JMPError, ModelError, UsageError
from .model.config import GraphPolicy
from .zoo.container import write_atomically
from .zoo.header import plain_json
from .zoo.schema import parse

if TYPE_CHECKING:
    from ase import Atoms
    from torch.fx import GraphModule

    from .calculator import JMPCalculator
    from .evaluator import Evaluator

FORMAT_VERSION = 1
HEADER = "jmp_calc.json"
ARCHITECTURES = {"DEFAULT": "x86-64", "AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
"""What the C++ compiler may use on x86, by torch's name of the processor's vector instructions; the later have the earlier."""
OUTPUTS = {"conservative": ("energy", "energies", "forces", "stress"), "direct": ("energy", "energies", "forces")}
"""What a program gives, by the kind of its forces, in the order of ``Prediction``."""
LABELS = {
    "format_version": "format version", "jmp_calc": "jmp-calc", "torch": "torch", "device": "device", "system": "system",
    "instructions": "processors with", "weights": "weights", "head": "head", "dtype": "dtype", "forces": "forces",
}  # fmt: skip
SETTINGS = ("device", "weights", "head", "dtype", "forces")
"""Those of the header that are arguments of a calculator."""
HINT = "make the file again: jmp-calc export MODEL --to aoti"


@dataclass(frozen=True)
class ProgramHeader:
    """What a program was made of and for."""

    format_version: int
    jmp_calc: str
    torch: str
    device: str
    system: str
    """Operating system and processor, such as "Linux x86_64"."""
    instructions: str
    """torch's name of the vector instructions: DEFAULT, AVX2, AVX512, or another on other processors."""
    model: str
    sha256: str
    """Of the model's file."""
    weights: str
    head: str
    dtype: str
    forces: str
    policy: GraphPolicy

    @classmethod
    def of(cls, evaluator: Evaluator) -> ProgramHeader:
        """The header of a program that ``evaluator`` could use."""
        info = evaluator.info
        return cls(
            FORMAT_VERSION, __version__, torch.__version__, evaluator.device.type,
            f"{platform.system()} {platform.machine()}", torch.backends.cpu.get_cpu_capability(), info.name, info.sha256,
            info.weights, info.head, info.dtype, info.forces, info.policy,
        )  # fmt: skip


def export_program(calculator: JMPCalculator, path: str | os.PathLike[str]) -> float:
    """Compile the network of a calculator into a file that ``JMPCalculator(..., compiled=path)`` reads (minutes).

    Args:
        calculator: on a CPU; model, head, precision, kind of forces and graphs of the program are its own.
        path: file to write, it appears complete or not at all; the name ends with .pt2.

    Returns:
        Largest difference to the network for a crystal in eV per atom, eV/Å and eV/Å³ (see ``compiled.largest_difference``).

    Raises:
        UsageError: the calculator is not on a CPU, or the name does not end with .pt2.
        JMPError: torch could not compile it, or the program differs from the network.
    """
    path, evaluator = Path(path), calculator._evaluator
    if path.suffix != ".pt2":
        raise UsageError("the name of a compiled program ends with .pt2", where=str(path))
    if evaluator.device.type != "cpu":
        raise UsageError(f"programs are exported for CPUs only, and this calculator is on {evaluator.device}",
                         hint="choose device='cpu'")  # fmt: skip
    from .graph.batch import collate

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
            write_package(package, graph, inputs, ProgramHeader.of(evaluator))
        except Exception as error:  # compilers fail in many ways
            raise JMPError(f"the network could not be compiled: {first_line(error)}",
                           hint="a C++ compiler is needed: g++ or clang++, or the one that CXX names") from error  # fmt: skip
        difference = largest_difference(load_program(package, evaluator)(batch), expected)
        if not difference <= TOLERANCE[evaluator.potential.dtype]:
            raise JMPError(f"the compiled program is wrong by {difference:.1e}, nothing was written")
        write_atomically(path, [package.read_bytes()])
    return difference


def write_package(path: Path, graph: GraphModule, inputs: list[Any], header: ProgramHeader) -> None:
    """Compile a traced evaluation and write it with its header as a .pt2 archive; any exception of torch's compiler."""
    from torch._inductor import aot_compile
    from torch.export.pt2_archive._package import package_pt2

    options: dict[str, Any] = {
        "aot_inductor.package": True,
        "aot_inductor.output_path": str(path.parent),
        "cpp.dynamic_threads": True,  # as many as torch has when it is called, not now
    }
    if platform.machine() in ("x86_64", "AMD64"):  # not all that this very processor has: the file may be used on another
        options["cpp.march"] = ARCHITECTURES[header.instructions]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch copies its own options in a way that it deprecates
        files: Any = aot_compile(graph, tuple(inputs), options=options)
    text = json.dumps(dataclasses.asdict(header), allow_nan=False)
    package_pt2(str(path), aoti_files=files, extra_files={HEADER: text})


def load_program(path: str | os.PathLike[str], evaluator: Evaluator) -> Program:
    """The program in a file, which must have been made for this evaluator.

    Raises:
        ModelError: not such a file, damaged, or made for something else.
    """
    header = read_header(Path(path))
    check_header(header, ProgramHeader.of(evaluator), str(path))
    # The loader behind torch._inductor.aoti_load_package, which imports the whole compiler (seconds) around it.
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader(os.fspath(path), "model", False, 1, -1)
    except RuntimeError as error:
        raise ModelError(f"the compiled program cannot be loaded: {first_line(error)}", where=str(path), hint=HINT) from error
    return Program(loader.run, OUTPUTS[header.forces])


def read_header(path: Path) -> ProgramHeader:
    """What a program was made for; loads no code. ModelError: no such file, or not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{HEADER}")]
            text = archive.read(names[0]).decode() if len(names) == 1 else ""
        if not text:
            raise ValueError("it has no header")
        return parse(ProgramHeader, plain_json(text), "header")
    except OSError as error:
        raise ModelError(f"cannot open the compiled program: {error.strerror}", where=str(path), hint=HINT) from error
    except (zipfile.BadZipFile, ValueError, ModelError) as error:
        raise ModelError(f"this is no file of jmp-calc export --to aoti, or it is damaged: {error}", where=str(path),
                         hint=HINT) from error  # fmt: skip


def check_header(found: ProgramHeader, wanted: ProgramHeader, where: str) -> None:
    """ModelError that names the first difference between what a program was made for and what it is to be used for."""
    for item in dataclasses.fields(ProgramHeader):
        theirs, ours = getattr(found, item.name), getattr(wanted, item.name)
        if item.name == "model" or theirs == ours:  # the model is told by its sha256
            continue
        if item.name == "instructions" and runs_on(theirs, ours):
            continue
        if item.name == "policy":
            fact = "the compiled program is for other graphs (cutoffs, neighbours or tags) than those of this calculator"
        elif item.name == "sha256":
            fact = f"the compiled program is of another file of {found.model} (sha256 {theirs[:12]}…, this: {ours[:12]}…)"
        else:
            fact = f"the compiled program is for {LABELS[item.name]} {theirs}, not {ours}"
        hint = f"choose {item.name}={theirs!r}, or {HINT}" if item.name in SETTINGS else HINT
        raise ModelError(fact, where=where, hint=hint)


def runs_on(theirs: str, ours: str) -> bool:
    """Whether code for the vector instructions ``theirs`` runs on an x86 processor with ``ours``."""
    names = list(ARCHITECTURES)
    return theirs in names and ours in names and names.index(theirs) <= names.index(ours)


def check_structure(evaluator: Evaluator) -> Atoms:
    """A disordered crystal of up to four elements of the head, for the check."""
    from ase import Atoms

    spacing, elements = 2.2, (evaluator.head.elements or (1, 6, 7, 8))[:4]
    grid = spacing * np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms(np.resize(elements, len(grid)), grid, cell=[2 * spacing] * 3, pbc=True)
    atoms.rattle(0.1, seed=0)
    return atoms
