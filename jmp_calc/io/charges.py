"""Charge and spin that files of other programs state and ASE does not hand on: without them a frame of an ion
would count as one of a neutral molecule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_HEAD = 4 << 20
"""Bytes in which programs state what they compute."""
_NEUTRAL = 0.01
"""Electrons that a cell may lack or have too many of by rounding."""


def given_state(source: Path, form: str) -> dict[str, float]:
    """``charge``, ``multiplicity`` or ``unpaired_electrons`` of the structures in a file whose
    format ASE calls ``form``, as far as the file says so."""
    if form not in _READERS:
        return {}
    with source.open("rb") as stream:
        text = stream.read(_HEAD).decode("latin-1")
    return _READERS[form](text)


def _stated(*patterns: tuple[str, str]) -> Callable[[str], dict[str, float]]:
    """A reader of numbers behind words of the program; of several, the first."""
    compiled = [(key, re.compile(pattern, re.MULTILINE)) for key, pattern in patterns]

    def read(text: str) -> dict[str, float]:
        found = {key: pattern.search(text) for key, pattern in compiled}
        return {key: _number(match[1]) for key, match in found.items() if match is not None}

    return read


def _number(text: str) -> float:
    return float(text.lower().replace("d", "e"))


# ---- VASP: electrons against valences ----------------------------------------------------------------------


def _outcar(text: str) -> dict[str, float]:
    counts = re.search(r"ions per type =((?:\s+\d{1,9})+)", text)
    valences = re.findall(r"ZVAL\s*=\s*(\d{1,3}\.\d{1,9})\s+mass", text)
    electrons = re.search(r"NELECT\s*=\s*(\d{1,9}\.\d{1,9})", text)
    return _missing_electrons(counts[1].split() if counts else [], valences, electrons)


def _vasprun(text: str) -> dict[str, float]:
    types = re.search(r'<array name="atomtypes"\s*>(.{1,100000}?)</array>', text, re.DOTALL)
    rows = re.findall(r"<rc>(.{1,1000}?)</rc>", types[1], re.DOTALL) if types else []
    cells = [re.findall(r"<c>\s*([^<]{1,40}?)\s*</c>", row) for row in rows]
    electrons = re.search(r'<i name="NELECT">\s*(\d{1,9}\.\d{1,9})', text)
    whole = [row for row in cells if len(row) > 3 and _is_number(row[0]) and _is_number(row[3])]
    return _missing_electrons([row[0] for row in whole], [row[3] for row in whole], electrons)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) is not None


def _missing_electrons(
    counts: list[str], valences: list[str], electrons: re.Match[str] | None
) -> dict[str, float]:
    if electrons is None or not counts or len(counts) != len(valences):
        return {}
    charge = sum(int(n) * float(z) for n, z in zip(counts, valences, strict=True)) - float(electrons[1])
    return {"charge": round(charge, 4)} if abs(charge) > _NEUTRAL else {}


_READERS: dict[str, Callable[[str], dict[str, float]]] = {
    "vasp-out": _outcar,
    "vasp-xml": _vasprun,
    "gaussian-out": _stated(
        ("charge", r"Charge\s*=\s*(-?\d{1,4})\s+Multiplicity"),
        ("multiplicity", r"Multiplicity\s*=\s*(\d{1,4})"),
    ),
    "orca-output": _stated(
        ("charge", r"Total Charge\s+Charge\s+\.+\s+(-?\d{1,4})"),
        ("multiplicity", r"Multiplicity\s+Mult\s+\.+\s+(\d{1,4})"),
    ),
    "espresso-in": _stated(
        ("charge", r"^\s*tot_charge\s*=\s*([-+]?\d{1,6}(?:\.\d{0,9})?(?:[eEdD][-+]?\d{1,3})?)")
    ),
    "aims-output": _stated(("charge", r"Charge\s*=\s*([-+]?\d{1,4}(?:\.\d{1,9})?): Charged system")),
    "nwchem-out": _stated(
        ("charge", r"^\s*Charge\s*:\s*(-?\d{1,4})"),
        ("multiplicity", r"^\s*(?:Spin m|M)ultiplicity:\s*(\d{1,4})"),
    ),
}
