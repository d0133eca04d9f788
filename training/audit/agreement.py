"""Tests of labels against each other and against bonds: energies, forces and stress in one unit and sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jmp_calc.units import GPA_PER_EV_A3

from ..data.frame import Frame
from .causes import WRONG_SIGN, Cause, cause_of_scale, cause_of_stress, cause_of_work
from .consistency import WorkTest, fit_forces, stress_work
from .findings import Finding, places
from .pairs import GroupName, Pair, force_pairs, grouped
from .pressure import pressure_tests
from .stiffness import bond_response
from .virial import virial_tests

_PLAUSIBLE = (0.6, 1.67)
"""Slopes that anharmonic steps may have."""
_MANY = 20
"""Pairs from which bonds alone decide."""


def check_agreement(frames: Sequence[Frame]) -> list[Finding]:
    """Energies against the work of forces and stress (:mod:`.consistency`), forces against bonds
    (:mod:`.stiffness`), stress against forces (:mod:`.virial`) and energy
    (:mod:`.pressure`), and the size of the stress."""
    groups = {name: force_pairs(runs) for name, runs in grouped(frames).items()}
    pairs = [pair for members in groups.values() for pair in members]
    found = _forces(groups, pairs)
    if not found:
        found += _by_bonds(pairs)
    stress = _stress_by_energy(frames) or _stress_by_motion(frames)
    return found + (stress or _stress_by_size(frames))


def _forces(groups: dict[GroupName, list[Pair]], pairs: Sequence[Pair]) -> list[Finding]:
    """Energies and forces that disagree, in all frames or in some groups of them."""
    work = fit_forces(pairs)
    cause = _cause(work, pairs)
    if cause:
        return [_disagreement(work, cause)]
    found = []
    for members in groups.values():
        own = fit_forces(members) if len(members) < len(pairs) else work
        cause = _cause(own, members) if own is not work else None
        if cause:
            frames = [pair.one for pair in members]
            found.append(
                _disagreement(own, cause, f"{places(frames, range(len(frames)))} ({frames[0].group})")
            )
    if found:
        return found
    if work.conclusive and not _PLAUSIBLE[0] < work.slope < _PLAUSIBLE[1]:
        return [_disagreement(work, None)]
    work = fit_forces([pair for pair in pairs if not pair.strain.any()])
    if work.freedom >= 40 and abs(work.correlation) < 0.3:
        return [
            Finding(
                "warning",
                "forces_unrelated",
                f"Energy differences and the work of the forces are unrelated (correlation "
                f"{work.correlation:.2f}, {work.pairs} pairs).",
                "",
                "Forces in another order of atoms, or of other frames?",
            )
        ]
    return []


def _cause(work: WorkTest, pairs: Sequence[Pair]) -> Cause | None:
    """What a conclusive test says is wrong."""
    if not work.conclusive:
        return None
    if work.slope > 0 and abs(np.log(work.slope * work.atoms)) < 0.1 and work.atoms > 2.5:
        return Cause("the energies are per atom", "multiply them by the number of atoms")
    response = bond_response(pairs)
    return cause_of_work(work.slope, None if response is None else response.scale)


def _disagreement(work: WorkTest, cause: Cause | None, where: str = "") -> Finding:
    return Finding(
        "error" if cause else "warning",
        "forces_disagree",
        f"Energies and forces disagree: energy differences are {work.slope:.4g} times the work of the "
        f"forces ({work.pairs} pairs).",
        where,
        f"It looks as if {cause.text}: {cause.action}."
        if cause
        else "Check units, signs and whether both are of one calculation.",
    )


def _by_bonds(pairs: Sequence[Pair]) -> list[Finding]:
    """Forces that energies do not contradict, and bonds do: gradients, or both in another unit."""
    response = bond_response(pairs)
    if response is None:
        return []
    if response.opposing < 0.1 and response.pairs >= _MANY:
        return [
            Finding(
                "error",
                "forces_disagree",
                f"In {response.pairs} pairs of neighbouring frames atoms are pushed the way they moved, away "
                "from where bonds hold them.",
                "",
                f"It looks as if {WRONG_SIGN.text}: {WRONG_SIGN.action}.",
            )
        ]
    work = fit_forces(pairs)
    agree = work.conclusive and _PLAUSIBLE[0] < work.slope < _PLAUSIBLE[1]
    cause = cause_of_scale(response.scale)
    if cause is None or not (agree or (response.opposing > 0.9 and response.pairs >= _MANY)):
        return []
    return [
        Finding(
            "error",
            "energy_unit",
            f"The forces are {response.scale:.2g} times those of bonds of such lengths"
            + (", and the energies fit the forces." if agree else "."),
            "",
            f"It looks as if {cause.text}: {cause.action}.",
        )
    ]


def _stress_by_energy(frames: Sequence[Frame]) -> list[Finding]:
    work = stress_work(frames)
    cause = cause_of_stress(work.slope) if work.conclusive else None
    if cause is None:
        return []
    return [
        Finding(
            "error",
            "stress_disagrees",
            f"Energies and stress disagree: energy differences are {work.slope:.4g} times the work "
            f"of the stress ({work.pairs} pairs).",
            "",
            f"It looks as if {cause.text}: {cause.action}.",
        )
    ]


def _stress_by_motion(frames: Sequence[Frame]) -> list[Finding]:
    """Where cells hardly change, the stress follows the forces and the energy as atoms move."""
    by_forces = [(members, test) for members, test in virial_tests(frames) if test.conclusive]
    tests = [
        (what, *item)
        for what, found in (("pair forces", by_forces), ("the energy", pressure_tests(frames)))
        for item in found
    ]
    causes = [cause_of_stress(1.0 / test.slope, rough=True) for _, _, test in tests]
    if not tests or any(cause is None for cause in causes):
        return []
    what, members, test = tests[0]
    assert causes[0] is not None
    return [
        Finding(
            "error",
            "stress_disagrees",
            f"As atoms move, the stress changes {test.slope:.3g} times as much as {what} would have it "
            f"(correlation {test.correlation:.2f}, {test.pairs} frames).",
            places(members, range(len(members))),
            f"It looks as if {causes[0].text}: {causes[0].action}.",
        )
    ]


def _stress_by_size(frames: Sequence[Frame]) -> list[Finding]:
    sizes = np.array([np.abs(frame.stress).max() for frame in frames if frame.stress is not None])
    if not len(sizes) or np.median(sizes) <= 1.0:
        return []
    return [
        Finding(
            "warning",
            "large_stress",
            f"The median stress is {np.median(sizes):.3g} eV/Å^3, "
            f"{np.median(sizes) * GPA_PER_EV_A3:.0f} GPa.",
            "",
            "If it is in GPa or kbar, say so with --stress-unit.",
        )
    ]
