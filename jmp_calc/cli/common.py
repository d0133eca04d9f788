"""What all commands share: options, configuration files, the output folder and its summary.

A command looks like this::

    @click.command()
    @structure_argument
    @common_options(out="./jmp_results/relax")
    @click.option("--fmax", default=0.01)
    def relax(struct: str, common: Common, fmax: float) -> None:
        with CommandRun(common, "relax", outputs=("opt.extxyz",), settings={"fmax": fmax}) as run:
            ...
            run.results = result.to_dict()
"""

from __future__ import annotations

import functools
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import JMPError, JMPWarning, NotConvergedError, UsageError, is_out_of_memory
from ..io.atomic import remove_partial
from ..io.outdir import (
    check_folder,
    check_free,
    check_inputs_kept,
    locked,
    make_folder,
    remove_old,
    with_prefix,
)
from ..io.summary import InputFile, OutputFile, Summary, environment, file_sha256, write_summary
from .config import config_option

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import JMPCalculator

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Common:
    """Values of the options that all computing commands share."""

    model: str
    head: str | None
    device: str
    dtype: str
    compile: bool
    compiled: Path | None
    out: Path
    prefix: str
    overwrite: bool
    dry_run: bool
    json: bool
    quiet: bool
    seed: int

    def calculator(self) -> JMPCalculator:
        """The JMPCalculator that these options describe (imports torch)."""
        from ..calculator import JMPCalculator

        return JMPCalculator(
            self.model,
            head=self.head,
            device=self.device,
            dtype=self.dtype,
            compile=self.compile,
            compiled=self.compiled,
        )

    def say(self, text: str) -> None:
        """A line for the user on stderr, unless --quiet; stdout is kept for --json."""
        if not self.quiet:
            click.echo(text, err=True)


def common_options(
    *,
    out: str,
    dtype: str = "float32",
    model: str | None = "jmp-xs",
    calculator: bool = True,
    network: bool = True,
) -> Callable[[F], F]:
    """Add the shared options and pass them as ``common: Common``; with ``model=None``, -m is required.

    ``calculator``: whether the command evaluates with ``common.calculator()``; the options of that alone are
        left out else. ``network``: whether model, head and seed are options; a recipe decides them else.
    """
    choices = [
        click.option(
            "-m",
            "--model",
            default=model,
            required=model is None,
            show_default=model is not None,
            help="Model name, or path of a .safetensors or official .pt file.",
        ),
        click.option("--head", default=None, help="Head of the model (default: the one the file names)."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed."),
    ]
    options = [
        *(choices if network else []),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "float64"]),
            default=dtype,
            show_default=True,
            help="Precision of the network.",
        ),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            default=Path(out),
            show_default=True,
            help="Output folder.",
        ),
        click.option("--prefix", default="", help="Put PREFIX- before every output file name."),
        click.option(
            "--overwrite/--no-overwrite", default=False, help="Replace earlier outputs (default: refuse)."
        ),
        click.option(
            "--dry-run", is_flag=True, help="Check everything, print what would be done, compute nothing."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="No progress and no messages except errors."),
        config_option,
    ]
    if calculator:
        compile_option = click.option(
            "--compile",
            "compile_network",
            is_flag=True,
            help="Compile the network: minutes at first, then faster steps; see jmp_calc.inference.compiled.",
        )
        compiled_option = click.option(
            "--compiled",
            type=click.Path(path_type=Path),
            default=None,
            help="File of jmp-calc export for this model, head and dtype; only one that you trust.",
        )
        options += [compile_option, compiled_option]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapper(
            *args: Any,
            device: str,
            dtype: str,
            out: Path,
            prefix: str,
            overwrite: bool,
            dry_run: bool,
            as_json: bool,
            quiet: bool,
            model: str = "",
            head: str | None = None,
            seed: int = 0,
            compile_network: bool = False,
            compiled: Path | None = None,
            **rest: Any,
        ) -> Any:
            if "/" in prefix or "\\" in prefix:
                raise UsageError(
                    "--prefix is a name, not a path.", where=prefix, hint="choose the folder with -o DIR"
                )
            common = Common(
                model,
                head,
                device,
                dtype,
                compile_network,
                compiled,
                out,
                prefix,
                overwrite,
                dry_run,
                as_json,
                quiet,
                seed,
            )
            return function(*args, common=common, **rest)

        decorated: Any = wrapper
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def structure_argument(function: F) -> F:
    """Add the positional STRUCT and its alias ``--struct``; the command receives ``struct: str``."""

    @click.argument("struct", required=False)
    @click.option("--struct", "struct_option", hidden=True, help="Same as the positional STRUCT.")
    @functools.wraps(function)
    def wrapper(*args: Any, struct: str | None, struct_option: str | None, **rest: Any) -> Any:
        chosen = [value for value in (struct, struct_option) if value is not None]
        if len(chosen) != 1:
            fact = "no structure was given" if not chosen else "the structure was given twice"
            raise UsageError(fact, hint="name one file: any format that ASE reads, FILE@INDEX for one frame")
        return function(*args, struct=chosen[0], **rest)

    return wrapper  # type: ignore[return-value]


