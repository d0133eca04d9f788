"""The audit refuses what cannot be right, warns of what may not be, and is silent on good data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import yaml

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.audit.audit import AuditReport, audit
from jmp_calc.training.audit.consistency import force_work, stress_work
from jmp_calc.training.data.copies import EXACT, find_matches, is_copy, signature
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.finetuning.options import DataOptions
from tests.training.helpers.md_frames import molecule_md, scaled, strained_copper

MOLECULES = molecule_md(48)
CRYSTALS = strained_copper(30)
Frames = tuple[Frame, ...]


def run(train: Frames, valid: Frames = (), test: Frames = (), **options) -> AuditReport:
    return audit(train, valid, test, need_validation=False, **options)


def codes(report: AuditReport, severity: str = "error") -> set[str]:
    return {finding.code for finding in report.findings if finding.severity == severity}


def each(frames: Frames, change: Callable[[int, Frame], Frame]) -> Frames:
    return tuple(change(i, frame) for i, frame in enumerate(frames))


@pytest.mark.parametrize("frames", [MOLECULES, CRYSTALS])
def test_good_data_pass_without_a_word(frames: Frames) -> None:
    report = audit(frames[:-8], frames[-8:])
    assert not [finding for finding in report.findings if finding.code != "near_duplicates"]
    report.raise_if_refused()
    assert report.train.frames == len(frames) - 8 and report.train.with_forces == len(frames) - 8
    assert yaml.safe_load(yaml.safe_dump(report.to_dict()))["valid"]["frames"] == 8


def test_work_of_forces_and_stress_explains_the_energies() -> None:
    forces, stress = force_work(MOLECULES), stress_work(CRYSTALS)
    assert forces.conclusive and forces.slope == pytest.approx(1.0, abs=0.05)
    assert stress.conclusive and stress.slope == pytest.approx(1.0, abs=0.05)


def test_turned_molecules_are_compared_after_turning_them_back() -> None:
    rng = np.random.default_rng(0)

    def turned(_: int, frame: Frame) -> Frame:
        turn, _r = np.linalg.qr(rng.normal(size=(3, 3)))
        turn = turn * np.linalg.det(turn)
        return replace(
            frame, positions=frame.positions @ turn + rng.normal(size=3), forces=frame.forces @ turn
        )

    assert force_work(each(MOLECULES, turned)).slope == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("energy", "forces", "word"),
    [
        (1.0, -1.0, "sign"),
        (1 / 27.2114, 1.0, "hartree"),
        (23.0605, 1.0, "kcal/mol"),
        (1.0, 23.0605, "kcal/mol/Å"),
        (1.0, 1 / 51.4221, "hartree/bohr"),
        (1.0, -1 / 51.4221, "gradients"),
        (1 / 9, 1.0, "per atom"),
    ],
)
def test_energies_and_forces_that_disagree_are_refused_with_the_cause(
    energy: float, forces: float, word: str
) -> None:
    report = run(scaled(MOLECULES, energy=energy, forces=forces))
    assert "forces_disagree" in codes(report)
    assert any(word in finding.hint for finding in report.errors)
    with pytest.raises(BadInputError, match="disagree"):
        report.raise_if_refused()


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (-1.0, "sign"),
        (160.21766, "GPa"),
        (1602.1766, "kbar"),
        (-1602.1766, "VASP"),
    ],
)
def test_stress_in_other_units_or_sign_is_refused_with_the_cause(factor: float, word: str) -> None:
    report = run(scaled(CRYSTALS, stress=factor))
    assert "stress_disagrees" in codes(report) and any(word in finding.hint for finding in report.errors)


def test_large_stress_without_strained_cells_is_a_warning() -> None:
    frames = each(CRYSTALS, lambda i, f: replace(f, group=str(i), stress=f.stress * 160.2))
    assert "large_stress" in codes(run(frames), "warning")


def test_missing_and_broken_labels() -> None:
    missing = each(MOLECULES, lambda i, f: replace(f, forces=None) if i == 3 else f)
    report = run(missing)
    assert "missing_forces" in codes(report) and "frames 3" in report.errors[0].where
    assert not run(missing, require=("energy",)).errors
    broken = each(MOLECULES, lambda i, f: replace(f, forces=f.forces * np.nan) if i == 5 else f)
    assert "not_finite" in codes(run(broken))
    assert "not_finite" in codes(
        run(each(MOLECULES, lambda i, f: replace(f, energy=np.inf) if i == 5 else f))
    )
    with pytest.raises(BadInputError, match="1 of 48 frames have an energy that is not finite") as refused:
        run(
            each(MOLECULES, lambda i, f: replace(f, energy=np.nan) if i == 5 else f), allow=("not_finite",)
        ).raise_if_refused()
    assert "--allow" not in str(refused.value.hint)


def test_constant_labels() -> None:
    assert "zero_forces" in codes(run(scaled(MOLECULES, forces=0.0)))
    constant = each(MOLECULES, lambda i, f: replace(f, forces=MOLECULES[0].forces))
    assert "constant_forces" in codes(run(constant))
    assert "constant_energies" in codes(run(each(MOLECULES, lambda i, f: replace(f, energy=-1.0))))


def test_zeroed_forces_of_fixed_atoms_show_in_the_sum() -> None:
    def fixed(_: int, frame: Frame) -> Frame:
        forces = frame.forces.copy()
        forces[:4] = 0.0
        return replace(frame, forces=forces)

    assert "net_force" in codes(run(each(MOLECULES, fixed)), "warning")


def test_two_energy_zeros() -> None:
    mixed = each(MOLECULES, lambda i, f: replace(f, energy=f.energy - 9000.0) if i % 3 == 0 else f)
    report = run(mixed)
    finding = next(f for f in report.errors if f.code == "energy_zeros")
    assert "16 and 32" in finding.message
    other = run(MOLECULES[:30], each(MOLECULES[30:], lambda i, f: replace(f, energy=f.energy - 9000.0)))
    assert "energy_zeros" in codes(other)
    slightly = each(MOLECULES, lambda i, f: replace(f, energy=f.energy - 25.0) if i % 3 == 0 else f)
    assert "energy_zeros" in codes(run(slightly), "warning")


def test_energies_per_atom() -> None:
    sets = [frame for name in ("H2O", "CH4", "CH3CH2OH", "C6H6", "CH3OH") for frame in molecule_md(6, name)]

    def absolute(f: Frame, share: float) -> Frame:  # EMT has no total energies: add some
        total = f.energy + sum({1: -16.0, 6: -1037.0, 8: -2047.0}[int(z)] for z in f.numbers)
        return replace(f, energy=total * share)

    assert not run(tuple(absolute(f, 1.0) for f in sets)).errors
    per_atom = tuple(absolute(f, 1.0 / f.n_atoms) for f in sets)
    report = audit(per_atom, need_validation=False)
    assert "energy_per_atom" in codes(report)


@pytest.mark.parametrize(
    ("unit", "factor"), [("hartree", 1 / 27.211386), ("kcal/mol", 23.0605), ("kJ/mol", 96.4853)]
)
def test_total_energies_in_other_units(unit: str, factor: float) -> None:
    per_element = {1: -16.4, 6: -1036.5, 8: -2046.6}
    total = each(
        MOLECULES, lambda i, f: replace(f, energy=f.energy + sum(per_element[int(z)] for z in f.numbers))
    )
    assert not run(total).errors
    report = run(scaled(total, energy=factor, forces=factor))
    assert codes(report) == {"energy_unit"} and f"--energy-unit {unit}" in report.errors[0].hint


def test_counts() -> None:
    assert codes(audit(MOLECULES[:1])) == {"too_few_frames"}
    assert codes(audit(())) == {"too_few_frames"}
    assert codes(audit((), MOLECULES[:3])) == {"no_training_frames"}
    assert codes(audit(MOLECULES)) == {"no_validation_frames"}
    assert "few_frames" in codes(audit(MOLECULES[:1], MOLECULES[1:2]), "warning")
    assert "fewer_than_batch" in codes(run(MOLECULES[:3], batch_structures=8), "warning")


def test_unseen_elements() -> None:
    report = run(MOLECULES, test=tuple(replace(f, index=7) for f in CRYSTALS[:2]))
    assert codes(report) == {"unseen_element"}
    assert "Cu (2 frames)" in report.errors[0].message and "frame 7" in report.errors[0].where


def test_copies_across_the_split_are_refused_even_when_moved_and_reordered() -> None:
    order = np.random.default_rng(1).permutation(9)
    one = MOLECULES[5]
    moved = replace(
        one, numbers=one.numbers[order], positions=one.positions[order] + 3.0, forces=one.forces[order]
    )
    for valid, test in (((moved,), ()), ((), (moved,))):
        report = run(MOLECULES, valid, test)
        assert codes(report) == {"duplicates"} and "frame 5" in report.errors[0].where
        allowed = run(MOLECULES, valid, test, allow=("duplicates",))
        assert not allowed.errors and "duplicates" in codes(allowed, "warning")
        allowed.raise_if_refused()


def test_near_copies_and_rotated_crystals_are_warnings() -> None:
    near = replace(
        MOLECULES[5],
        positions=MOLECULES[5].positions + np.random.default_rng(0).normal(scale=1e-3, size=(9, 3)),
    )
    report = run(MOLECULES, (near,))
    assert not report.errors and "near_duplicates" in codes(report, "warning")
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    twin = replace(
        CRYSTALS[3],
        positions=CRYSTALS[3].positions @ turn,
        cell=CRYSTALS[3].cell @ turn,
        forces=CRYSTALS[3].forces @ turn,
        stress=turn.T @ CRYSTALS[3].stress @ turn,
    )
    report = run(CRYSTALS, (twin,))
    assert not report.errors and "near_duplicates" in codes(report, "warning")


def test_same_geometry_with_another_energy() -> None:
    report = run((*MOLECULES, *(replace(f, energy=f.energy + 1.0) for f in MOLECULES[:5])))
    assert "contradicting_labels" in codes(report) and "repeated_frames" in codes(report, "warning")


def test_copies_are_equal_whatever_the_sign_of_their_zeros() -> None:
    first = replace(MOLECULES[0], positions=np.where(np.arange(3) == 2, 1e-6, MOLECULES[0].positions))
    second = replace(first, positions=first.positions * [1.0, 1.0, -1.0], cell=-0.0 * first.cell)
    assert "repeated_frames" in codes(run((first, *MOLECULES[1:], second)), "warning")


def test_signature_is_invariant_and_tells_arrangements_apart() -> None:
    rng = np.random.default_rng(2)
    frame = CRYSTALS[0]
    alloy = replace(frame, numbers=np.array([29, 79, 29, 79]))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(4)
    moved = replace(
        alloy,
        numbers=alloy.numbers[order],
        cell=alloy.cell @ turn,
        positions=(alloy.positions[order] + [[1, 0, 0]] @ alloy.cell) @ turn + 0.3,
    )
    assert np.abs(signature(moved) - signature(alloy)).max() < 1e-9
    swapped = replace(alloy, numbers=alloy.numbers[[1, 2, 0, 3]])
    assert np.abs(signature(swapped) - signature(alloy)).max() > EXACT
    assert is_copy(
        alloy, replace(alloy, numbers=alloy.numbers[order], positions=alloy.positions[order] + alloy.cell[1])
    )
    assert not is_copy(alloy, moved) and not is_copy(alloy, swapped)


def test_matches_are_those_of_all_pairs() -> None:
    frames = strained_copper(25, seed=3)
    close = tuple(
        replace(f, positions=f.positions + 0.004 * np.sin(np.arange(12.0)).reshape(4, 3)) for f in frames[::3]
    )
    expected = {
        i
        for i, a in enumerate(close)
        if min(np.abs(signature(a) - signature(b)).max() for b in frames) <= 0.01
    }
    assert {match.a for match in find_matches(close, frames)} == expected and expected


def test_only_codes_of_findings_can_be_allowed() -> None:
    with pytest.raises(UsageError, match="'nonsense'") as refused:
        DataOptions("train.extxyz", allow=("duplicates", "nonsense"))
    assert "duplicates" in str(refused.value.hint) and "not_finite" not in str(refused.value.hint)
