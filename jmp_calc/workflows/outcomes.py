"""What came out for one of many structures, as a row of a table and as a line of a journal."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import JMPError, NotConvergedError, is_out_of_memory
from ..io.summary import plain
from .potentials import identifying
from .relax_result import RelaxResult

if TYPE_CHECKING:
    from ase import Atoms

Status = Literal["ok", "not-converged", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "not-converged", "failed")
Scalar = float | int | bool | str | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one structure gave."""

    status: Status
    error: str | None = None
    """Why there is no result, or what is wrong with it."""
    values: Mapping[str, Scalar] = field(default_factory=dict)
    """Numbers and words, units in the names."""
    atoms: Atoms | None = None
    """The structure at the end with energy (eV), forces (eV/Å) and, if there is one, stress (eV/Å³)."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; every number as it is."""
        return {
            "status": self.status,
            "error": self.error,
            "values": dict(self.values),
            "atoms": None if self.atoms is None else _packed(self.atoms),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Outcome:
        """What ``to_json`` gave."""
        atoms = record["atoms"]
        return cls(
            record["status"], record["error"], record["values"], None if atoms is None else _unpacked(atoms)
        )


@dataclass(frozen=True, eq=False)
class Row:
    """One structure of the input and what came out."""

    number: int
    """In the input, from 0."""
    file: str
    """Where it comes from; empty: from memory."""
    frame: int
    """Of those selected from the file, from 0."""
    formula: str
    n_atoms: int
    outcome: Outcome

    @property
    def name(self) -> str:
        """The structure in messages."""
        return f"{self.file}, frame {self.frame}" if self.file else f"structure {self.number}"

    def to_dict(self) -> dict[str, Scalar]:
        """The row of a table."""
        return {
            "number": self.number,
            "file": self.file,
            "frame": self.frame,
            "formula": self.formula,
            "n_atoms": self.n_atoms,
            "status": self.outcome.status,
            **self.outcome.values,
            "error": self.outcome.error,
        }


def failure(error: Exception, atoms: Atoms | None = None) -> Outcome:
    """The outcome of an error: with our own the words of it, with others their type too; ``atoms``: the
    structure as it was given."""
    if isinstance(error, JMPError):
        text = _words(error)
    elif is_out_of_memory(error):
        text = "Out of memory."
    else:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        text = f"{type(error).__name__}: {first[:300]}"
    status: Status = "not-converged" if isinstance(error, NotConvergedError) else "failed"
    return Outcome(status, text, atoms=None if atoms is None else _without_results(atoms))


def _words(error: JMPError) -> str:
    """What is wrong, and where; the hints are of runs of one structure."""
    return error.fact if error.where is None else f"{error.fact} [{error.where}]"


def head_of(calculator: Any) -> dict[str, Scalar]:
    """The head that has computed, as a column: numbers of two heads have nothing in common. Empty for
    calculators without heads."""
    head = getattr(getattr(calculator, "info", None), "head", None)
    return {} if head is None else {"head": str(head)}


def _without_results(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    return copy


def of_relaxation(found: RelaxResult | Exception, start: Atoms) -> Outcome:
    """The outcome of a relaxation from ``start``; the structure is the one that is kept."""
    if isinstance(found, Exception):
        return failure(found, start)
    error = None
    try:
        found.require_converged()
    except NotConvergedError as told:
        error = _words(told)
    started, n_atoms = found.trajectory[0].calc.results["energy"], len(found.atoms)
    values = (
        head_of(found.atoms.calc)
        | scalars(found.to_dict())
        | {
            "energy_start_ev": started,
            "energy_ev_per_atom": found.energy_ev / n_atoms,
            "energy_gain_ev_per_atom": (started - found.energy_ev) / n_atoms,
        }
    )
    if values["volume_a3"] is not None:
        values["volume_a3_per_atom"] = found.atoms.get_volume() / n_atoms
    status: Status = "ok" if error is None else "not-converged"
    return Outcome(status, error, values, found.trajectory[found.step])


def scalars(results: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Numbers and words of a result, those of inner mappings with the names joined; lists are left out, and
    what is not finite is None."""
    found: dict[str, Scalar] = {}
    for name, value in plain(results).items():
        if isinstance(value, dict):
            found |= scalars(value, f"{prefix}{name}_")
        elif not isinstance(value, list):
            bad = isinstance(value, float) and not math.isfinite(value)
            found[prefix + name] = None if bad else value
    return found


def content_key(atoms: Atoms) -> str:
    """SHA-256 of everything that a structure says: what a result may depend on, and the labels in its info,
    which go with it."""
    digest = hashlib.sha256()
    arrays = {name: array for name, array in atoms.arrays.items() if array.dtype.kind in "fiubU"}
    arrays |= {"cell": atoms.cell.array, "pbc": np.array(atoms.pbc)}
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    info = identifying(atoms.info)
    digest.update(repr((sorted(info.items()), [words for _, words in _told(atoms)])).encode())
    return digest.hexdigest()


def _told(atoms: Atoms) -> Iterator[tuple[Any, Any]]:
    """The constraints that can say what they are, with that."""
    for constraint in atoms.constraints:
        with suppress(NotImplementedError, AttributeError):
            yield constraint, plain(constraint.todict())


def _restored(words: Any) -> Any | None:
    """The constraint of ``_told``; None where its words are not enough (FixSymmetry holds a structure)."""
    from ase.constraints import dict2constraint

    try:
        return dict2constraint(dict(words))
    except Exception:  # whatever foreign constraints raise
        return None


def _packed(atoms: Atoms) -> dict[str, Any]:
    """A structure with the results of its calculator as plain data."""
    arrays = {name: _listed(array) for name, array in atoms.arrays.items() if array.dtype.kind in "fiubU"}
    known = getattr(atoms.calc, "results", {})
    results = {
        name: np.asarray(known[name]).tolist()
        for name in ("energy", "forces", "stress")
        if name in known and _is_sound(np.asarray(known[name]))
    }
    texts = {name: value for name, value in atoms.info.items() if isinstance(name, str)}
    vectors = {
        name: value
        for name, value in texts.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiubU"
    }
    info = {  # in their order, in which files write them
        name: None if name in vectors else plain(value)
        for name, value in texts.items()
        if name in vectors or _has_json(plain(value), value)
    }
    return {
        "arrays": arrays,
        "cell": _listed(atoms.cell.array),
        "pbc": [bool(value) for value in atoms.pbc],
        "info": info,
        "info_arrays": {name: _listed(array) for name, array in vectors.items()},
        "constraints": [words for _, words in _told(atoms) if _restored(words) is not None],
        "results": results,
    }


def _has_json(words: Any, value: Any) -> bool:
    """Whether ``words`` are a value as it is, not the text of an object, and JSON has a form for them."""
    if isinstance(words, str) and not isinstance(value, str):
        return False
    with suppress(TypeError, ValueError):
        json.dumps(words, allow_nan=False)
        return True
    return False


def _listed(array: np.ndarray) -> Any:
    """An array of any shape as lists, with None for what JSON has no form for."""
    if array.dtype.kind == "U" or _is_sound(array):
        return array.tolist()
    plain_array = array.astype(object)
    plain_array[~np.isfinite(array)] = None
    return plain_array.tolist()


def _array(values: Any) -> np.ndarray:
    """The array of ``_listed``; None is NaN."""
    array = np.array(values)
    return array.astype(float) if array.dtype == object else array


def _is_sound(array: np.ndarray) -> bool:
    """Whether an array of any shape is numbers or flags that JSON has a form for."""
    return array.dtype.kind in "fiub" and bool(np.isfinite(array).all())


def _unpacked(packed: Mapping[str, Any]) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    arrays = {name: _array(values) for name, values in packed["arrays"].items()}
    numbers = arrays.pop("numbers").astype(int)
    atoms = Atoms(numbers, arrays.pop("positions"), cell=_array(packed["cell"]), pbc=packed["pbc"])
    for name, array in arrays.items():
        atoms.set_array(name, array)
    atoms.info.update(packed["info"])
    atoms.info.update({name: _array(values) for name, values in packed.get("info_arrays", {}).items()})
    constraints = (_restored(words) for words in packed["constraints"])
    atoms.set_constraint([constraint for constraint in constraints if constraint is not None])
    results = {name: np.array(v) if np.ndim(v) else v for name, v in packed["results"].items()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