class CommandRun:
    """One command at work: locks the folder, keeps summary.yaml, records warnings and the exit code.

    ``inputs`` are files (or names of models) that the run reads: --overwrite removes none of them.
    Set ``results``, ``model`` and call ``add_input`` / ``add_output`` inside the ``with`` block; leaving it,
    normally or by an error, writes the final summary.
    """

    def __init__(
        self,
        common: Common,
        command: str,
        *,
        outputs: Sequence[str],
        settings: Mapping[str, Any],
        inputs: Sequence[str | Path | None] = (),
        resume: bool = False,
        resume_hint: str = "",
    ) -> None:
        self.common, self.command, self.settings = common, command, settings
        self.inputs = [Path(path) for path in (*inputs, common.model, common.compiled) if path is not None]
        self.names = [with_prefix(name, common.prefix) for name in (*outputs, "summary.yaml")]
        self.resume, self.resume_hint = resume, resume_hint
        self.results: Mapping[str, Any] = {}
        self.model: Mapping[str, Any] = {}
        self.warnings: list[str] = []
        self._inputs: list[InputFile] = []
        self._outputs: list[OutputFile] = []
        self._stack = ExitStack()

    def path(self, name: str) -> Path:
        """Path of an output file, with the prefix."""
        return self.common.out / with_prefix(name, self.common.prefix)

    def add_input(self, path: str | Path, *, n_frames: int | None = None, formula: str | None = None) -> None:
        """Record a file that was read, with its hash."""
        self._inputs.append(InputFile(str(path), file_sha256(path), n_frames, formula))

    def add_structure(self, spec: str, atoms: Atoms) -> None:
        """Record the file behind ``path@index``."""
        from ..io.structures import parse_structure

        self.add_input(parse_structure(spec).path, n_frames=1, formula=atoms.get_chemical_formula())

    def add_output(self, path: str | Path, what: str) -> None:
        """Record a file that was written; it is hashed when the run ends."""
        self._outputs.append(OutputFile(str(path), what))

    def check(self) -> None:
        """For --dry-run: errors of the output folder, as entering would raise them; nothing is created or
        removed."""
        check_folder(self.common.out)
        self._check_old_outputs()

    def _check_old_outputs(self) -> None:
        folder = self.common.out
        if self.common.overwrite and not self.resume:
            check_inputs_kept(folder, self.names, self.inputs)
        elif not self.resume:
            check_free(folder, self.names, summary=self.names[-1], resume_hint=self.resume_hint)

    def __enter__(self) -> CommandRun:
        folder = make_folder(self.common.out)
        self._stack.enter_context(locked(folder))
        try:
            remove_partial(folder, self.names)
            self._check_old_outputs()
            if self.common.overwrite and not self.resume:
                remove_old(folder, self.names)
            self._started, self._clock = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
            self._stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always", JMPWarning)  # each text is shown once, see _show_warning
            warnings.showwarning = self._show_warning  # type: ignore[assignment]
            self._write("running", None, None)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            status, code = outcome(error)
            try:
                summary = self._write(status, code, error)
            except OSError:
                if error is None:
                    raise
                return  # what ended the run says more than the disk on which its summary does not fit
            if self.common.json:
                click.echo(json.dumps(summary.to_dict(), indent=1))

    def _write(self, status: str, code: int | None, error: BaseException | None) -> Summary:
        ended = status != "running"
        outputs = tuple(
            OutputFile(o.path, o.what, file_sha256(o.path) if ended and Path(o.path).is_file() else None)
            for o in self._outputs
        )
        summary = Summary(
            command=self.command,
            started=self._started,
            status=status,
            exit_code=code,
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z") if ended else None,
            wall_s=round(time.monotonic() - self._clock, 3) if ended else None,
            inputs=tuple(self._inputs),
            model=self.model,
            settings=self.settings,
            environment=environment(self.model.get("device", self.common.device)),
            results=self.results,
            warnings=tuple(self.warnings),
            outputs=outputs,
            error=None if error is None else f"{type(error).__name__}: {error}",
        )
        write_summary(self.path("summary.yaml"), summary)
        return summary

    def _show_warning(self, message: Warning | str, *_: Any) -> None:
        text = str(message)
        if text not in self.warnings:
            self.warnings.append(text)
            self.common.say(f"warning: {text}")


def outcome(error: BaseException | None) -> tuple[str, int]:
    """Status word and exit code of a run that ended with ``error``."""
    if error is None:
        return "ok", 0
    if isinstance(error, NotConvergedError):
        return "not-converged", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", getattr(error, "exit_code", 130)
    if isinstance(error, JMPError):
        return "failed", error.exit_code
    if is_out_of_memory(error):
        return "failed", 6
    return "failed", 1


def model_record(calculator: Any) -> dict[str, Any]:
    """What summary.yaml says about the model: name, hash, head, licence, precision."""
    from ..io.summary import plain

    info = getattr(calculator, "info", None)
    if info is None:
        return {"name": type(calculator).__name__}
    keys = (
        "name",
        "sha256",
        "head",
        "dtype",
        "device",
        "licence",
        "format_version",
        "path",
        "level_of_theory",
    )
    return {key: plain(getattr(info, key)) for key in keys if getattr(info, key, None) is not None}


@dataclass(frozen=True)
class Section:
    """A part of what a dry run says: plain data for --json, lines to read."""

    record: Mapping[str, Any]
    lines: Sequence[str]


def dry_run_report(
    common: Common, command: str, facts: Mapping[str, Any], sections: Mapping[str, Section] | None = None
) -> None:
    """Print what a run would do, ``facts`` first, then section by section; as JSON with --json."""
    record = {
        "command": command,
        **({"model": common.model} if common.model else {}),
        "out": str(common.out),
        **facts,
    }
    sections = sections or {}
    if common.json:
        from ..io.summary import plain

        record |= {name: section.record for name, section in sections.items()}
        click.echo(json.dumps(plain(record), indent=1))
        return
    click.echo("dry run: nothing is computed or written")
    for key, value in record.items():
        click.echo(f"  {key}: {value}")
    for name, section in sections.items():
        click.echo(f"{name}")
        for line in section.lines:
            click.echo(f"  {line}")
