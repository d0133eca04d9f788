"""Down an imaginary mode: displace the atoms along it in the smallest cell that holds its wave, and relax.

Only waves that fit the supercell are followed: their force constants are computed, not interpolated.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPError, JMPWarning
from ..common import raw_results, snapshot
from ..relax import relax
from ..relax_cell import space_group
from .glue import unit_atoms
from .settings import PhononSettings

if TYPE_CHECKING:
    from ase import Atoms

AMPLITUDES_A = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Largest displacements of an atom that are tried, both ways, Å."""
PHASES_DEG = (0.0, 90.0)
"""Standing waves that are tried: displacements of a complex wave depend on where it starts."""
NOISE_EV_PER_ATOM = 1e-6
SYMPREC_A = 0.01


@dataclass(frozen=True, eq=False)
class Followed:
    """Where an imaginary mode leads."""

    atoms: Atoms
    """The relaxed structure with its results, or the undisplaced cell where nothing was lower."""
    frequency_thz: float
    qpoint: tuple[float, float, float]
    band: int
    cells: int
    """Primitive cells in ``atoms``."""
    amplitude_a: float
    """Largest displacement of an atom before the relaxation, Å; 0: nothing was lower."""
    gain_ev_per_atom: float
    """How much lower than the undisplaced crystal."""
    fmax: float
    """Largest force left, eV/Å."""
    converged: bool
    space_group: str | None

    @property
    def is_lower(self) -> bool:
        """Whether a structure of lower energy was found."""
        return self.gain_ev_per_atom > NOISE_EV_PER_ATOM

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "lower": self.is_lower,
            "gain_ev_per_atom": self.gain_ev_per_atom,
            "frequency_thz": self.frequency_thz,
            "qpoint": list(self.qpoint),
            "band": self.band,
            "primitive_cells": self.cells,
            "n_atoms": len(self.atoms),
            "amplitude_a": self.amplitude_a,
            "fmax_ev_per_a": self.fmax,
            "converged": self.converged,
            "space_group": self.space_group,
        }

    def __str__(self) -> str:
        q = ", ".join(f"{x:.4g}" for x in self.qpoint)
        mode = f"the mode of {self.frequency_thz:.3f} THz at q = ({q})"
        if not self.is_lower:
            return (
                f"{mode} leads to no lower energy: it comes from the force constants (supercell, "
                "displacement, noise of the forces) rather than from an instability"
            )
        return (
            f"{mode} leads {1e3 * self.gain_ev_per_atom:.3g} meV/atom lower, to a structure of "
            f"{len(self.atoms)} atoms, {self.space_group or 'symmetry not known'}"
        )


def follow(phonon: Any, box: Atoms, periodic: np.ndarray, settings: PhononSettings) -> Followed | None:
    """Follow the worst imaginary mode of the waves that fit the supercell; None where there is none.

    Args:
        phonon: with its force constants.
        box: the boxed unit cell with its calculator.
        periodic: (3,) bool, see ``cell.repeating``.
        settings: fmax, relax_steps and the tolerance of imaginary modes.
    """
    found = _worst(phonon, settings.imaginary_tolerance_thz)
    if found is None:
        return None
    q, band, frequency = found
    cell = holding(q, phonon.primitive.cell, periodic)
    plain, waves = _waves(phonon, box, cell, q, band)
    steps = [sign * length for length in AMPLITUDES_A for sign in (1, -1)]
    tried = [_moved(plain, step * wave) for wave in waves for step in steps]
    energies = [found["energy"] for found in raw_results([plain, *tried], ["energy"])]
    best = int(np.argmin(energies))
    start = [plain, *tried][best]
    try:
        relaxed = relax(start, fmax=settings.fmax, steps=settings.relax_steps) if best else None
    except JMPError as err:  # the phonons themselves are there, whatever happens down the mode
        text = f"the imaginary mode was not followed, its relaxation ended: {err.fact}"
        warnings.warn(text, JMPWarning, stacklevel=4)
        return None
    end = snapshot(plain) if relaxed is None else relaxed.atoms
    fmax = float(np.linalg.norm(end.get_forces(), axis=1).max())
    if relaxed is not None and not relaxed.converged:
        text = f"the structure down the imaginary mode is not relaxed: {fmax:.2g} eV/Å are left"
        warnings.warn(text, JMPWarning, stacklevel=4)
    return Followed(
        atoms=end,
        frequency_thz=frequency,
        qpoint=tuple(round(float(x), 6) for x in q),  # type: ignore[arg-type]
        band=band,
        cells=round(float(np.linalg.det(cell))),
        amplitude_a=abs(steps[(best - 1) % len(steps)]) if best else 0.0,
        gain_ev_per_atom=(energies[0] - float(end.get_potential_energy())) / len(end),
        fmax=fmax,
        converged=relaxed is None or relaxed.converged,
        space_group=space_group(end, SYMPREC_A),
    )


