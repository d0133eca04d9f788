"""The level of theory of the labels: read from text or a table, and written in one line.

``functional=PBE, basis=def2-SVP, dispersion=none`` on the command line and the table ``theory:`` of a file of
settings become the same Theory that recipes of pre-training have under ``[heads.NAME.theory]``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.io.schema import parse
from jmp_calc.model.config import Theory

EXAMPLE = "functional=PBE,basis=def2-SVP,dispersion=none"
NOTHING = "none"
"""A field that is known to be empty: no dispersion, no +U."""
_NEXT = re.compile(r",\s*(?=\w+\s*=)")
"""Between two fields; other commas belong to a value (plane waves, PAW, 520 eV)."""


def read_theory(given: str | Mapping[str, object], where: str = "--theory") -> Theory:
    """The fields of a text such as ``functional=PBE,basis=plane waves, 520 eV``, or of a table.

    Raises:
        UsageError: unknown or repeated fields, values that are no text, or no functional.
    """
    table = _split(given, where) if isinstance(given, str) else dict(given)
    try:
        theory = parse(Theory, table, where)
    except ModelError as error:
        raise UsageError(error.fact, where=error.where, hint=error.hint) from error
    theory = Theory(**{name: str(text).strip() for name, text in dataclasses.asdict(theory).items()})
    if not theory.functional:
        raise UsageError(
            "A level of theory needs its functional (or method).", where=where, hint=f"such as {EXAMPLE}"
        )
    return theory


def as_text(theory: Theory) -> str:
    """What ``read_theory`` reads back: the fields that are known."""
    known = {name: text for name, text in dataclasses.asdict(theory).items() if text}
    return ",".join(f"{name}={text}" for name, text in known.items())


def _split(text: str, where: str) -> dict[str, object]:
    table: dict[str, object] = {}
    for part in _NEXT.split(text):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"{part!r} is not FIELD=TEXT.", where=where, hint=f"such as {EXAMPLE}")
        if name in table:
            raise UsageError(f"The field {name!r} is given twice.", where=where, hint="leave one of them out")
        table[name] = value
    return table


def in_one_line(theory: Theory) -> str:
    """For people: PBE-D3(BJ)/def2-SVP, spin collinear; empty where no functional is known."""
    if not theory.functional:
        return ""
    method = theory.functional
    if theory.dispersion not in ("", NOTHING) and theory.dispersion.lower() not in method.lower():
        method += f"-{theory.dispersion}"
    plus_u = theory.hubbard_u not in ("", NOTHING)
    if plus_u and "+u" not in method.lower():
        method += "+U"
    if theory.basis:
        # Names of basis sets follow a slash; descriptions in words do not.
        method += f"{', ' if ' ' in theory.basis else '/'}{theory.basis}"
    details = [f"spin {theory.spin}"] if theory.spin else []
    details += [f"U {theory.hubbard_u}"] if plus_u else []
    return ", ".join([method, *details])
