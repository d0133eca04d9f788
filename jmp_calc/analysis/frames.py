"""The frames of a trajectory as arrays: paths without jumps at the boundaries, velocities, times."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..checks import holding_constraints
from ..errors import BadInputError, JMPWarning, UsageError

if TYPE_CHECKING:
    from ase import Atoms

LONG_STEPS = 0.1
"""Share of steps beyond a quarter of the cell: of Gaussian ones with that share one in a thousand is beyond
half of it, which is folded back."""
AT_REST_A = 1e-5
"""Largest motion of an atom that is held, Å: files have their digits."""


@dataclass(frozen=True, eq=False)
class Path:
    """Motion of the same atoms in equally spaced frames."""

    frames: tuple[Atoms, ...]
    positions: np.ndarray
    """(n_frames, n_atoms, 3) Å, unwrapped; relative to the centre of mass where no atom is held."""
    velocities: np.ndarray | None
    """(n_frames, n_atoms, 3) Å/fs, relative as the positions are; None where a frame has none."""
    times_fs: np.ndarray
    """(n_frames,)"""

    @property
    def frame_fs(self) -> float:
        """Time between frames, fs."""
        return float(self.times_fs[-1] - self.times_fs[0]) / (len(self.times_fs) - 1)


def path_of(frames: Sequence[Atoms], frame_fs: float | None, discard: float) -> Path:
    """The part of a trajectory after its first share ``discard``.

    ``frame_fs``: time between frames; None: that of the ``time_fs`` of the frames.

    Raises:
        BadInputError: frames of other atoms, with NaN, or at unequal times. UsageError: no times, or fewer
            than ten frames left.
    """
    used = tuple(frames[int(discard * len(frames)) :])
    if len(used) < 10:
        raise UsageError(
            f"{len(used)} frames are too few to analyse.", hint="give at least ten, or discard fewer"
        )
    for number, atoms in enumerate(used):
        where = f"frame {len(frames) - len(used) + number}"
        if not np.array_equal(atoms.numbers, used[0].numbers):
            raise BadInputError("The frames are not of the same atoms in the same order.", where=where)
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise BadInputError("A position or a cell is NaN or infinite.", where=where)
        if not np.array_equal(atoms.pbc, used[0].pbc):
            raise BadInputError("The frames are not periodic in the same directions.", where=where)
    places = _unwrapped(used)
    masses = used[0].get_masses()[:, None]
    held = _is_held(used[0], places)
    if not held:
        places = places - _centre(places, masses)
    times = _times(used, frame_fs, len(frames) - len(used))
    return Path(used, places, _velocities(used, masses, held), times)


def _unwrapped(frames: Sequence[Atoms]) -> np.ndarray:
    """Paths (n_frames, n_atoms, 3), Å: as they are where atoms leave the neighbouring cells, so that nobody
    wraps them; else such that no atom moves more than half a cell between frames."""
    pbc = frames[0].pbc
    if not pbc.any():
        return np.array([atoms.positions for atoms in frames])
    cells = np.array([atoms.cell.complete().array for atoms in frames])
    scaled = np.array([atoms.cell.complete().scaled_positions(atoms.positions) for atoms in frames])
    # atoms of molecules that are kept whole are in the cell or beside it; the first frame may be as was given
    images = np.floor(scaled[1:]) - np.floor(scaled[1])
    if np.abs(images[..., pbc]).max() < 3:
        steps = np.diff(scaled, axis=0)
        jumps = np.round(steps) * pbc
        _warn_of_long_steps(np.abs(steps - jumps)[..., pbc])
        scaled[1:] -= np.cumsum(jumps, axis=0)
    return np.asarray(scaled @ cells.mean(axis=0))  # a breathing cell moves atoms without diffusion


def _warn_of_long_steps(steps: np.ndarray) -> None:
    """JMPWarning for folded steps, as shares of the cell, among which some must be longer than half of it."""
    if np.mean(steps > 0.25) > LONG_STEPS:
        text = (
            "atoms move by a good part of the cell between frames, so that their ways across its boundaries "
            "are guesses: displacements and diffusion are too small; write frames more often (traj_every)"
        )
        warnings.warn(text, JMPWarning, stacklevel=5)


def _is_held(first: Atoms, places: np.ndarray) -> bool:
    """Whether the frame of reference is that of atoms that are held, by their constraints or because they
    are at rest in all frames while others move."""
    if holding_constraints(first):
        return True
    at_rest = np.ptp(places, axis=0).max(axis=1) < AT_REST_A
    return bool(at_rest.any() and not at_rest.all())


def _centre(vectors: np.ndarray, masses: np.ndarray) -> np.ndarray:
    return np.asarray((masses * vectors).sum(axis=1, keepdims=True) / masses.sum())


def _velocities(frames: Sequence[Atoms], masses: np.ndarray, held: bool) -> np.ndarray | None:
    from ase import units

    if not all(atoms.has("momenta") for atoms in frames):
        return None
    found = np.array([atoms.get_momenta() for atoms in frames]) / masses * units.fs
    if not np.isfinite(found).all():
        raise BadInputError("A velocity is NaN or infinite.")
    return np.asarray(found if held else found - _centre(found, masses))


def _times(frames: Sequence[Atoms], frame_fs: float | None, before: int) -> np.ndarray:
    """(n_frames,) fs; ``before``: frames left out at the start."""
    if frame_fs is not None:
        return frame_fs * np.arange(before, before + len(frames))
    try:
        times = np.array([float(atoms.info["time_fs"]) for atoms in frames])
    except (KeyError, TypeError, ValueError) as err:
        raise UsageError(
            "The frames do not say at which time they are.", hint="give frame_fs (--frame-fs)"
        ) from err
    steps = np.diff(times)
    if not (np.isfinite(times).all() and steps.min() > 0 and np.ptp(steps) < 1e-3 * steps.mean()):
        raise BadInputError(
            "The frames are not equally spaced in time.", hint="take a part of them: FILE@START:STOP:STEP"
        )
    return times
