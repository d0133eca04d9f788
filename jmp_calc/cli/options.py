"""What all commands share: the options of a computing command, and the structure it works on.

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
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import click

from ..errors import UsageError
from ..inference.settings import CHOICES, Elements, Settings, Uncertainty
from ..io.outdir import check_prefix
from .arguments import Arguments
from .config import config_option

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import JMPCalculator
    from ..dispersion import DispersionCalculator

F = TypeVar("F", bound=Callable[..., Any])
Dispersion = Literal["none", "d3bj"]
NOWHERE = Path(os.devnull)
"""The folder of a command that writes no files."""
CALCULATOR = Arguments("calculator", "JMPCalculator.__init__", Settings)

ELEMENTS_OPTION = CALCULATOR.option("--elements", argument="elements", type=click.Choice(["trained", "any"]))

CHEMISCOPE_OPTION = click.option(
    "--chemiscope", is_flag=True, help="Also write chemiscope.json.gz for the viewer chemiscope (extra view)."
)


@dataclass(frozen=True, kw_only=True)
class Common:
    """Values of the options that all computing commands share, by the options' names."""

    dry_run: bool
    json: bool
    quiet: bool
    out: Path = NOWHERE
    prefix: str = ""
    overwrite: bool = False
    model: str = ""
    """Empty: the command has no such option, a recipe decides."""
    device: str = "cpu"
    dtype: str = "float64"
    head: str | None = None
    seed: int = 0
    elements: Elements = "trained"
    compile: bool = False
    compiled: Path | None = None
    uncertainty: Uncertainty | None = None
    committee: tuple[Path, ...] = ()
    dispersion: Dispersion = "none"
    dispersion_functional: str | None = None

    def calculator(self, first: Atoms | None = None) -> JMPCalculator | DispersionCalculator:
        """The calculator that these options describe (imports torch).

        ``first``: the structure that decides where the model has two default heads; the user is told.
        """
        calculator = self.network()
        if first is not None:
            self.decide_head(calculator, first)
        return self.with_dispersion(calculator)

    def with_dispersion(self, calculator: JMPCalculator) -> JMPCalculator | DispersionCalculator:
        """The calculator, with dispersion where the options ask for it; its head is decided."""
        if self.dispersion == "none":
            if self.dispersion_functional is not None:
                fact = "--dispersion-functional without --dispersion has no meaning."
                raise UsageError(fact, hint="add --dispersion d3bj")
            return calculator
        from ..dispersion import with_dispersion

        return with_dispersion(calculator, functional=self.dispersion_functional)

    def network(self) -> JMPCalculator:
        """The JMPCalculator that these options describe, without dispersion."""
        from ..calculator import JMPCalculator

        return JMPCalculator(
            self.model,
            head=self.head,
            device=self.device,
            dtype=self.dtype,
            elements=self.elements,
            compile=self.compile,
            compiled=self.compiled,
            uncertainty=self.uncertainty,
            committee=self.committee,
        )

    def check_model(self) -> None:
        """ModelError for a model or head that is not there; makes no network."""
        from ..inference.opened import check_model
        from ..inference.settings import Settings

        check_model(Settings(model=self.model, head=self.head))

    def decide_head(self, calculator: JMPCalculator, first: Atoms) -> None:
        """Let the first structure decide where the model has two default heads, and tell the user."""
        told = calculator.decide_head(first)
        if told is not None:
            self.say(told)

    def say(self, text: str) -> None:
        """A line for the user on stderr, unless --quiet; stdout is kept for --json."""
        if not self.quiet:
            click.echo(text, err=True)


OF_CALCULATORS = {"compile", "compiled", "uncertainty", "committee"}
"""Fields of Common that only commands with ``common.calculator()`` have as options."""


def common_options(
    *,
    out: str | None,
    dtype: str = "float32",
    model: str | None = "jmp-xs",
    calculator: bool = True,
    network: bool = True,
    machine: bool = True,
    texts: Arguments = CALCULATOR,
) -> Callable[[F], F]:
    """Add the shared options and pass them as ``common: Common``; with ``model=None``, -m is required.

    ``out``: the folder that the command writes by default; None: it writes no files.
        ``calculator``: whether the command evaluates with ``common.calculator()``; the options of that alone
        are left out else. ``network``: whether model, head and seed are options; a recipe decides them else.
        ``machine``: whether device and precision are, which only those need that compute with a network.
        ``texts``: what the arguments model and head mean to the command.
    """
    options = [
        *(_network_options(model, texts) if network else ()),
        *(_machine_options(dtype) if machine else ()),
        *(() if out is None else _output_options(out)),
        *_saying_options(),
        config_option,
        *((ELEMENTS_OPTION, *_compile_options()) if calculator else ()),
        *(_dispersion_options() if calculator else ()),
    ]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **given: Any) -> Any:
            # The compiled steps of finetune are no compiled network of a calculator.
            names = {field.name for field in fields(Common)} - (set() if calculator else OF_CALCULATORS)
            shared = {name: given.pop(name) for name in names if name in given}
            common = Common(**shared)
            check_prefix(common.prefix)
            if common.dry_run and common.model:
                from ..zoo.names import refuse_fetch

                refuse_fetch(common.model)
            return function(*args, common=common, **given)

        decorated: Any = wrapper
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _network_options(model: str | None, texts: Arguments) -> tuple[Callable[[F], F], ...]:
    return (
        click.option(
            "-m",
            "--model",
            default=model,
            required=model is None,
            show_default=model is not None,
            help=texts.help("model"),
        ),
        texts.option("--head", argument="head"),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed."),
    )


