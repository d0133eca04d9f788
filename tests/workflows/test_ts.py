"""Transition states by Sella: a known saddle, its order, both sides, and what is no saddle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength

from jmp_calc import JMPCalculator, ts
from jmp_calc.errors import BadInputError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.workflows.paths.ts import lower_side_first
from jmp_calc.workflows.paths.ts_settings import TSSettings
from tests.extras import needs
from tests.workflows.test_neb import BEND, HEIGHT, Valley

HAS_SELLA = importlib.util.find_spec("sella") is not None
needs_sella = needs("sella")
CURVATURE = 4 * HEIGHT
"""Of the valley at its saddle, along its floor, eV/Å²; negative."""


@pytest.fixture
def guess() -> Atoms:
    """Near the saddle at (0, BEND, 0), beside an atom that holds the place."""
    atoms = Atoms("HHe", [[0.2, 0.35, 0.1], [0, 0, 5.0]], constraint=FixAtoms([1]))
    atoms.calc = Valley()
    return atoms


@needs_sella
def test_a_guess_leads_to_the_saddle_and_to_both_minima(guess: Atoms, tmp_path: Path) -> None:
    result = ts(guess, fmax=1e-3, out=tmp_path, plot=False)
    assert result.is_saddle and result.order == 1
    assert result.atoms.positions[0] == pytest.approx([0, BEND, 0], abs=1e-3)
    assert sorted(end.positions[0, 0] for end in result.ends) == pytest.approx([-1, 1], abs=1e-2)
    assert result.barrier_ev == pytest.approx(HEIGHT, abs=1e-4) == result.barrier_back_ev
    assert np.all(guess.positions[0] == [0.2, 0.35, 0.1])
    assert [frame.info["step"] for frame in ase.io.read(tmp_path / "path.extxyz", ":")] == [
        step.step for step in result.history
    ]
    assert len(ase.io.read(tmp_path / "ends.extxyz", ":")) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_the_way_up_begins_at_the_lower_side_whatever_the_sign_of_the_mode(sign: int) -> None:
    lengths = np.linspace(-0.3, 0.3, 5)
    scan, ends = (lengths, sign * np.array([-0.2, -0.1, 0.0, -0.05, -0.15])), []
    for energy in (-1.0, -0.5)[::sign]:
        ends.append(Atoms("H"))
        ends[-1].calc = SinglePointCalculator(ends[-1], energy=energy)
    (same, energies), sides = lower_side_first(scan, tuple(ends))
    assert [side.get_potential_energy() for side in sides] == [-1.0, -0.5]
    assert np.array_equal(same, lengths)
    assert np.array_equal(energies, scan[1][::sign])
    (_, energies), _ = lower_side_first(scan, ())
    assert energies[0] <= energies[-1]


@needs_sella
def test_the_imaginary_mode_is_that_of_the_curvature(guess: Atoms) -> None:
    from jmp_calc.units import CM1_PER_EV, EV_PER_FREQUENCY

    result = ts(guess, fmax=1e-4, connect=False)
    expected = -np.sqrt(CURVATURE / guess.get_masses()[0]) * EV_PER_FREQUENCY * CM1_PER_EV
    assert result.imaginary_cm1 == pytest.approx([expected], rel=1e-3)
    assert result.scan is not None and result.scan[1].max() == pytest.approx(0.0, abs=1e-6)


@needs_sella
def test_a_search_that_is_cut_off_is_not_converged(guess: Atoms) -> None:
    result = ts(guess, fmax=1e-6, steps=1)
    assert not result.converged and result.order is None and not result.is_saddle
    with pytest.raises(NotConvergedError, match="after 1 steps"):
        result.require_saddle()


@needs_sella
def test_a_minimum_is_no_transition_state(guess: Atoms) -> None:
    guess.positions[0] = [1.0, 0.0, 0.0]
    with pytest.warns(JMPWarning, match="no transition state: 0 imaginary"):
        result = ts(guess, fmax=1e-3)
    assert result.converged and result.order == 0
    with pytest.raises(NotConvergedError, match="0 imaginary modes"):
        result.require_saddle()


@needs_sella
def test_forces_that_are_not_finite_end_the_search(guess: Atoms) -> None:
    guess.calc = Valley(tilt=np.nan)
    with pytest.raises(BadInputError, match="not finite at step 0"):
        ts(guess)


@needs_sella
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9], ids=["early", "in the middle", "late"])
def test_a_killed_search_goes_on_and_computes_nothing_twice(
    guess: Atoms, tmp_path: Path, share: float
) -> None:
    whole = ts(guess, fmax=1e-4, out=tmp_path / "whole", plot=False)
    calls = guess.calc.calls
    guess.calc = Valley(fails_at=int(share * calls))
    with pytest.raises(KeyboardInterrupt):
        ts(guess, fmax=1e-4, out=tmp_path / "killed", plot=False)
    guess.calc = Valley()
    again = ts(guess, fmax=1e-4, out=tmp_path / "killed", plot=False, resume=True)
    assert guess.calc.calls <= calls - int(share * calls) + 1
    assert again.history == whole.history
    for one, other in zip((again.atoms, *again.ends), (whole.atoms, *whole.ends), strict=True):
        assert np.array_equal(one.positions, other.positions)
    assert again.to_dict() == whole.to_dict()
    for name in ("path.extxyz", "ts.extxyz", "ends.extxyz", "ts.dat"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


@needs_sella
def test_more_steps_go_on_where_a_search_was_cut_off(guess: Atoms, tmp_path: Path) -> None:
    whole = ts(guess, fmax=1e-4, check=False)
    calls = guess.calc.calls
    ts(guess, fmax=1e-4, steps=2, check=False, out=tmp_path, plot=False)
    guess.calc = Valley()
    again = ts(guess, fmax=1e-4, check=False, out=tmp_path, plot=False, resume=True)
    assert again.history == whole.history and guess.calc.calls < calls


@needs_sella
def test_second_derivatives_are_not_computed_again(
    calc: JMPCalculator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    get_hessian = JMPCalculator.get_hessian
    monkeypatch.setattr(JMPCalculator, "get_hessian", lambda *given: asked.append(1) or get_hessian(*given))
    water = molecule("H2O")
    water.calc = calc
    first = ts(water, steps=4, fmax=1e-9, out=tmp_path, plot=False)
    count = len(asked)
    again = ts(water, steps=4, fmax=1e-9, out=tmp_path, plot=False, resume=True)
    assert count > 0 and len(asked) == count
    assert again.history == first.history


@needs_sella
def test_what_another_run_has_computed_is_refused(guess: Atoms, tmp_path: Path) -> None:
    ts(guess, steps=1, out=tmp_path, plot=False)
    guess.positions[0, 0] += 0.1
    with pytest.raises(UsageError, match="another run: other structure"):
        ts(guess, steps=1, out=tmp_path, plot=False, resume=True)


@pytest.mark.skipif(HAS_SELLA, reason="Sella is installed")
def test_without_sella_the_line_that_installs_it_is_told(guess: Atoms) -> None:
    with pytest.raises(UsageError, match="not installed") as error:
        ts(guess)
    assert error.value.hint == 'run: pip install "jmp-calc[sella]"'


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"fmax": 0.0}, {"steps": 0}, {"hessian": "guess"}, {"coordinates": "polar"}):
        with pytest.raises(UsageError):
            TSSettings(**wrong)  # type: ignore[arg-type]


@needs_sella
def test_constraints_that_vibrations_do_not_know_are_refused(guess: Atoms) -> None:
    guess.set_constraint(FixBondLength(0, 1))
    with pytest.raises(UsageError, match="FixBondLength"):
        ts(guess)
