"""Compile a training step into a file: ``python -m jmp_calc.training.compiled.build SPEC OUT``.

A process of its own, so that neither the interpreter lock nor the memory of the compiler is the run's. It
ends with the process that started it. What goes wrong is one line on stderr.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from jmp_calc.inference.compiled import first_line
from jmp_calc.inference.export import write_package
from jmp_calc.io.atomic import replacing

from .programs import StepHeader
from .spec import StepSpec
from .trace import traced_step

WATCH_S = 2.0


def main(spec_file: str, out: str) -> int:
    """Compile unless another process has done so meanwhile; 0, or 1 after a line that says why not."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    path = Path(out)
    try:
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                build(StepSpec.from_json(Path(spec_file).read_text()), path)
    except Exception as error:  # compilers fail in many ways
        print(first_line(error), file=sys.stderr)
        return 1
    return 0


def build(spec: StepSpec, path: Path) -> None:
    """Compile the step of ``spec`` and write it to ``path``, which appears complete or not at all."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    get_cpp_compiler()  # raises now, not after all was traced
    torch.manual_seed(0)
    began = time.monotonic()
    traced = traced_step(spec)
    with tempfile.TemporaryDirectory(prefix="jmp-calc-") as folder, replacing(path) as temporary:
        package = Path(folder) / "program.pt2"
        header = json.dumps(dataclasses.asdict(StepHeader(traced.gradients)))
        write_package(package, traced.graph, traced.inputs, header)
        temporary.write_bytes(package.read_bytes())
    print(f"compiled in {time.monotonic() - began:.0f} s", flush=True)


def _end_with(parent: int) -> None:
    """End this process and the compilers that it started when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
