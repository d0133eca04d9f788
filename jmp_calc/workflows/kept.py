"""What a run has computed, kept in its folder, so that a run that was killed computes nothing twice.

Results are found by the structure that they are of, so that settings may change in between.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.records import STATE, RecordFile
from ..unread import stated
from .common import output_path
from .potentials import model_fingerprint

if TYPE_CHECKING:
    from ase import Atoms

DECIMALS = 8
"""Of positions and cells, Å: structures that differ by less are the same."""
_ENERGY_DEPENDS_ON = ("numbers", "initial_charges", "initial_magmoms", "tags")


class Kept:
    """Results that are kept in a folder while a run goes on."""

    def __init__(self, records: RecordFile) -> None:
        self._records = records
        self.n_found = 0
        """Structures whose results were there already."""

    def find(self, atoms: Atoms, properties: Sequence[str]) -> dict[str, Any] | None:
        """Results of a structure as ``raw_results`` gives them; None: not computed yet."""
        found = self._records.get(_name(atoms, properties))
        if found is None:
            return None
        self.n_found += 1
        return {word: float(value) if value.ndim == 0 else value for word, value in found.items()}

    def keep(self, structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]]) -> None:
        """Write the results of structures to the disk."""
        self._records.put(
            {_name(atoms, list(one)): one for atoms, one in zip(structures, results, strict=True)}
        )

    def once(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays of a step by its name: those that are kept, or else computed and kept."""
        found = self._records.get(name)
        if found is None:
            found = {word: np.asarray(value) for word, value in compute().items()}
            self._records.put({name: found})
        return found


def kept_in(
    out: str | os.PathLike[str] | None, prefix: str, atoms: Atoms, *, what: str, resume: bool
) -> Kept | None:
    """What a run keeps in its folder; None without a folder.

    Args:
        out: folder, held by this process.
        prefix: of the names of files.
        atoms: the structure that the run was given, with its calculator.
        what: name of the workflow.
        resume: go on with what is there, if anything is.

    Raises:
        UsageError: what is there belongs to another run. BadInputError: it is damaged.
    """
    if out is None:
        return None
    path = output_path(out, STATE, prefix)
    belongs = {"workflow": what, "structure": digest(atoms), "model": model_fingerprint(atoms)}
    if resume and path.exists():
        return Kept(RecordFile.resumed(path, belongs))
    return Kept(RecordFile.fresh(path, belongs))


def digest(atoms: Atoms) -> str:
    """A word for what the energy of a structure may depend on."""
    sha = hashlib.sha256()
    for length in (atoms.positions, atoms.cell.array):
        sha.update((np.round(length, DECIMALS) + 0.0).tobytes())  # -0.0 is 0.0
    sha.update(np.asarray(atoms.pbc).tobytes())
    for name in _ENERGY_DEPENDS_ON:
        array = atoms.arrays.get(name)
        if array is not None and np.any(array):
            sha.update(name.encode() + np.ascontiguousarray(array).astype(np.float64).tobytes())
    if state := stated(atoms.info):
        sha.update(repr(sorted(state.items())).encode())
    return sha.hexdigest()


def _name(atoms: Atoms, properties: Sequence[str]) -> str:
    return f"{' '.join(sorted(properties))} {digest(atoms)}"
