"""Input scripts of LAMMPS that leave out the potential: read, checked, and run with one.

The potential is put in after the command that makes the box (``read_data``, ``read_restart``, ``create_box``,
or ``include`` of a file with one), before all that follows. Commands are handed to LAMMPS one by one, so that
nothing is executed after an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..errors import BadInputError, JMPError

BOX_MAKERS = ("read_data", "read_restart", "create_box")
STYLES = ("pair_style", "bond_style", "angle_style", "dihedral_style", "improper_style", "kspace_style")
"""Commands that choose a force field, and names of what LAMMPS says of them."""
EMPTY = ("zero", "none")
"""Styles without energy, which a script may have for its neighbour lists or its topology."""


@dataclass(frozen=True)
class Command:
    """One command, over several lines where they are continued."""

    line: int
    """Of the file, from 1."""
    text: str

    @property
    def words(self) -> list[str]:
        """Without comments."""
        return re.sub(r"#.*", "", self.text.replace("&\n", " ")).split()


@dataclass(frozen=True)
class Script:
    """A script that can be run."""

    path: Path
    commands: tuple[Command, ...]
    box: int
    """Index of the command that makes the box."""

    @property
    def place(self) -> str:
        """Where the potential is put in, for people."""
        command = self.commands[self.box]
        return f"after line {command.line}: {' '.join(command.words)}"


def read_script(path: Path) -> Script:
    """Read and check a script.

    Raises:
        BadInputError: no such file; no command that makes a box; a potential of its own, loops, or other
            commands that a potential cannot be put in with.
    """
    commands = tuple(_before_quit(_commands(path)))
    for command in commands:
        _check(path, command, (path.resolve(),))
    makers = [number for number, command in enumerate(commands) if _makes_box(command)]
    if not makers:
        fact = f"The script makes no box: it has none of {', '.join(BOX_MAKERS)}."
        raise BadInputError(fact, where=str(path), hint="name one of them outside of if ... then")
    return Script(path, commands, makers[0])


def run_script(lmp: Any, script: Script, on_box: Callable[[], None]) -> None:
    """Run a script in a LAMMPS; ``on_box`` is called once, when the box exists.

    Raises:
        BadInputError: an error of LAMMPS, or a force field beside the potential, with the line. What the
            potential raises.
    """
    for number, command in enumerate(script.commands):
        try:
            lmp.commands_string(command.text)
        except JMPError:
            raise
        except Exception as error:
            if str(error).startswith("ERROR"):
                raise _failed(script.path, command, error) from error
            raise
        style = force_field(lmp)
        if style is not None:  # by an include whose name is a variable, or by something else that hides it
            where = f"{script.path}, line {command.line}: {' '.join(command.words)}"
            raise _own_potential(style, where)
        if number == script.box:
            on_box()


def force_field(lmp: Any) -> str | None:
    """The command of a force field with energies that a LAMMPS has, such as "pair_style lj/cut", or None."""
    found = ((name, lmp.extract_global(name)) for name in STYLES)
    return next((f"{name} {style}" for name, style in found if style and style not in EMPTY), None)


def _own_potential(style: str, where: str) -> BadInputError:
    fact = f"The script has a potential of its own, {style}, which would be added to that of the model."
    family = style.partition("_")[0]
    hint = f"leave out {family}_style and {family}_coeff"
    if family == "kspace":
        hint = "leave out kspace_style"
    elif family != "pair":
        hint += f", or keep the topology without its energy: {family}_style zero"
    return BadInputError(fact, where=where, hint=hint)


def _before_quit(commands: Iterator[Command]) -> Iterator[Command]:
    """``quit`` ends a script, and would end this process."""
    return takewhile(lambda command: command.words[0] != "quit", commands)


def _commands(path: Path) -> Iterator[Command]:
    """The commands of a file, comments and empty lines left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError("The script cannot be read.", where=str(path), hint=str(error)) from error
    text, first = "", 0
    for number, line in enumerate(lines, start=1):
        first = first if text else number
        text += line.rstrip() + "\n"
        if line.rstrip().endswith("&") or text.count('"""') % 2:
            continue
        words, command, text = Command(first, text).words, Command(first, text), ""
        if words:
            yield command
    if text.strip():
        raise BadInputError("The last command has no end.", where=f"{path}, line {first}")


def _check(path: Path, command: Command, outer: tuple[Path, ...]) -> None:
    """BadInputError for what cannot be run with a potential of ours.

    ``outer``: the files that are being read, from the script to ``path``.
    """
    words, where = command.words, f"{path}, line {command.line}"
    if words[0] in STYLES and words[1:2] and words[1] not in EMPTY:
        raise _own_potential(" ".join(words[:2]), where)
    if words[0] == "clear":
        raise BadInputError("After clear LAMMPS has no potential.", where=where, hint="make two scripts")
    if words[:2] == ["run_style", "respa"]:
        fact = "Time steps of several lengths would leave out the potential."
        raise BadInputError(fact, where=where, hint="leave out run_style respa")
    if words[0] == "quit":
        fact = "The command quit in an included file would end jmp-calc before it has written its results."
        raise BadInputError(fact, where=where, hint="put quit into the script itself")
    inner = set(re.findall(r"\w+", " ".join(words))) if words[0] in ("if", "jump") else set()
    if inner & {"jump", "quit"}:
        hint = "write the loop in Python with jmp_calc.engines.lammps.attach (docs/lammps.md)"
        raise BadInputError("Scripts with jump, or quit inside if, cannot be run.", where=where, hint=hint)
    if words[0] == "if":  # what it quotes are commands too, and a command of one word needs no quotes
        for text in [*re.findall(r'"([^"]*)"', command.text), *inner & {"clear"}]:
            if text.split():
                _check(path, Command(command.line, text), outer)
    if (inside := _included(command)) is not None:
        if inside.resolve() in outer:
            raise BadInputError(
                "The script includes itself.", where=where, hint=f"leave out include {inside}"
            )
        for each in _commands(inside):
            _check(inside, each, (*outer, inside.resolve()))


def _included(command: Command) -> Path | None:
    """The file that a command includes; None where there is none, or its name is a variable."""
    words = command.words
    if words[0] != "include" or len(words) < 2 or not Path(words[1]).is_file():
        return None
    return Path(words[1])


def _makes_box(command: Command) -> bool:
    """Whether the box exists after a command."""
    inside = _included(command)
    if inside is not None:
        return any(_makes_box(each) for each in _commands(inside))
    return command.words[0] in BOX_MAKERS


def _failed(path: Path, command: Command, error: Exception) -> BadInputError:
    """An error of LAMMPS as one of ours."""
    fact = re.sub(r"\s*\(src/\S+:\d+\)", "", str(error)).removeprefix("ERROR: ").partition("\n")[0]
    fact = re.sub(r"^ERROR on proc \d+: ", "", fact)
    where = f"{path}, line {command.line}: {' '.join(command.words)}"
    return BadInputError(f"LAMMPS: {fact.strip().rstrip('.')}.", where=where)
