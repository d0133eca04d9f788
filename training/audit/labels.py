"""Tests of labels one by one: present, finite, not constant, forces that can be forces."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from jmp_calc.errors import BadInputError

from ..data.frame import Frame
from .findings import Code, Finding, places

_MISSING: dict[str, Code] = {
    "energy": "missing_energy",
    "forces": "missing_forces",
    "stress": "missing_stress",
}


def check_labels(frames: Sequence[Frame], require: Collection[str]) -> list[Finding]:
    """Missing and non-finite labels."""
    found = []
    for label, code in _MISSING.items():
        values = [getattr(frame, label) for frame in frames]
        bad = [i for i, value in enumerate(values) if value is not None and not np.isfinite(value).all()]
        if bad:
            what = {"energy": "an energy that is", "forces": "forces that are", "stress": "a stress that is"}[
                label
            ]
            found.append(
                Finding(
                    "error",
                    "not_finite",
                    f"{len(bad)} of {len(frames)} frames have {what} not finite.",
                    places(frames, bad),
                    "Remove these frames: their calculation failed.",
                )
            )
        missing = [i for i, value in enumerate(values) if value is None]
        if label in require and missing:
            found.append(
                Finding(
                    "error",
                    code,
                    f"{len(missing)} of {len(frames)} frames have no {label}.",
                    places(frames, missing),
                    f"Check the key (--{label}-key), or train without it (--allow-missing {label}).",
                )
            )
    return found


def refuse_not_finite(frames: Sequence[Frame]) -> None:
    """BadInputError naming file and frames if a label is not finite."""
    for finding in check_labels(frames, require=()):
        raise BadInputError(finding.message, where=finding.where, hint=finding.hint)


def check_target(frames: Sequence[Frame], target: str) -> list[Finding]:
    """A scalar that is the same in all frames."""
    values = np.array([frame.targets[target] for frame in frames])
    if len(values) < 3 or np.ptp(values) > 0:
        return []
    return [
        Finding(
            "error",
            "constant_target",
            f"All {len(values)} values of {target} are {values[0]:g}.",
            frames[0].where,
            "There is nothing to learn; is it the right key?",
        )
    ]


def check_forces(frames: Sequence[Frame]) -> list[Finding]:
    """Forces that are zero, constant, repeated, huge, or do not add up to zero."""
    labelled = [frame for frame in frames if frame.forces is not None and frame.n_atoms > 1]
    if not labelled:
        return []
    forces = [np.asarray(frame.forces) for frame in labelled]
    sizes = np.array([np.abs(f).max() for f in forces])
    zero = np.flatnonzero(sizes == 0.0)
    found = []
    if len(zero) > 0.5 * len(labelled) and len(zero) > 1:
        found.append(
            Finding(
                "error",
                "zero_forces",
                f"{len(zero)} of {len(labelled)} frames have zero forces.",
                places(labelled, zero),
                "Zeros are not labels: leave the forces out, or give real ones.",
            )
        )
    elif len(zero) > 0.1 * len(labelled):
        found.append(
            Finding(
                "warning",
                "zero_forces",
                f"{len(zero)} of {len(labelled)} frames have zero forces.",
                places(labelled, zero),
                "Right for perfect crystals only.",
            )
        )
    repeated = _repeated_forces(labelled, forces)
    if len(repeated) > max(1, 0.1 * len(labelled)):
        found.append(
            Finding(
                "error",
                "constant_forces",
                f"{len(repeated)} frames repeat the forces of another frame at other positions.",
                places(labelled, repeated),
                "The forces were not written for each frame.",
            )
        )
    net = np.array([np.linalg.norm(f.sum(axis=0)) / len(f) for f in forces])
    unbalanced = np.flatnonzero(net > 0.1)
    if len(unbalanced) > 0.05 * len(labelled):
        found.append(
            Finding(
                "warning",
                "net_force",
                f"The forces of {len(unbalanced)} frames add up to more than 0.1 eV/Å per atom "
                f"(largest {net.max():.3g}).",
                places(labelled, unbalanced),
                "Forces of fixed atoms may have been set to zero; a model cannot learn that.",
            )
        )
    huge = np.flatnonzero(sizes > 100.0)
    if len(huge):
        found.append(
            Finding(
                "warning",
                "huge_forces",
                f"{len(huge)} frames have forces above 100 eV/Å (largest {sizes.max():.0f}).",
                places(labelled, huge),
                "Overlapping atoms or another unit; such frames dominate a fit.",
            )
        )
    rms = float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
    if rms > 20.0:
        found.append(
            Finding(
                "warning",
                "large_forces",
                f"The root mean square force is {rms:.1f} eV/Å.",
                "",
                "Forces of 20 and more suggest kcal/mol/Å: convert with --energy-unit.",
            )
        )
    return found


def _repeated_forces(frames: Sequence[Frame], forces: Sequence[np.ndarray]) -> list[int]:
    first: dict[bytes, int] = {}
    repeated = []
    for i, array in enumerate(forces):
        if not array.any():
            continue
        j = first.setdefault(array.tobytes(), i)
        if j != i and np.abs(frames[i].positions - frames[j].positions).max() > 1e-3:
            repeated.append(i)
    return repeated