def _machine_options(dtype: str) -> tuple[Callable[[F], F], ...]:
    return (
        CALCULATOR.option("--device", argument="device"),
        CALCULATOR.option(
            "--dtype", argument="dtype", type=click.Choice(["float32", "float64"]), default=dtype
        ),
    )


def _output_options(out: str) -> tuple[Callable[[F], F], ...]:
    return (
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
    )


def _saying_options() -> tuple[Callable[[F], F], ...]:
    return (
        click.option(
            "--dry-run", is_flag=True, help="Check everything, print what would be done, compute nothing."
        ),
        click.option("--json", is_flag=True, help="Print the summary as JSON on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="No progress and no messages except errors."),
    )


def _compile_options() -> tuple[Callable[[F], F], ...]:
    return (
        CALCULATOR.option("--compile", argument="compile", is_flag=True),
        CALCULATOR.option("--compiled", argument="compiled", type=click.Path(path_type=Path)),
    )


def uncertainty_options(function: F) -> F:
    """Add ``--uncertainty`` and ``--committee`` to a command with ``common.calculator()``."""
    kinds = click.Choice([kind for kind in CHOICES["uncertainty"] if kind is not None])
    for option in (
        CALCULATOR.option(
            "--committee",
            argument="committee",
            multiple=True,
            metavar="FILE",
            type=click.Path(path_type=Path),
        ),
        CALCULATOR.option("--uncertainty", argument="uncertainty", type=kinds),
    ):
        function = option(function)
    return function


def _dispersion_options() -> tuple[Callable[[F], F], ...]:
    return (
        click.option(
            "--dispersion",
            type=click.Choice(get_args(Dispersion)),
            default="none",
            show_default=True,
            help="Add London dispersion (package dftd3) to a head whose training data have none.",
        ),
        click.option(
            "--dispersion-functional",
            metavar="NAME",
            help="Functional of its damping parameters: pbe, b3lyp, ...  [default: that of the head]",
        ),
    )


def write_option(stem: str) -> Callable[[F], F]:
    """Add ``--write FORMAT``, which may be repeated; the command receives ``write: tuple[str, ...]``."""

    def checked(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
        from ..io.write import check_format

        return tuple(dict.fromkeys(check_format(name) for name in names))

    return click.option(
        "--write",
        multiple=True,
        metavar="FORMAT",
        callback=checked,
        help=f"Also write {stem}.FORMAT: POSCAR, cif, xyz, traj or pdb.",
    )


def plain_kwargs(_: click.Context, __: click.Parameter, text: str | None) -> dict[str, Any]:
    """The arguments of --kwargs; UsageError for what is no JSON object."""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise UsageError(f"--kwargs is no JSON: {error}.", hint="""such as '{"xc": "PBE"}'""") from error
    if not isinstance(found, dict):
        raise UsageError("--kwargs is no JSON object.", hint="""such as '{"xc": "PBE"}'""")
    return found


def structure_argument(function: F) -> F:
    """Add the positional STRUCT and its alias ``--struct``; the command receives ``struct: str``."""

    @click.argument("struct", required=False)
    @click.option("--struct", "struct_option", hidden=True, help="Same as the positional STRUCT.")
    @functools.wraps(function)
    def wrapper(*args: Any, struct: str | None, struct_option: str | None, **rest: Any) -> Any:
        chosen = [value for value in (struct, struct_option) if value is not None]
        if len(chosen) != 1:
            fact = "No structure was given." if not chosen else "The structure was given twice."
            raise UsageError(fact, hint="name one file: any format that ASE reads, FILE@INDEX for one frame")
        return function(*args, struct=chosen[0], **rest)

    return wrapper  # type: ignore[return-value]


def structures_argument(function: F) -> F:
    """Add the positionals STRUCT... and their alias ``--struct``; the command receives ``given``: files,
    patterns and folders, at least one."""

    @click.argument("struct", nargs=-1, metavar="STRUCT...")
    @click.option("--struct", "struct_option", multiple=True, hidden=True, help="Same as STRUCT.")
    @functools.wraps(function)
    def wrapper(*args: Any, struct: tuple[str, ...], struct_option: tuple[str, ...], **rest: Any) -> Any:
        if not (struct or struct_option):
            raise UsageError("No structure was given.", hint="name files that ASE reads, or folders of them")
        if struct and struct_option:
            raise UsageError("The structure was given twice.", hint="leave --struct out")
        return function(*args, given=struct or struct_option, **rest)

    return wrapper  # type: ignore[return-value]
