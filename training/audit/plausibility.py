"""Tests of the labels themselves: present, finite, not constant, one energy zero, plausible units and
signs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.units import GPA_PER_EV_A3, HARTREE, KCAL_MOL, KJ_MOL, RYDBERG

from ..data.frame import Frame
from .consistency import FORCE_FACTORS, STRESS_FACTORS, force_work, stress_work

Code = Literal[
    "too_few_frames", "no_training_frames", "no_validation_frames", "few_frames", "fewer_than_batch",
    "unseen_element",
    "duplicates", "near_duplicates", "repeated_frames", "contradicting_labels", "not_finite",
    "missing_energy",
    "missing_forces", "missing_stress", "constant_target", "zero_forces", "constant_forces", "net_force",
    "huge_forces",
    "large_forces", "constant_energies", "energy_unit", "energy_per_atom", "energy_zeros", "energy_outliers",
    "forces_disagree", "forces_unrelated", "stress_disagrees", "large_stress", "not_neutral",
]  # fmt: skip
"""What can be found."""
_MISSING: dict[str, Code] = {
    "energy": "missing_energy",
    "forces": "missing_forces",
    "stress": "missing_stress",
}
_ATOM_HARTREE = (
    0.5, 2.862, 7.433, 14.573, 24.529, 37.689, 54.401, 74.809, 99.409, 128.547, 161.859, 199.615, 241.877,
    288.854,
    340.719, 397.505, 459.482, 526.817, 599.165, 676.758, 759.736, 848.406, 942.884, 1043.36, 1149.87,
    1262.44,
    1381.41, 1506.87, 1638.96, 1777.85, 1923.26, 2075.36, 2234.24, 2399.87, 2572.44, 2752.05,
)  # fmt: skip
"""Hartree-Fock energies of the atoms H to Kr, -E in hartree: an all-electron total energy is within 1.5 % of
them."""
_ENERGY_UNITS = {
    "hartree": 1 / HARTREE,
    "rydberg": 1 / RYDBERG,
    "kcal/mol": 1 / KCAL_MOL,
    "kJ/mol": 1 / KJ_MOL,
    "meV": 1000.0,
}
_ZERO_GAP_ERROR = 5.0
_ZERO_GAP_WARNING = 1.5


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found."""

    severity: Literal["error", "warning"]
    code: Code
    message: str
    where: str = ""
    hint: str = ""


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
                    _places(frames, bad),
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
                    _places(frames, missing),
                    f"Check the key (--{label}-key), or train these frames without it.",
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
                _places(labelled, zero),
                "Zeros are not labels: leave the forces out, or give real ones.",
            )
        )
    elif len(zero) > 0.1 * len(labelled):
        found.append(
            Finding(
                "warning",
                "zero_forces",
                f"{len(zero)} of {len(labelled)} frames have zero forces.",
                _places(labelled, zero),
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
                _places(labelled, repeated),
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
                _places(labelled, unbalanced),
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
                _places(labelled, huge),
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


def check_energies(train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]) -> list[Finding]:
    """Constant energies, energies per atom, other units, and several energy zeros."""
    labelled = [frame for frame in train if frame.energy is not None]
    if not labelled:
        return []
    energies = np.array([frame.energy for frame in labelled], dtype=float)
    if len(labelled) > 2 and np.ptp(energies) < 1e-7:
        return [
            Finding(
                "error",
                "constant_energies",
                f"All {len(labelled)} energies are {energies[0]:.6f} eV.",
                labelled[0].where,
                "The energy key holds something else, or the frames are one calculation.",
            )
        ]
    found = _units_by_size(labelled, energies)
    per_atom = _per_atom(labelled, energies)
    if per_atom:
        return found + [per_atom]
    return found + _zeros(labelled, energies, valid, test)


def check_consistency(frames: Sequence[Frame]) -> list[Finding]:
    """Energies against the work of forces and stress (:mod:`.consistency`), and the size of the stress."""
    found = []
    work = force_work(frames)
    if work.conclusive:
        cause = work.explanation(FORCE_FACTORS)
        if work.slope > 0 and abs(np.log(work.slope * work.atoms)) < 0.1 and work.atoms > 2.5:
            cause = "the energies are per atom"
        measured = (
            f"energy differences are {work.slope:.4g} times the work of the forces ({work.pairs} pairs)"
        )
        if cause:
            found.append(
                Finding(
                    "error",
                    "forces_disagree",
                    f"Energies and forces disagree: {measured}.",
                    "",
                    f"It looks as if {cause}.",
                )
            )
        elif not 0.6 < work.slope < 1.67:
            found.append(
                Finding(
                    "warning",
                    "forces_disagree",
                    f"Energies and forces disagree: {measured}.",
                    "",
                    "Check units, signs and whether both are of one calculation.",
                )
            )
    elif work.pairs >= 40 and abs(work.correlation) < 0.3:
        found.append(
            Finding(
                "warning",
                "forces_unrelated",
                f"Energy differences and the work of the forces are unrelated (correlation "
                f"{work.correlation:.2f}, {work.pairs} pairs).",
                "",
                "Forces in another order of atoms, or of other frames?",
            )
        )
    strain = stress_work(frames)
    cause = strain.explanation(STRESS_FACTORS, 0.5) if strain.conclusive else None
    if cause:
        found.append(
            Finding(
                "error",
                "stress_disagrees",
                f"Energies and stress disagree: energy differences are {strain.slope:.4g} times the work "
                f"of the stress ({strain.pairs} pairs).",
                "",
                f"It looks as if {cause}; eV/Å^3 is needed.",
            )
        )
    sizes = np.array([np.abs(frame.stress).max() for frame in frames if frame.stress is not None])
    if not cause and len(sizes) and np.median(sizes) > 1.0:
        found.append(
            Finding(
                "warning",
                "large_stress",
                f"The median stress is {np.median(sizes):.3g} eV/Å^3, "
                f"{np.median(sizes) * GPA_PER_EV_A3:.0f} GPa.",
                "",
                "If it is in GPa or kbar, convert it to eV/Å^3.",
            )
        )
    return found


def _places(frames: Sequence[Frame], chosen: Sequence[int] | np.ndarray) -> str:
    listed = ", ".join(str(frames[i].index) for i in chosen[:5])
    return f"{frames[chosen[0]].source} frames {listed}" + (", ..." if len(chosen) > 5 else "")


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


def _units_by_size(frames: Sequence[Frame], energies: np.ndarray) -> list[Finding]:
    """All-electron total energies are known to 1.5 %: a ratio of another unit gives itself away."""
    if any(frame.numbers.max() > len(_ATOM_HARTREE) or frame.numbers.min() < 1 for frame in frames):
        return []
    table = -HARTREE * np.array(_ATOM_HARTREE)
    expected = np.array([table[frame.numbers - 1].sum() for frame in frames])
    if np.median(np.abs(expected) / [frame.n_atoms for frame in frames]) < 100.0:
        return []
    ratio = energies / expected
    for unit, factor in _ENERGY_UNITS.items():
        if abs(np.median(ratio) / factor - 1) < 0.015 and np.std(ratio) < 0.02 * factor:
            return [
                Finding(
                    "error",
                    "energy_unit",
                    f"The energies look like {unit}: {energies[0]:.4f} for "
                    f"{expected[0]:.0f} eV expected of an all-electron total energy.",
                    frames[0].where,
                    f"Convert with --energy-unit {unit}.",
                )
            ]
    return []


def _composition_matrix(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    return np.array(
        [[np.count_nonzero(frame.numbers == z) for z in elements] for frame in frames], dtype=float
    )


def _per_atom(frames: Sequence[Frame], energies: np.ndarray) -> Finding | None:
    """Energies per atom given as totals: they follow the composition's shares and not its counts."""
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts = _composition_matrix(frames, elements)
    atoms = counts.sum(axis=1)
    if len(np.unique(atoms)) < 3 or atoms.max() < 2 * atoms.min() or len(frames) <= 2 * len(elements):
        return None

    def misfit(matrix: np.ndarray) -> float:
        fit, *_ = np.linalg.lstsq(matrix, energies, rcond=1e-8)
        return float(np.sqrt(np.mean((energies - matrix @ fit) ** 2)))

    as_total, as_share = misfit(counts), misfit(counts / atoms[:, None])
    if as_share > 0.1 * as_total or np.abs(np.median(energies)) < 5 * as_share:
        return None
    return Finding(
        "error",
        "energy_per_atom",
        f"The energies do not grow with the number of atoms ({atoms.min():.0f} to {atoms.max():.0f}, "
        "energies "
        f"{energies.min():.3f} to {energies.max():.3f} eV): they look like energies per atom.",
        frames[0].where,
        "Give total energies (multiply by the number of atoms).",
    )


def _zeros(
    frames: Sequence[Frame], energies: np.ndarray, valid: Sequence[Frame], test: Sequence[Frame]
) -> list[Finding]:
    """Energies of several zeros: after the best linear references a gap remains, or the parts differ."""
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts = _composition_matrix(frames, elements)
    atoms = counts.sum(axis=1)
    fit, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], energies / atoms, rcond=1e-8)
    residual = energies / atoms - counts / atoms[:, None] @ fit
    found = []
    gap, below, above = _largest_gap(residual)
    if gap > _ZERO_GAP_WARNING:
        order = np.argsort(residual)
        i, j = int(order[below - 1]), int(order[below])
        # Continuous distributions have gaps in their tails; a second zero has many frames on both sides.
        many = min(below, above) >= max(2, 0.02 * len(frames))
        if many:
            found.append(
                Finding(
                    "error" if gap > _ZERO_GAP_ERROR else "warning",
                    "energy_zeros",
                    f"The energies fall into two sets {gap:.1f} eV/atom apart ({below} and {above} frames).",
                    f"{frames[i].where} ({frames[i].group}) and {frames[j].where} ({frames[j].group})",
                    "Do not mix methods or energy zeros (total, relative, cohesive) in one file.",
                )
            )
        else:
            found.append(
                Finding(
                    "warning",
                    "energy_outliers",
                    f"{min(below, above)} frames are {gap:.1f} eV/atom from all others.",
                    frames[i if below < above else j].where,
                    "Look at them: failed calculations?",
                )
            )
    del rank
    return (
        found
        + _other_zero(elements, fit, counts, residual, valid, "validation")
        + _other_zero(elements, fit, counts, residual, test, "test")
    )


