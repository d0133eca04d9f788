"""Entry point ``jmp-calc``: a click group whose commands are imported when they are used.

Every error leaves through ``JMPGroup.main``: one fact, one place, one action on stderr and a stable exit code
(0 ok, 1 internal, 2 usage, 3 not converged, 4 bad input, 5 model, 6 memory, 7 guard, 130/143 interrupted).
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..errors import JMPError, JMPWarning, error_lines, is_out_of_memory
from ..machine.blas import one_blas_thread
from ..machine.home import name_home
from ..machine.signals import Interrupted, sigterm_raises
from .requirements import REQUIRED, needed

COMMANDS = {
    "singlepoint": "Energy, forces and stress of structures, or what else the head gives.",
    "relax": "Relax positions and, on request, the cell.",
    "md": "Molecular dynamics: NVE, NVT, NPT; ramps and schedules.",
    "analyse": "Structure, diffusion, spectrum and averages of a trajectory.",
    "neb": "Path between two structures and its barrier: nudged elastic band.",
    "ts": "Transition state near a guess, by Sella, and what it connects.",
    "vib": "Vibrations and thermochemistry of molecules and adsorbates.",
    "eos": "Equation of state: energies at several volumes, bulk modulus.",
    "elastic": "Elastic constants, stability and moduli of a crystal.",
    "adsorb": "Best place of a molecule on a slab: sites, orientations, a ranking.",
    "energies": "Energies of formation, atomisation, adsorption and of surfaces.",
    "phonons": "Phonon bands, density of states, thermal properties.",
    "sscha": "Phonons at a temperature, anharmonic motion included.",
    "qha": "Thermal expansion, heat capacity and Grüneisen parameters of a crystal.",
    "conductivity": "Thermal conductivity of a crystal by its phonons (extra: phono3py).",
    "serve": "A warm model for i-PI, ASE and others, by i-PI's socket protocol.",
    "screen": "One task for thousands of structures, resumable, on processes or a cluster.",
    "lammps": "An input script of LAMMPS with a model as its potential.",
    "label": "Labels from any teacher: xTB, networks, DFT codes, ASE calculators.",
    "descriptors": "Features of atoms and structures, for pictures and selections of data.",
    "select": "Active learning: the structures of a pool that are worth labelling.",
    "sample": "Draw structures worth labelling: molecules by valence rules, crystals by prototypes.",
    "check-data": "Audit labelled structures: units, signs, copies, outliers.",
    "finetune": "Fine-tune a model on your own data.",
    "pretrain": "Pre-train one network on several data sets.",
    "recipes": "Published training runs by name.",
    "data": "List, fetch and export public data sets.",
    "preprocess": "Labelled structures as a record set for large training runs.",
    "evaluate": "Errors of a model on labelled data.",
    "estimate": "Edges, memory and time of a structure, before it is computed.",
    "check": "The physics that every potential must obey, on any model or ASE calculator.",
    "models": "List, inspect, fetch, add, verify and remove models.",
    "convert": "Convert an official .pt checkpoint to our .safetensors.",
    "export": "Compile a model ahead of time into a file for this machine.",
    "cite": "What to cite, as BibTeX.",
    "completion": "Completion of commands and options in bash, zsh or fish.",
    "doctor": "Check this installation.",
}
ALIASES = {"geomopt": "relax"}
TRAINING = {"check-data", "finetune", "pretrain", "recipes", "data", "preprocess", "evaluate"}
"""Commands in the sub-package ``training``."""

EPILOG = """\b
Examples:
  jmp-calc relax POSCAR -m jmp-xs --opt-cell full
  jmp-calc md jmp_results/relax/opt.extxyz --ensemble nve --temp 300 --steps 2000
  jmp-calc finetune train.extxyz -m jmp-xs -o run

