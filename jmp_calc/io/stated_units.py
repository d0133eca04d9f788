"""Units that a frame states of itself, such as ``energy_unit=Ha`` or ``units=bohr``: they are compared
with those it is read in, never passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import BadInputError
from ..units import UNIT_EXAMPLES, UnitKind, unit_factor

_KEY = re.compile(r"(.*?)_?units?(?:_?of_?(.*))?", re.DOTALL)
_KINDS: dict[str, UnitKind] = {
    "energy": "energy", "energies": "energy", "virial": "energy", "virials": "energy",
    "length": "length", "lengths": "length", "distance": "length", "position": "length",
    "positions": "length", "coordinates": "length", "pos": "length", "lattice": "length", "cell": "length",
    "force": "forces", "forces": "forces", "stress": "stress",
}  # fmt: skip
_SYSTEMS: dict[str, dict[UnitKind, str]] = {
    "metal": {"energy": "eV", "length": "angstrom"},
    "real": {"energy": "kcal/mol", "length": "angstrom"},
    "atomic": {"energy": "hartree", "length": "bohr"},
    "au": {"energy": "hartree", "length": "bohr"},
}
"""Systems of units by the value of a plain ``units=``."""
_OTHER_NAMES = {
    "electronvolt": "ev",
    "angstroms": "angstrom",
    "hartrees": "hartree",
    "a.u.": "au",
    "eh": "hartree",
}
_TOLERANCE = 1e-4


def check_stated_units(
    info: Mapping[str, Any], scales: Mapping[UnitKind, float], *, where: str, hint: str
) -> None:
    """BadInputError, naming the key, for a unit of a frame that is not the one it is read in.

    scales: eV, Å, eV/Å, eV/Å³ per unit that is assumed; kinds that are not in it are not looked at.
    """
    for key, kind, text in _stated(info):
        if kind not in scales:
            continue
        try:
            factor: float | None = unit_factor(text, kind)
        except KeyError:
            factor = None
        if factor is None or abs(factor - abs(scales[kind])) > _TOLERANCE * factor:
            raise BadInputError(
                f"The key {key!r} is {str(info[key])[:40]!r}, but the frame is read in another unit of "
                f"{kind}.",
                where=where,
                hint=f"{hint} (such as {', '.join(UNIT_EXAMPLES[kind][:3])})",
            )


def _stated(info: Mapping[str, Any]) -> Iterator[tuple[str, UnitKind, str]]:
    """Key, kind and unit of every entry that states one."""
    for key, value in info.items():
        match = _KEY.fullmatch(str(key).lower()) if "unit" in str(key).lower() else None
        if match is None or not isinstance(value, str):
            continue
        text = _OTHER_NAMES.get(value.strip().lower(), value.strip().lower())
        what = match[1] or match[2] or ""
        if what in _KINDS:
            yield key, _KINDS[what], text
        elif not what:
            for kind, unit in (_SYSTEMS.get(text) or _by_itself(text)).items():
                yield key, kind, unit


def _by_itself(text: str) -> dict[UnitKind, str]:
    """The kind of a unit that is given without one; none for a word that is no unit."""
    for kind in UNIT_EXAMPLES:
        try:
            unit_factor(text, kind)
        except KeyError:
            continue
        return {kind: text}
    return {}
