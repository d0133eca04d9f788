"""The frames of a trajectory as arrays: paths without jumps at the boundaries, velocities, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInputError, UsageError

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class Path:
    """Motion of the same atoms in equally spaced frames."""

    frames: tuple[Atoms, ...]
    positions: np.ndarray
    """(n_frames, n_atoms, 3) Å, unwrapped, relative to the centre of mass."""
    velocities: np.ndarray | None
    """(n_frames, n_atoms, 3) Å/fs; None where a frame has none."""
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
    masses = used[0].get_masses()[:, None]
    return Path(used, _unwrapped(used, masses), _velocities(used, masses), _times(used, frame_fs))


def _unwrapped(frames: Sequence[Atoms], masses: np.ndarray) -> np.ndarray:
    """Paths in which no atom moves more than half a cell between frames, less the centre of mass."""
    pbc = frames[0].pbc
    if not pbc.any():
        places = np.array([atoms.positions for atoms in frames])
    else:
        cells = np.array([atoms.cell.complete().array for atoms in frames])
        scaled = np.array([atoms.cell.complete().scaled_positions(atoms.positions) for atoms in frames])
        jumps = np.round(np.diff(scaled, axis=0)) * pbc
        scaled[1:] -= np.cumsum(jumps, axis=0)
        places = scaled @ cells.mean(axis=0)  # a breathing cell moves atoms without diffusion
    return np.asarray(places - (masses * places).sum(axis=1, keepdims=True) / masses.sum())


def _velocities(frames: Sequence[Atoms], masses: np.ndarray) -> np.ndarray | None:
    from ase import units

    if not all(atoms.has("momenta") for atoms in frames):
        return None
    found = np.array([atoms.get_momenta() for atoms in frames]) / masses * units.fs
    if not np.isfinite(found).all():
        raise BadInputError("A velocity is NaN or infinite.")
    return np.asarray(found - (masses * found).sum(axis=1, keepdims=True) / masses.sum())


def _times(frames: Sequence[Atoms], frame_fs: float | None) -> np.ndarray:
    if frame_fs is not None:
        return frame_fs * np.arange(len(frames))
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
