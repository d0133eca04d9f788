"""Does the pressure rise with the energy where the cell is the same? In vibrating matter it does.

At fixed cell both the potential energy and the virial V p of solids and melts follow how far atoms are from
their places: they are correlated to 0.9 and more, with a slope (twice a Grueneisen parameter) of 1.7 to 10
in 40 groups of public data. A wrong sign or unit of the stress is another slope. Small changes of the cell
are taken out first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.frame import Frame
from .consistency import WorkTest
from .virial import VOIGT, of_one_cell, strain_between, stress_groups

USUAL_SLOPE = 3.0
"""Changes of V p over changes of the energy."""
_CONCLUSIVE = 0.95


def pressure_tests(frames: Sequence[Frame]) -> list[tuple[Sequence[Frame], WorkTest]]:
    """Slopes of V p against the energy over the usual one, for the groups of frames in which the two are
    clearly correlated."""
    found: list[tuple[Sequence[Frame], WorkTest]] = []
    for members in stress_groups(frame for frame in frames if frame.energy is not None):
        test = _pressure_test(of_one_cell(members))
        if test is not None and test.freedom >= 8 and abs(test.correlation) > _CONCLUSIVE:
            found.append((members, test))
    return found


def _pressure_test(frames: Sequence[Frame]) -> WorkTest | None:
    if len(frames) < 9:
        return None
    known = np.array([[1.0, *strain_between(frames[0], frame)[VOIGT]] for frame in frames])
    left, values, _ = np.linalg.svd(known, full_matrices=False)
    left = left[:, values > 1e-8 * values[0]]
    energy = np.array([frame.energy for frame in frames], dtype=float)
    virial = np.array([-np.trace(np.asarray(frame.stress)) / 3.0 * frame.volume for frame in frames])
    x, y = (value - left @ (left.T @ value) for value in (energy, virial))
    size = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    if size == 0.0 or np.abs(x).max() < 1e-4 * frames[0].n_atoms:
        return None
    correlation = float(np.vdot(x, y)) / size
    slope = float(np.sign(correlation) * np.sqrt(np.vdot(y, y) / np.vdot(x, x)))
    return WorkTest(
        len(frames), slope / USUAL_SLOPE, correlation, frames[0].n_atoms, len(frames) - left.shape[1]
    )
