"""Processes forked from a server that has imported everything once: then a start is quick.

What a process prints goes to files of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jmp_calc.cli.main import cli, report
from jmp_calc.machine.signals import sigterm_raises

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [__name__, "tests.training.helpers.two_processes", "lightning_fabric", "jmp_calc.cli.training.finetune"]
)


def prepared(
    target: Callable[..., None],
    *arguments: Any,
    output: Path,
    variables: Mapping[str, str | None] | None = None,
) -> Any:
    """A process of ``target(*arguments)`` that has yet to be started; it writes ``output``.stdout and
    ``output``.stderr, and a variable None is taken away."""
    return CONTEXT.Process(target=_run, args=(target, arguments, dict(variables or {}), output))


@contextmanager
def served(target: Callable[..., None], *arguments: Any, output: Path) -> Iterator[Any]:
    """Such a process at work; it is killed where it has not ended behind the block."""
    process = prepared(target, *arguments, output=output)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def command(*words: object) -> None:
    """The command line, as a target."""
    cli.main([str(word) for word in words])


def _run(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    variables: dict[str, str | None],
    output: Path,
) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    for stream, name in ((1, "stdout"), (2, "stderr")):
        with open(f"{output}.{name}", "wb") as file:
            os.dup2(file.fileno(), stream)
    try:
        with sigterm_raises():
            target(*arguments)
    except BaseException as error:
        sys.exit(report(error))
