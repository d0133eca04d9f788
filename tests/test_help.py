"""``help()`` of every public name explains every argument; signature, settings and command line agree."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import jmp_calc
import jmp_calc.training
from jmp_calc import errors
from jmp_calc.analysis.settings import AnalyseSettings
from jmp_calc.cli.arguments import Explained, explained_arguments
from jmp_calc.cli.main import cli
from jmp_calc.inference.settings import Settings
from jmp_calc.sampling.select import SelectSettings
from jmp_calc.screening.settings import ScreenSettings
from jmp_calc.workflows.battery.settings import CheckSettings
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.paths.settings import NEBSettings
from jmp_calc.workflows.paths.ts_settings import TSSettings
from jmp_calc.workflows.phonon.conductivity_settings import ConductivitySettings
from jmp_calc.workflows.phonon.qha_settings import QhaSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from jmp_calc.workflows.phonon.sscha_settings import SschaSettings
from jmp_calc.workflows.relax_settings import RelaxSettings
from jmp_calc.workflows.statics.adsorb_settings import AdsorbSettings
from jmp_calc.workflows.statics.elastic_settings import ElasticSettings
from jmp_calc.workflows.statics.eos_settings import EosSettings
from jmp_calc.workflows.statics.sum_settings import SumSettings
from jmp_calc.workflows.vibrations.settings import VibSettings

ROOT = Path(__file__).parents[1]
PUBLIC = sorted({*jmp_calc.__all__, *getattr(jmp_calc.training, "__all__", ())} - {"__version__"})
SETTINGS: dict[str, type] = {
    "JMPCalculator": Settings,
    "adsorb": AdsorbSettings,
    "analyse": AnalyseSettings,
    "conductivity": ConductivitySettings,
    "elastic": ElasticSettings,
    "adsorption_energy": SumSettings,
    "atomisation_energy": SumSettings,
    "check": CheckSettings,
    "eos": EosSettings,
    "formation_energy": SumSettings,
    "surface_energy": SumSettings,
    "estimate": Settings,
    "md": MDSettings,
    "phonons": PhononSettings,
    "qha": QhaSettings,
    "relax": RelaxSettings,
    "sscha": SschaSettings,
    "relax_many": RelaxSettings,
    "screen": ScreenSettings,
    "neb": NEBSettings,
    "select": SelectSettings,
    "ts": TSSettings,
    "vib": VibSettings,
}
"""Settings that hold the arguments of a public name, by the same names."""
OPTIONS: dict[str, dict[str, str]] = {
    "adsorb": {"slab": "struct"},
    "analyse": {"trajectory": "struct"},
    "conductivity": {"boundary_um": "boundary"},
    "check": {"calculator": "model_given"},
    "elastic": {},
    "eos": {},
    "estimate": {},
    "evaluate": {},
    "finetune": {},
    "md": {},
    "phonons": {},
    "qha": {"pressure_gpa": "pressure"},
    "sscha": {},
    "relax": {"cell": "opt_cell", "pressure_gpa": "pressure"},
    "neb": {},
    "screen": {},
    "select": {"pool": "struct"},
    "ts": {},
    "vib": {},
}
"""Commands with the name of a function: arguments whose option has another name."""
NOT_THE_SAME = {"out", "prefix", "quiet", "restart", "calc", "config"}
"""Arguments that a command gives another default or meaning: it always writes, and says how far it is."""
SHARED = {"head", "device", "elements", "compile", "compiled"}
"""Options of all computing commands; dtype is not among them, phonons start in float64."""


def public(name: str) -> Any:
    return getattr(jmp_calc if name in jmp_calc.__all__ else jmp_calc.training, name)


def parameters(thing: Any) -> dict[str, inspect.Parameter]:
    """Parameters of a call, without self."""
    given = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing).parameters
    return {name: parameter for name, parameter in given.items() if name != "self"}


def explained(thing: Any) -> dict[str, Explained]:
    """What help() says about each parameter; of a dataclass also the docstrings below its fields."""
    docs = [thing.__doc__ or ""]
    if inspect.isclass(thing) and not dataclasses.is_dataclass(thing):
        docs.append(thing.__init__.__doc__ or "")
    found = {name: entry for doc in docs for name, entry in explained_arguments(doc).items()}
    return {**dict(field_docstrings(thing)), **found} if dataclasses.is_dataclass(thing) else found


def field_docstrings(thing: type) -> Iterator[tuple[str, Explained]]:
    """The strings below the fields of a class."""
    (node,) = ast.parse(inspect.cleandoc(inspect.getsource(thing))).body
    assert isinstance(node, ast.ClassDef)
    for field, text in zip(node.body, node.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield ast.unparse(field.target), Explained(ast.literal_eval(text.value), "")


def same(text: str, value: Any) -> bool:
    """Whether a default in a docstring means a value."""
    try:
        return bool(ast.literal_eval(text) == value)
    except (SyntaxError, ValueError):
        return text in (repr(value), getattr(value, "__name__", ""))


def faults(name: str) -> list[str]:
    """What help() of a public name lacks."""
    thing, found = public(name), []
    texts = explained(thing)
    for parameter in parameters(thing).values():
        entry = texts.get(parameter.name)
        if entry is None:
            found.append(f"{parameter.name} is not explained")
        elif dataclasses.is_dataclass(thing):
            continue  # the signature shows the default beside the name
        elif parameter.default is parameter.empty and entry.default:
            found.append(f"{parameter.name} has no default")
        elif parameter.default is not parameter.empty and not same(entry.default, parameter.default):
            found.append(f"{parameter.name}: default {parameter.default!r}, explained as {entry.default!r}")
    return found + [f"{extra} is no argument" for extra in set(texts) - set(parameters(thing))]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_explained_with_its_default(name: str) -> None:
    assert not faults(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_is_not_inherited(name: str) -> None:
    thing = public(name)
    assert thing.__doc__
    if inspect.isclass(thing) and not dataclasses.is_dataclass(thing):
        assert "__init__" in vars(thing)
        assert thing.__init__.__doc__


@pytest.mark.parametrize("name", SETTINGS)
def test_a_default_stands_once(name: str) -> None:
    given = parameters(public(name))
    for field in dataclasses.fields(SETTINGS[name]):
        if field.name in given and given[field.name].default is not inspect.Parameter.empty:
            assert given[field.name].default == field.default, field.name
    assert all(field.kw_only for field in dataclasses.fields(SETTINGS[name]))


def command_options(command: str) -> dict[str, click.Option]:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return {option.name or "": option for option in found.params if isinstance(option, click.Option)}


def first_sentence(text: str) -> str:
    """In lower case, without what marks names as code or as options."""
    sentence = re.split(r"[;.] |\.$", text.lower(), maxsplit=1)[0]
    return re.sub(r"--|``", "", sentence.replace("_", "-"))


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_the_arguments_of_the_function(command: str) -> None:
    options, texts = command_options(command), explained(public(command))
    found = []
    for name, parameter in parameters(public(command)).items():
        option = options.get(OPTIONS[command].get(name, name))
        if option is None or name in NOT_THE_SAME | SHARED | {"seed", "dtype"}:
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        if default is not None and option.default != default:
            found.append(f"{name}: default {default!r}, --{option.name} {option.default!r}")
        text = texts[name].text if name in texts else ""
        if not text or first_sentence(option.help or "") != first_sentence(text):
            found.append(f"{name}: '{text}', --{option.name} '{option.help}'")
    assert not found


@pytest.mark.parametrize("command", ["singlepoint", *OPTIONS])
def test_help_of_a_command_names_options_that_it_has(command: str) -> None:
    options = command_options(command)
    spelled = {spelling for option in options.values() for spelling in (*option.opts, *option.secondary_opts)}
    for option in options.values():
        assert set(re.findall(r"(?<!\w)--[a-z][\w-]+", option.help or "")) <= spelled, option.name
        assert option.help, option.name


@pytest.mark.parametrize("name", sorted(SHARED))
def test_shared_options_are_arguments_of_the_calculator(name: str) -> None:
    option, entry = command_options("singlepoint")[name], explained(jmp_calc.JMPCalculator)[name]
    assert first_sentence(option.help or "") == first_sentence(entry.text)
    assert option.default == getattr(Settings, name)


def test_arguments_are_read_from_docstrings() -> None:
    entries = explained_arguments(
        """What it does.

        Args:
            first: shape (N, 3), Å, which goes on
                in the next line.
            second: a number: 1 or 2. Default: 1e-05.

        Returns:
            nothing: at all.
        """
    )
    assert entries == {
        "first": Explained("shape (N, 3), Å, which goes on in the next line.", ""),
        "second": Explained("a number: 1 or 2.", "1e-05"),
    }


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods without an underscore in their name or a parent's, not nested."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.FunctionDef):
                yield child
            else:
                yield from public_functions(child)


def raised_errors(function: ast.FunctionDef) -> set[str]:
    """Names of our errors that a function raises itself."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(getattr(error, "id", getattr(error, "attr", "")))
    return {name for name in found if isinstance(getattr(errors, name, None), type)}


def test_what_is_raised_is_documented() -> None:
    """Of commands the exit codes are, in the help of jmp-calc."""
    found = []
    for folder in ("jmp_calc", "training"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "cli" in path.relative_to(ROOT).parts:
                continue
            for function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
                doc = ast.get_docstring(function) or ""
                raised = raised_errors(function)
                if raised and not any(word in doc for word in (*raised, "Raises:", "efuse")):
                    found.append(
                        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {sorted(raised)}"
                    )
    assert not found
