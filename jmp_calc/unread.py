"""What files say of a structure that no model reads, and that must not be passed over: a total charge, a spin
other than a singlet's, sites that are not fully occupied by one element."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import BadStructureError

_OF = r"(?:ref|dft|qm|total|tot|net|system|sys|molecular|molecule|mol|formal|ionic|ion|overall)*"
_KINDS = {
    "charge": re.compile(_OF + r"(?:charges?|chg|chrg)(?:state)?|qtot|totq|q"),
    "multiplicity": re.compile(_OF + r"(?:spin)?mult(?:iplicity)?|2s\+1"),
    "unpaired": re.compile(
        _OF + r"(?:n|num|numberof)?unpaired(?:electrons)?|uhf|spinstate|(?:total|net)spin"
    ),
    "spin": re.compile(r"(?:ref|dft|qm|system|sys|molecular|molecule|mol)*spin"),
    "both": re.compile(r"chargeand(?:spin)?mult(?:iplicity)?|charge(?:spin)?mult(?:iplicity)?"),
}
"""Keys, in lower case without ``_``, ``-`` and blanks. Neutral singlets have 0, 1, 0, 0 or 1 (``spin`` is
used for the multiplicity, the number of unpaired electrons and the total spin), and ``0 1``."""
_PLAIN_NAMES = {"charges", "q"}
"""Names of other things too (charges of the atoms, an order parameter): a whole number is a charge."""
_NEUTRAL_WORDS = {"", "t", "neutral", "singlet", "closed shell", "closed-shell"}
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
    kind = _kind(name, value)
    if kind == "charge":
        return {0.0}, "the total charge"
    if kind == "multiplicity":
        return {1.0}, "the spin multiplicity"
    if kind == "unpaired":
        return {0.0}, "the spin"
    if kind == "spin":
        return {0.0} if int(np.sum(numbers)) % 2 else {0.0, 1.0}, "the spin"
    if kind == "both" and not _is_pair(value):
        return set(), "the charge and multiplicity"
    return None


def _kind(name: str, value: Any) -> str | None:
    """What a key of this plain name says: charge, multiplicity, unpaired electrons, spin, or both at once."""
    if name in _PLAIN_NAMES and (_number(value) or 0.5) % 1 != 0:
        return None
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name)), None)


def _is_pair(value: Any) -> bool:
    """Whether a value is ``0 1``, that of a neutral singlet."""
    return [_number(word) for word in _words(value)] == [0.0, 1.0]


def _words(value: Any) -> list[Any]:
    words: list[Any] = value.replace(",", " ").split() if isinstance(value, str) else np.ravel(value).tolist()
    return words


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


def total_state(info: Mapping[str, Any], numbers: np.ndarray) -> tuple[int, int | None]:
    """Total charge, and unpaired electrons (None: nothing is said of them), from the keys of ``info``.

    The key ``spin`` alone is read by parity: unpaired electrons where they fit the number of electrons, else
    the multiplicity.

    Raises:
        BadStructureError: no whole numbers, or unpaired electrons that do not fit the number of electrons.
    """
    charge, unpaired = 0, None
    kinds = list(_stated(info))
    for kind, _, key, value in kinds:
        if kind == "charge":
            charge = _whole(key, value)
    parity = (int(np.sum(numbers)) - charge) % 2
    for kind, name, key, value in kinds:
        if kind not in ("multiplicity", "unpaired", "spin"):
            continue
        number = _number(value)
        count = _whole(key, 2 * number if name == "totalspin" and number is not None else value)
        either = kind == "spin" or name == "spinstate"
        if kind == "multiplicity" or (either and count % 2 != parity and count > 0):
            count -= 1
        if (count % 2 != parity or count < 0) and not (kind != "multiplicity" and count == 0):
            electrons = "odd" if parity else "even"
            raise BadStructureError(
                f"The key {key!r} is {str(value)[:60]!r}, but the number of electrons is {electrons}.",
                hint="correct the charge or the spin",
            )
        unpaired = count if count % 2 == parity else unpaired
    return charge, unpaired


def stated(info: Mapping[str, Any]) -> dict[str, str]:
    """What the keys of ``info`` say of charge and spin, by kind: what energies may depend on."""
    return {f"{kind} {name}": str(value) for kind, name, _, value in _stated(info)}


def state_keys(info: Mapping[str, Any]) -> dict[Any, set[str]]:
    """The keys of ``info`` that say something of charge or spin, and of what each: charge, multiplicity,
    unpaired, spin."""
    found: dict[Any, set[str]] = {}
    for kind, _, key, _ in _stated(info):
        found.setdefault(key, set()).add(kind)
    return found


def is_charged(info: Mapping[str, Any]) -> bool:
    """Whether the keys of ``info`` say a total charge other than 0."""
    return any(kind == "charge" and _number(value) != 0 for kind, _, _, value in _stated(info))


def _stated(info: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Kind, plain name, key and value of every entry that says something of charge or spin."""
    for key, value in info.items():
        name = str(key).lower().translate(str.maketrans("", "", "_- "))
        kind = _kind(name, value)
        if kind == "both":
            yield from zip(("charge", "multiplicity"), (name, name), (key, key), _words(value))
        elif kind is not None and not _says_nothing(value):
            yield kind, name, key, value


def _whole(key: Any, value: Any) -> int:
    """A whole number of a file; BadStructureError for anything else."""
    number = _number(value)
    if number is None or not number.is_integer():
        raise BadStructureError(
            f"The key {str(key)!r} is {str(value)[:60]!r}, not a whole number.", hint="correct or delete it"
        )
    return round(number)
