"""Phonons at a temperature are those of springs that the motion itself makes stiffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jmp_calc import sscha
from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.workflows.phonon.sscha_result import OUTPUTS, SschaResult
from tests.workflows.phonon.bonds import STIFFNESS, Bonds, crystal

QUARTIC = 40.0
QUICK: dict[str, Any] = {
    "supercell": "3 3 3",
    "mesh": "3 3 3",
    "bands": "G X",
    "band_points": 5,
    "relax": False,
    "temperature_k": 600.0,
}
FEW: dict[str, Any] = {**QUICK, "snapshots": 4, "iterations": 3, "transient": 1}
LONG = dict(snapshots=30, iterations=6, transient=2)


def test_harmonic_bonds_have_the_same_phonons_at_any_temperature() -> None:
    result = sscha(crystal(), calc=Bonds(0.0), **FEW)
    assert result.frequencies_thz == pytest.approx(result.harmonic_thz, abs=1e-5)
    assert result.free_energy_ev == pytest.approx(result.harmonic_free_energy_ev, abs=1e-6)
    assert all(abs(step.anharmonic_ev) < 1e-6 for step in result.steps)
    assert result.drift_thz < 1e-5
    assert result.converged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sscha")


@pytest.fixture(scope="module")
def stiffened(folder: Path) -> SschaResult:
    return sscha(crystal(), calc=Bonds(QUARTIC), **QUICK, **LONG, out=folder)


@pytest.mark.slow
def test_quartic_bonds_are_as_stiff_as_their_own_motion_makes_them(stiffened: SschaResult) -> None:
    """k + 3 λ <d²>, with <d²> of the phonons that come out."""
    calc, phonon = Bonds(QUARTIC), stiffened.phonopy.replicate()
    phonon.force_constants = stiffened.phonopy.force_constants
    phonon.generate_displacements(number_of_snapshots=500, temperature=600.0, random_seed=1)
    square = float((calc.stretch(in_order(calc, phonon)) ** 2).mean())
    expected = STIFFNESS + 3 * QUARTIC * square
    constants = stiffened.phonopy.force_constants
    nearest = -np.linalg.eigvalsh(constants[0, np.abs(constants[0]).max(axis=(1, 2)).argsort()[-2]]).min()
    assert expected > 1.15 * STIFFNESS
    assert nearest == pytest.approx(expected, rel=0.04)
    anharmonic = float(np.mean([step.anharmonic_ev for step in stiffened.averaged]))
    assert anharmonic == pytest.approx(-6 * 0.75 * QUARTIC * square**2, rel=0.25)
    assert stiffened.frequencies_thz.max() > 1.05 * stiffened.harmonic_thz.max()
    assert stiffened.free_energy_ev > stiffened.harmonic_free_energy_ev


def in_order(calc: Bonds, phonon: Any) -> np.ndarray:
    """Displacements (n, n_atoms, 3) of phonopy's object in the order of the calculator's perfect crystal."""
    cells = phonon.supercells_with_displacements
    from ase import Atoms

    return np.array(
        [calc.moved(Atoms(positions=cell.positions, cell=cell.cell, numbers=cell.numbers)) for cell in cells]
    )


def test_files_and_summary(stiffened: SschaResult, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert {path.name for path in folder.iterdir()} - {LOCK_NAME} == set(OUTPUTS)
    table = np.loadtxt(folder / "iterations.dat")
    assert table[:, 1] == pytest.approx([step.free_energy_ev for step in stiffened.steps])
    said = stiffened.to_dict()
    assert said["energies_are_per"] == "primitive cells Cu (1 atom)"
    assert len(said["iterations"]) == LONG["iterations"]


@pytest.mark.slow
def test_a_run_goes_on_and_computes_nothing_twice(tmp_path: Path) -> None:
    whole, first, second = Bonds(QUARTIC), Bonds(QUARTIC, last=7), Bonds(QUARTIC)
    expected = sscha(crystal(), calc=whole, **FEW)
    with pytest.raises(KeyboardInterrupt):
        sscha(crystal(), calc=first, **FEW, out=tmp_path)
    again = sscha(crystal(), calc=second, **FEW, out=tmp_path, resume=True, plot=False)
    assert first.seen + second.seen == whole.seen
    assert np.array_equal(again.frequencies_thz, expected.frequencies_thz)
    assert again.free_energy_ev == expected.free_energy_ev
    third = Bonds(QUARTIC)
    more = sscha(crystal(), calc=third, **{**FEW, "iterations": 4}, out=tmp_path, resume=True, plot=False)
    assert third.seen == FEW["snapshots"]  # of the fourth iteration
    assert more.steps[:3] == again.steps


def test_other_masses_are_other_motion_though_forces_are_kept(tmp_path: Path) -> None:
    """Displacements are drawn from the masses, and harmonic energies depend on them."""
    light, kept, fresh = crystal(), Bonds(QUARTIC), Bonds(QUARTIC)
    sscha(crystal(), calc=Bonds(QUARTIC), **FEW, out=tmp_path, plot=False)
    light.set_masses(light.get_masses() / 4)
    again = sscha(light, calc=kept, **FEW, out=tmp_path, resume=True, plot=False)
    expected = sscha(light, calc=fresh, **FEW)
    assert again.free_energy_ev == expected.free_energy_ev
    assert kept.seen < fresh.seen  # forces at rest depend on no mass


def test_iterations_that_have_not_settled_are_told() -> None:
    result = sscha(crystal(), calc=Bonds(QUARTIC), **FEW, tolerance_thz=1e-9)
    assert not result.converged
    with pytest.raises(NotConvergedError, match="have not settled"):
        result.require_converged()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"temperature_k": -1.0}, "from 0 to 100000 K"),
        ({"temperature_k": float("nan")}, "from 0 to 100000 K"),
        ({"snapshots": 1}, "snapshots must be"),
        ({"iterations": 1, "transient": 0}, "iterations must be"),
        ({"transient": 2}, "two iterations"),
        ({"tolerance_thz": 0.0}, "tolerance_thz must be positive"),
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sscha(crystal(), calc=Bonds(0.0), **{**FEW, **wrong})
