"""Structures as extended XYZ that everybody can read again, and in formats by name.

ASE writes what a structure carries as it is: notes of two lines, empty or blank words, tensors per atom,
keys with blanks make files that neither ASE nor anybody else reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .atomic import replacing
from .constraints import drop_unstorable

if TYPE_CHECKING:
    from ase import Atoms

_LONGEST = 100_000
"""Characters of one entry of a header; longer ones are left out."""
_HEADER_NAMES = frozenset({"Lattice", "lattice", "Properties", "properties", "pbc", ""})
_COLUMN_NAMES = frozenset({"numbers", "positions", "symbols", "species", "pos", "Z", "move_mask", ""})
_MATRICES = ("stress", "virial")
"""Entries that ASE reads as nine numbers or not at all."""
FORMATS = {
    "poscar": "vasp",
    "cif": "cif",
    "xyz": "xyz",
    "extxyz": "extxyz",
    "traj": "traj",
    "pdb": "proteindatabank",
}
"""Names of formats for ``write_as``, in lower case, and what ASE calls them."""
_SINGLE, _WITH_CELL = frozenset({"poscar"}), frozenset({"poscar", "cif"})


def write_extxyz(target: Path | IO[str], frames: Iterable[Atoms], *, append: bool = False) -> None:
    """Write frames, with the results of their calculators, as extended XYZ; see ``readable``."""
    import ase.io

    ase.io.write(target, [readable(atoms) for atoms in frames], format="extxyz", append=append)


def readable(atoms: Atoms) -> Atoms:
    """A copy whose extended XYZ can be read again: tensors as columns, texts without line ends as one word
    per
    atom; what cannot be written so (complex numbers, objects, entries of more than 100 kB) is left out."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    work = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, constraint=atoms.constraints)
    results = {key: value for key, value in _own_results(atoms).items() if _is_result(value, len(atoms), key)}
    for name, array in atoms.arrays.items():
        word, column = _word(name), _column(np.asarray(array), len(atoms))
        if (
            column is not None
            and word not in _COLUMN_NAMES
            and word not in results
            and word not in work.arrays
        ):
            work.set_array(word, column)
    for name, value in atoms.info.items():
        word, entry = _word(name), _entry(_word(name), value)
        if entry is not None and word not in _HEADER_NAMES and word not in results:
            work.info[word] = entry
    if results:
        work.calc = SinglePointCalculator(work, **results)
    return work


def _own_results(atoms: Atoms) -> dict[str, Any]:
    """Results of the calculator for these very atoms: one that has moved on keeps those of other frames."""
    calc = atoms.calc
    changed = getattr(calc, "check_state", None)
    if calc is None or (changed is not None and changed(atoms)):
        return {}
    return getattr(calc, "results", None) or {}


def _is_result(value: Any, n_atoms: int, key: str) -> bool:
    """Whether a result is numbers in columns, or a few of the whole structure."""
    from ase.calculators.calculator import all_properties

    array = (
        np.asarray(value) if isinstance(value, (int, float, list, tuple, np.ndarray, np.generic)) else None
    )
    if array is None or array.dtype.kind not in "fiub" or key not in all_properties:
        return False
    if key == "stress":
        return array.shape in ((6,), (3, 3))
    return array.ndim <= 1 or (array.ndim == 2 and array.shape[0] == n_atoms)


def _word(name: Any) -> str:
    """A key without blanks, quotes and signs that have a meaning in a header."""
    return re.sub(r"[^\w.+-]", "_", str(name))


def _column(array: np.ndarray, n_atoms: int) -> np.ndarray | None:
    """An array per atom as columns (N,) or (N, columns) of numbers, flags or words; None: it is left out."""
    if len(array) != n_atoms or array.size == 0:
        return None
    if array.ndim > 2:
        array = array.reshape(n_atoms, -1)
    if array.dtype.kind in "fb":
        return array
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    texts = array.ravel().tolist()
    if array.dtype.kind not in "UO" or not all(isinstance(text, str) for text in texts):
        return None
    words = [re.sub(r"\s", "_", text) or "_" for text in texts]
    return np.array(words, dtype=object).reshape(array.shape)


def _entry(key: str, value: Any) -> Any:
    """A value of ``info`` in a form that is read again as it was; None: it is left out."""
    if key in _MATRICES:
        return _matrix(value)
    if isinstance(value, (bool, np.bool_, int, float, np.integer, np.floating)):
        return value
    if isinstance(value, str) and value.strip() and value.isprintable() and _stays_text(value):
        return value if len(value) <= _LONGEST else None
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fib" and value.size > 0:
        return value if value.size <= _LONGEST // 20 else None
    if type(value).__name__ == "Spacegroup":
        return value.symbol
    try:
        text = json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return None
    # A header takes a backslash for the start of an escape.
    return "_JSON " + text.replace("\\", "\\\\") if value is not None and len(text) <= _LONGEST else None


def _stays_text(value: str) -> bool:
    """Whether a reader takes a text for one: F is a truth value to it, NaN and InF are numbers."""
    from ase.io.extxyz import key_val_str_to_dict

    if "\\" in value:
        return False
    return '"' in value or isinstance(key_val_str_to_dict(f'text="{value}"')["text"], str)


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy for JSON; TypeError for what JSON has no form for."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubUO":
        return value.tolist()
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    raise TypeError(type(value).__name__)


def _matrix(value: Any) -> np.ndarray | None:
    """(3, 3) from it, nine numbers or six in Voigt order."""
    if np.iscomplexobj(value):
        return None
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    if numbers.shape == (6,):
        xx, yy, zz, yz, xz, xy = numbers
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return numbers.reshape(3, 3) if numbers.size == 9 else None


def check_format(name: str, *, several: bool = False) -> str:
    """The name in lower case; UsageError for one that is unknown, or holds one structure where there are
    several."""
    lower = name.lower()
    if lower not in FORMATS:
        raise UsageError(f"Unknown format {name!r}.", hint=f"choose from {', '.join(FORMATS)}")
    if several and lower in _SINGLE:
        raise UsageError(
            f"{name} holds one structure, here are several.", hint="choose extxyz, xyz, cif or traj"
        )
    return lower


def check_cell(atoms: Atoms, names: Iterable[str]) -> None:
    """UsageError for a format that needs a cell, which the structure has not."""
    for name in names:
        if name.lower() in _WITH_CELL and atoms.cell.rank < 3:
            raise UsageError(f"The format {name} needs a cell.", hint="choose xyz, extxyz, traj or pdb")


def written_name(stem: str, name: str) -> str:
    """Name of the file of a format: ``opt.cif``, ``opt.POSCAR``."""
    return f"{stem}.{'POSCAR' if name.lower() == 'poscar' else name.lower()}"


def write_as(path: Path, frames: Iterable[Atoms], name: str) -> None:
    """Write frames in the format ``name`` (a key of FORMATS); POSCAR with atoms sorted by element.

    A warning names constraints that the file is without. UsageError for a format that cannot hold the frames.
    """
    import ase.io

    images = [readable(atoms) for atoms in frames]
    form = FORMATS[check_format(name, several=len(images) > 1)]
    for image in images:
        check_cell(image, [name])
    drop_unstorable(images, form, path.name)
    extra: dict[str, Any] = {"sort": True} if form == "vasp" else {}
    with replacing(path) as temporary:
        ase.io.write(temporary, images if len(images) > 1 else images[0], format=form, **extra)
