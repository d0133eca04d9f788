"""QM9 (``datasets.md`` section 5): 130,831 molecules with 19 scalar properties, in any of its three public forms.

The forms are in :mod:`.qm9_files`; all give energies in eV, rotational constants last, and other units as published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError

from ..labels import Frame
from .base import FrameSource, Parts, choose, molecule_frame, shuffled_parts

TARGETS = ("mu", "alpha", "eps_HOMO", "eps_LUMO", "delta_eps", "R_2_Abs", "ZPVE", "U_0", "U", "H", "G", "c_v",
           "U_0_ATOM", "U_ATOM", "H_ATOM", "G_ATOM", "A", "B", "C")
"""Order of the graph form; the first twelve are the benchmark."""
UNITS = ("D", "a0^3", "eV", "eV", "eV", "a0^2", "eV", "eV", "eV", "eV", "eV", "cal/mol/K", "eV", "eV", "eV", "eV",
         "GHz", "GHz", "GHz")
N_MOLECULES = 130_831
N_TRAIN, N_VALID, N_TEST = 110_831, 10_000, 10_000
SPLITS = ("jmp",)


class QM9Frames(FrameSource):
    """Molecules with their properties as columns."""

    def __init__(
        self, path: Path, offset: np.ndarray, numbers: np.ndarray, positions: np.ndarray, names: tuple[str, ...],
        targets: np.ndarray,
    ) -> None:
        """Args:
        path: the file.
        offset: (F + 1,) first atom of each molecule.
        numbers: (A,).
        positions: (A, 3) Å.
        names: ``gdb_k`` of each molecule.
        targets: (F, 19) float64 in ``UNITS``; NaN where a form lacks a property.
        """
        self.path, self._offset, self._numbers, self._positions = path, offset, numbers, positions
        self.names, self.targets = names, targets

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_atoms(self) -> np.ndarray:
        """(molecules,) int64."""
        return np.diff(self._offset)

    def __getitem__(self, index: int) -> Frame:
        atoms = slice(int(self._offset[index]), int(self._offset[index + 1]))
        present = zip(TARGETS, self.targets[index].tolist())
        return molecule_frame(
            self._numbers[atoms], self._positions[atoms], self.path.name, int(index), "qm9", identifier=self.names[index],
            targets={name: value for name, value in present if not np.isnan(value)},
        )


def open_qm9(folder: Path, member: str = "all", *, complete: bool = True) -> FrameSource:
    """The characterised molecules, in the order of their index, from the form that ``folder`` has.

    Looked for in this order: the original xyz files (full float64 energies), ``gdb9.sdf`` with its csv, and
    ``qm9_v3.pt`` or its zip (energies already rounded to float32). ``complete`` demands all 130,831 molecules, without
    which the published split means nothing.
    """
    from . import qm9_files, qm9_graphs

    choose(member, ("all", *TARGETS), "QM9 property")
    for form in (qm9_files.open_xyz, qm9_files.open_sdf, qm9_graphs.open_graphs):
        found = form(folder)
        if found is not None:
            break
    else:
        raise BadInputError(
            f"No form of QM9 is in {folder}.", where=str(folder),
            hint="give the folder with dsgdb9nsd.xyz.tar.bz2 (or its xyz files), gdb9.sdf and gdb9.sdf.csv, or qm9_v3.pt")
    if complete and len(found) != N_MOLECULES:
        raise BadInputError(f"{found.path.name} gives {len(found)} characterised molecules, not {N_MOLECULES}.",
                            where=str(folder), hint="The file is not complete; fetch it again.")
    return found


def split_qm9(
    source: FrameSource, split: str = "jmp", *, n_train: int = N_TRAIN, n_valid: int = N_VALID, n_test: int = N_TEST
) -> Parts:
    """110,831 / 10,000 / 10,000 of the legacy shuffle with seed 42 over the molecules in file order."""
    choose(split, SPLITS, "split of QM9")
    return shuffled_parts(len(source), n_train, n_valid, n_test)