def _largest_gap(residual: np.ndarray) -> tuple[float, int, int]:
    """Largest gap of sorted values, and how many values lie below and above it."""
    if len(residual) < 2:
        return 0.0, len(residual), 0
    steps = np.diff(np.sort(residual))
    place = int(np.argmax(steps))
    return float(steps[place]), place + 1, len(residual) - place - 1


def _other_zero(
    elements: Sequence[int],
    fit: np.ndarray,
    counts: np.ndarray,
    residual: np.ndarray,
    frames: Sequence[Frame],
    name: str,
) -> list[Finding]:
    """Validation or test energies that the references of the training frames do not describe."""
    known = {int(z) for z in elements}
    usable = [f for f in frames if f.energy is not None and known.issuperset(np.unique(f.numbers).tolist())]
    if not usable:
        return []
    matrix = _composition_matrix(usable, elements)
    # Only compositions within the span of the training frames can be judged.
    basis = np.linalg.pinv(counts, rcond=1e-8) @ counts
    inside = np.linalg.norm(matrix - matrix @ basis, axis=1) < 1e-6 * np.linalg.norm(matrix, axis=1)
    energies = np.array([frame.energy for frame in usable], dtype=float)
    shift = ((energies - matrix @ fit) / matrix.sum(axis=1))[inside]
    if not len(shift):
        return []
    difference = float(np.median(shift) - np.median(residual))
    spread = float(np.ptp(residual))
    if abs(difference) < _ZERO_GAP_WARNING + spread:
        return []
    return [
        Finding(
            "error" if abs(difference) > _ZERO_GAP_ERROR + spread else "warning",
            "energy_zeros",
            f"The {name} energies lie {difference:.1f} eV/atom from the training energies.",
            usable[0].where,
            "Both files need the same method and the same energy zero.",
        )
    ]