def _worst(phonon: Any, tolerance: float) -> tuple[np.ndarray, int, float] | None:
    """q, band and frequency of the lowest mode below -tolerance among those that fit the supercell; the
    translations are none."""
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    ratio = np.linalg.inv(phonon.primitive_matrix) @ phonon.supercell_matrix
    points = get_commensurate_points(np.rint(ratio).astype(int))
    frequencies = np.array(phonon.run_qpoints(points).frequencies)
    at_gamma = np.abs(points - np.rint(points)).max(axis=1) < 1e-6
    for row in np.flatnonzero(at_gamma):
        frequencies[row, np.argsort(np.abs(frequencies[row]))[:3]] = 0.0
    row, band = np.unravel_index(frequencies.argmin(), frequencies.shape)
    if not frequencies[row, band] < -tolerance:
        return None
    return points[row], int(band), float(frequencies[row, band])


def holding(q: np.ndarray, vectors: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """The smallest cell in which a wave repeats, as compact as can be.

    Args:
        q: (3,) fractions of the reciprocal vectors.
        vectors: (3, 3) primitive cell, Å.
        periodic: (3,) bool; the other vectors stay as they are.

    Returns:
        (3, 3) integers, rows are vectors in units of the primitive ones; right-handed.
    """
    from ase.geometry import minkowski_reduce

    parts = [Fraction(float(x)).limit_denominator(1000) for x in q]
    order = int(np.lcm.reduce([part.denominator for part in parts]))
    steps = [int(part * order) for part in parts]
    best: np.ndarray | None = None
    for a, b in ((a, b) for a in range(1, order + 1) for b in range(1, order + 1)):
        if order % (a * b):
            continue
        c = order // (a * b)
        for i, j, k in np.ndindex(b, c, c):  # Hermite normal form: every sublattice once
            rows = np.array([[a, i, j], [0, b, k], [0, 0, c]])
            if (rows @ steps % order).any():
                continue
            reduced, change = minkowski_reduce(rows @ vectors, periodic)
            if best is None or _spread(reduced) < _spread(best @ vectors) - 1e-6:
                best = np.asarray(change, dtype=int) @ rows
    assert best is not None  # the wave repeats after ``order`` cells along one direction at the latest
    return best if np.linalg.det(best) > 0 else -best


def _spread(vectors: np.ndarray) -> float:
    return float((vectors**2).sum())


def _waves(
    phonon: Any, box: Atoms, cell: np.ndarray, q: np.ndarray, band: int
) -> tuple[Atoms, list[np.ndarray]]:
    """The undisplaced cell, and displacements (n_atoms, 3) along the mode, the largest of length one."""
    modes = [[q, band, 1.0, phase] for phase in PHASES_DEG]
    found = phonon.run_modulations(cell.T, modes)
    primitive = phonon.primitive
    index = {int(atom): k for k, atom in enumerate(found.supercell.u2s_map)}
    of_primitive = [index[int(atom)] for atom in found.supercell.s2u_map]
    plain = box[unit_atoms(phonon.supercell)[np.asarray(primitive.p2s_map)[of_primitive]]]
    plain.set_cell(found.supercell.cell)
    plain.set_scaled_positions(found.supercell.scaled_positions)
    plain.calc = box.calc
    lengths = [float(np.linalg.norm(wave.real, axis=1).max()) for wave in found.modulations]
    largest = max(lengths)
    pairs = zip(found.modulations, lengths, strict=True)
    return plain, [wave.real / length for wave, length in pairs if length > 1e-3 * largest]


def _moved(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.positions += displacement
    return copy