Outputs: every command has its own folder, such as jmp_results/relax; -o DIR chooses another.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 not converged, 4 bad input data,
5 model or licence, 6 out of memory, 7 guard stopped MD, 130/143 interrupted."""


class JMPGroup(click.Group):
    """Group with lazily imported commands and one place where errors become messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of a working day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return its command; None for an unknown name."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        own = name.replace("-", "_")
        module_name = f"{__package__}.{'training.' * (name in TRAINING)}{own}"
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as err:
            if err.name == module_name:
                raise click.UsageError(f"The command '{name}' is not part of this installation.") from err
            raise
        command: click.Command = getattr(module, own)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest command names in the error."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS and name not in ALIASES:
            near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"No such command '{name}'{hint}.", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list from COMMANDS, so that --help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and their help from COMMANDS: a shell asks at every tab, and no command is imported."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(n, help=text) for n, text in COMMANDS.items() if n.startswith(incomplete)]

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **__: Any
    ) -> Any:
        """Run and leave by SystemExit with the documented exit code."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # locale C: Å must not end a finished calculation
                stream.reconfigure(errors="replace")
        try:
            one_blas_thread()
            name_home()
            with sigterm_raises(), warnings_as_lines():
                code = super().main(args=args, prog_name=prog_name or "jmp-calc", standalone_mode=False)
        except BaseException as err:
            if isinstance(err, click.UsageError) and err.ctx is None:  # click's parser knows none
                err.ctx = self._asked(sys.argv[1:] if args is None else args)
            sys.exit(report(err))
        sys.exit(code if isinstance(code, int) else 0)

    def _asked(self, words: Sequence[str]) -> click.Context:
        """The command that the first words name, for the hint of an error."""
        context = click.Context(self, info_name="jmp-calc")
        for word in words:
            group = context.command
            try:
                command = group.get_command(context, word) if isinstance(group, click.Group) else None
            except click.UsageError:  # a command that cannot be imported
                command = None
            if command is None:
                break
            context = click.Context(command, info_name=word, parent=context)
        return context


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings of this package as a line each, once, wherever a command gives them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", JMPWarning)
        show, told = warnings.showwarning, set[str]()

        def line(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if not issubclass(category, JMPWarning):
                show(message, category, *rest)
            elif str(message) not in told:
                told.add(str(message))
                click.echo(f"warning: {message}", err=True)

        warnings.showwarning = line  # type: ignore[assignment]
        yield


def report(error: BaseException) -> int:
    """Print ``error`` as error/where/hint lines on stderr and return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, JMPError):
        return _lines(error.fact, error.where, error.hint, code=error.exit_code)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "jmp-calc"
        return _lines(error.format_message(), None, f"{path} --help", code=2)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        note = cause.note if isinstance(cause, Interrupted) else ""
        code = cause.exit_code if isinstance(cause, Interrupted) else 130
        return _lines("Interrupted.", None, note or None, code=code)
    return _of_machine(error) or _internal(error)


def _of_machine(error: BaseException) -> int | None:
    """As ``report`` for what the machine cannot give; None for other errors."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in REQUIRED:
        name = str(error.name).partition(".")[0]
        hint = f"run: pip install '{needed(name)}', then: jmp-calc doctor"
        return _lines(f"The package {name} is not installed.", None, hint, code=1)
    if is_out_of_memory(error):
        hint = "use a smaller structure or batch, --dtype float32, or --device cpu"
        return _lines("Out of memory.", None, hint, code=6)
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENAMETOOLONG:
        name = str(error.filename)
        shown = name if len(name) < 100 else f"{name[:60]}… ({len(name)} characters)"
        return _lines("A name is longer than this file system allows.", shown, "choose a shorter one", code=2)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space or choose another -o DIR"
        return _lines("No space is left on the disk.", error.filename, hint, code=1)
    if error.errno == errno.EFBIG:
        hint = "free some space or choose another -o DIR"
        return _lines("The file is larger than this account may write.", error.filename, hint, code=1)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        fact = f"{error.strerror or 'Not permitted'}."
        return _lines(fact, error.filename, "choose another place", code=1)
    return None


def _lines(fact: str, where: str | None, hint: str | None, *, code: int) -> int:
    for line in error_lines(fact, where, hint):
        click.echo(line, err=True)
    return code


def _internal(error: BaseException) -> int:
    """An error that nobody foresaw: one line, and the traceback in a log file."""
    text = "".join(traceback.format_exception(error))
    name = f"jmp-calc-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        path = os.path.join(tempfile.gettempdir(), name)
        with open(path, "w", encoding="utf-8") as log:
            log.write(f"jmp-calc {installed_version()}\n{' '.join(sys.argv)}\n\n{text}")
    except OSError:
        click.echo(text, err=True)
        path = "no log file could be written; traceback above"
    first = (str(error).strip().splitlines() or ["no message"])[0]
    fact = f"internal error: {type(error).__name__}: {first}"
    return _lines(fact, path, "please report this with the log file", code=1)


def installed_version() -> str:
    """Version of the installed package ("0+unknown" when run from a bare source tree)."""
    try:
        return metadata.version("jmp-calc")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@click.group(
    "jmp-calc",
    cls=JMPGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
)
@click.version_option(installed_version(), "--version", prog_name="jmp-calc")
def cli() -> None:
    """JMP interatomic potentials: energies, relaxation, dynamics, phonons and fine-tuning."""


def main() -> None:
    """Console script ``jmp-calc``."""
    cli.main()


if __name__ == "__main__":
    main()
