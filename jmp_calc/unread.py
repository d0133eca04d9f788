"""What files say of a structure that no model reads, and that must not be passed over: a total charge, a spin
other than a singlet's, sites that are not fully occupied by one element."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import BadStructureError

_OF = r"(?:ref|dft|qm|total|tot|net|system|sys|molecular|molecule|mol|formal|ionic|ion|overall)*"
_CHARGE = re.compile(_OF + r"(?:charges?|chg|chrg)(?:state)?|qtot|totq|q")
_MULTIPLICITY = re.compile(_OF + r"(?:spin)?mult(?:iplicity)?|2s\+1")
_UNPAIRED = re.compile(_OF + r"(?:n|num|numberof)?unpaired(?:electrons)?|uhf|spinstate|(?:total|net)spin")
_SPIN = re.compile(r"(?:ref|dft|qm|system|sys|molecular|molecule|mol)*spin")
"""Used for the multiplicity (1), for the number of unpaired electrons (0) and for the total spin (0)."""
_BOTH = re.compile(r"chargeand(?:spin)?mult(?:iplicity)?|charge(?:spin)?mult(?:iplicity)?")
"""Keys, in lower case without ``_``, ``-`` and blanks; neutral singlets have 0, 1, 0, 0 or 1, and ``0 1``."""
_PLAIN_NAMES = {"charges", "q"}
"""Names of other things too (charges of the atoms, an order parameter): a whole number is a charge."""
_NEUTRAL_WORDS = {"", "t", "none", "null", "neutral", "singlet", "closed shell", "closed-shell"}
_SITES = frozenset({"occupancy", "occupancies", "siteoccupancy", "siteoccupancies", "occ"})
_WHOLE = 1e-3
"""How far an occupancy may be from one."""


def state_given(info: Mapping[str, Any], numbers: np.ndarray) -> tuple[str, Any, str] | None:
    """The key and value of ``info`` that make it anything but a neutral singlet, and what they are ("the
    total charge"); None: there is none.

    Texts of files count as their numbers. A spin of 1 is a singlet's multiplicity where the number of
    electrons is even.
    """
    for key, value in info.items():
        name = str(key).lower().translate(str.maketrans("", "", "_- "))
        expected = _expected(name, value, numbers)
        if expected is None or _says_nothing(value):
            continue
        right, what = expected
        if _number(value) not in right:
            return str(key), value, what
    return None


def _expected(name: str, value: Any, numbers: np.ndarray) -> tuple[set[float], str] | None:
    """What a neutral singlet has under a key of this name, and what it is; None for other keys."""
    if _CHARGE.fullmatch(name) and (name not in _PLAIN_NAMES or (_number(value) or 0.5) % 1 == 0):
        return {0.0}, "the total charge"
    if _MULTIPLICITY.fullmatch(name):
        return {1.0}, "the spin multiplicity"
    if _UNPAIRED.fullmatch(name):
        return {0.0}, "the spin"
    if _SPIN.fullmatch(name):
        return {0.0} if int(np.sum(numbers)) % 2 else {0.0, 1.0}, "the spin"
    if _BOTH.fullmatch(name) and not _is_pair(value):
        return set(), "the charge and multiplicity"
    return None


def _is_pair(value: Any) -> bool:
    """Whether a value is ``0 1``, that of a neutral singlet."""
    words = value.replace(",", " ").split() if isinstance(value, str) else np.ravel(value).tolist()
    return [_number(word) for word in words] == [0.0, 1.0]


def check_neutral_singlet(info: Mapping[str, Any], numbers: np.ndarray, *, where: str | None = None) -> None:
    """BadStructureError, naming the key, for a structure that is not a neutral singlet: no model has an input
    for charge or spin, and would compute it as one without a word."""
    found = state_given(info, numbers)
    if found is None:
        return
    key, value, what = found
    number = _number(value)
    if number is None:
        raise BadStructureError(
            f"The key {key!r} is {str(value)[:60]!r}, which is not {what} of a neutral singlet.",
            where=where,
            hint="only neutral singlets can be computed; delete the key if it does not matter",
        )
    raise BadStructureError(
        f"The key {key!r} is {number:g}, but this model has no input for charge or spin.",
        where=where,
        hint="only neutral singlets can be computed; delete the key if it does not matter",
    )


def check_whole_sites(
    info: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, where: str | None = None
) -> None:
    """BadStructureError, naming the site, for partial occupancies and sites of several elements: they
    would be computed as full."""
    for site, text in _broken_sites(info, arrays):
        raise BadStructureError(
            f"{site} is occupied by {text}: a disordered structure cannot be computed as it is.",
            where=where,
            hint="make an ordered supercell, or choose one occupation, and write every site once and full",
        )


def _broken_sites(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    for key, value in info.items():
        if _is_sites(key):
            yield from _in_info(value)
    for key, array in arrays.items():
        if not _is_sites(key):
            continue
        numbers = [_number(value) for value in np.asarray(array).ravel()]
        if all(number == 0 for number in numbers):
            continue  # programs that know no occupancies write zeros
        for atom, number in enumerate(numbers):
            if number is not None and abs(number - 1) > _WHOLE:
                yield f"Atom {atom}", f"{number:g}"


def _in_info(value: Any) -> Iterator[tuple[str, str]]:
    """Sites of ASE's ``{kind: {symbol: occupancy}}``, of lists of such, of one such, or of plain numbers."""
    if isinstance(value, Mapping):
        if value and all(isinstance(site, Mapping) for site in value.values()):
            for name, site in value.items():
                yield from _site(f"Site {name}", site)
        else:
            yield from _site("A site", value)
        return
    if isinstance(value, (str, bytes)) or np.ndim(value) > 1:
        return
    for number, site in enumerate(value if np.ndim(value) == 1 else [value]):
        yield from _site(f"Site {number}", site if isinstance(site, Mapping) else {"": site})


def _site(name: str, site: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    shares = {str(symbol): _number(share) for symbol, share in site.items()}
    present = {symbol: share for symbol, share in shares.items() if share is not None and share != 0}
    unknown = [
        symbol for symbol, share in shares.items() if share is None
    ]  # "?" and ".": one, by the standard
    total = sum(present.values()) + len(unknown)
    if len(present) + len(unknown) > 1 or abs(total - 1) > _WHOLE:
        yield (
            name,
            " and ".join(f"{share:g} {symbol}".strip() for symbol, share in present.items()) or "nothing",
        )


def _is_sites(key: Any) -> bool:
    return str(key).lower().translate(str.maketrans("", "", "_- ")) in _SITES


def _says_nothing(value: Any) -> bool:
    """None, an empty text, a bare word of a comment line, or the word of a neutral singlet."""
    return (
        value is None or value is True or (isinstance(value, str) and value.strip().lower() in _NEUTRAL_WORDS)
    )


def _number(value: Any) -> float | None:
    """One number, from text too; None: not that."""
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError):
        return None
