"""SPICE (``datasets.md`` section 8): dipeptides and solvated amino acids, wB97M-D3(BJ)/def2-TZVPPD, bohr and
hartree.

The file holds gradients. They are negated: the official converter did not do so until mid-2024, and models
trained on that have an energy surface upside down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.units import BOHR, HARTREE

from ..data.frame import Frame
from .base import FrameSource, Parts, choose, legacy_shuffle, molecule_frame, shuffled_parts
from .formats.hdf5 import array, check_shapes, member, opened

_PREFIXES = {
    "dipeptides": "SPICE Dipeptides Single Points Dataset",
    "solvated_amino_acids": "SPICE Solvated Amino Acids Single Points Dataset",
}
SUBSETS = tuple(_PREFIXES)
SPLITS = ("conformers", "molecules")


class SpiceFrames(FrameSource):
    """Conformers of one subset, molecule by molecule; the total energy is the label."""

    def __init__(self, path: Path, group: str) -> None:
        """``group``: dipeptides or solvated_amino_acids."""
        self.path, self.group = path, group
        self.molecules: list[str] = []
        numbers, positions, energies, forces = [], [], [], []
        with opened(path) as file:
            for name in sorted(file):
                molecule = member(file, name, path)
                if "conformations" not in molecule or not _subset(molecule, path).startswith(
                    _PREFIXES[group]
                ):
                    continue
                z = array(molecule, "atomic_numbers", path).astype(np.int64)
                x, gradient = (array(molecule, key, path) for key in ("conformations", "dft_total_gradient"))
                energy = array(molecule, "dft_total_energy", path).astype(np.float64).reshape(-1)
                check_shapes(len(z), x.shape, energy.shape, gradient.shape, f"{path} group {name}")
                self.molecules.append(name)
                numbers.append(z)
                positions.append(x)
                energies.append(energy)
                forces.append(gradient)
        if not numbers:
            raise BadInputError(
                f"{path.name} has no molecule of the subset {group}.",
                where=str(path),
                hint="it needs groups whose subset begins with " + repr(_PREFIXES[group]),
            )
        self._numbers, self._positions, self._energies, self._gradients = numbers, positions, energies, forces
        counts = [len(energy) for energy in energies]
        self.molecule = np.repeat(np.arange(len(counts)), counts)
        self.conformer = np.concatenate([np.arange(count) for count in counts])

    def __len__(self) -> int:
        return len(self.molecule)

    @property
    def n_atoms(self) -> np.ndarray:
        """(frames,) int64."""
        return np.array([len(z) for z in self._numbers], dtype=np.int64)[self.molecule]

    def __getitem__(self, index: int) -> Frame:
        m, c = int(self.molecule[index]), int(self.conformer[index])
        return molecule_frame(
            self._numbers[m],
            self._positions[m][c].astype(np.float64) * BOHR,
            self.path.name,
            int(index),
            self.group,
            energy=float(self._energies[m][c]) * HARTREE,
            forces=self._gradients[m][c].astype(np.float64) * (-HARTREE / BOHR),
            identifier=f"{self.molecules[m]}/{c}",
        )


def open_spice(folder: Path, member: str) -> SpiceFrames:
    """Conformers of a subset from an extract (``dipeptides.h5``) or any published ``SPICE-*.hdf5`` in
    ``folder``.

    Raises:
        BadInputError: no such file.
    """
    subset = choose(member, SUBSETS, "SPICE subset")
    if folder.is_file():
        return SpiceFrames(folder, subset)
    files = [path for path in (folder / f"{subset}.h5", folder / f"{subset}.hdf5") if path.is_file()]
    files = files or sorted(folder.glob("SPICE*.hdf5"))
    if not files:
        raise BadInputError(
            f"SPICE was not found: {folder} has neither {subset}.h5 nor SPICE-*.hdf5.",
            where=str(folder),
            hint="give the folder of the data set with --data, see jmp-calc data list",
        )
    return SpiceFrames(files[-1], subset)


def split_spice(source: SpiceFrames, split: str = "conformers") -> Parts:
    """80 / 10 / 10 % of the legacy shuffle with seed 42 over conformers in file order (subset first, then
    numbered).

    ``conformers`` puts those of one molecule into all parts, as the official code; ``molecules`` keeps them
    together.

    Raises:
        BadInputError: too few molecules.
    """
    split = choose(split, SPLITS, "split of SPICE")
    if split == "conformers":
        n = len(source)
        n_train, n_test = int(0.8 * n), int(0.1 * n)
        return shuffled_parts(n, n_train, n - n_train - n_test, n_test)
    n = len(source.molecules)
    n_train, n_test = int(0.8 * n), int(0.1 * n)
    if min(n_train, n_test, n - n_train - n_test) < 1:
        raise BadInputError(f"{n} molecules are too few to split.", where=str(source.path))
    slices = np.split(legacy_shuffle(n), [n_train, n - n_test])
    train, valid, test = (np.flatnonzero(np.isin(source.molecule, part)) for part in slices)
    return Parts(
        train,
        valid,
        test,
        f"RandomState(42) shuffle of {n} molecules: {n_train} / {n - n_train - n_test} / {n_test}",
    )


def _subset(molecule: object, path: Path) -> str:
    value = array(molecule, "subset", path).reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
