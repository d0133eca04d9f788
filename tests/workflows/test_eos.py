"""Equations of state: known curves come back, stress is their slope, what has none is refused."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.eos import vinet

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadInputError, BadStructureError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.io.records import STATE
from jmp_calc.units import GPA_PER_EV_A3
from jmp_calc.workflows.relax import relax
from jmp_calc.workflows.statics.eos import eos
from jmp_calc.workflows.statics.eos_settings import EosSettings
from tests.workflows.conftest import Counted, morse

MODULUS, VOLUME, ENERGY = 100.0, 12.0, -3.5


class Curve(Calculator):
    """One Vinet curve of known numbers per atom; no forces, and no stress where ``stress`` is False."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, *, bumps: float = 0.0, sign: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.bumps, self.sign, self.offset = bumps, sign, offset

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        volume, n = atoms.get_volume(), len(atoms)
        slope = (self.energy(volume / n + 1e-5) - self.energy(volume / n - 1e-5)) / 2e-5
        self.results = {
            "energy": n * self.energy(volume / n),
            "forces": np.zeros((n, 3)),
            "stress": self.sign * slope * np.array([1.0, 1.0, 1.0, 0, 0, 0]),
        }

    def energy(self, volume: float) -> float:
        curve = vinet(volume, ENERGY, MODULUS / GPA_PER_EV_A3, 5.0, VOLUME)
        return float(curve + self.offset + self.bumps * np.sin(43 * volume))


def crystal(volume: float = VOLUME, calc: Calculator | None = None, cubic: bool = False) -> Atoms:
    atoms = bulk("Cu", "fcc", a=(4 * volume) ** (1 / 3), cubic=cubic)
    atoms.calc = calc or Curve()
    return atoms


@pytest.mark.capability("C14")
@pytest.mark.parametrize("cubic", [False, True])
def test_a_known_curve_comes_back(cubic: bool) -> None:
    result = eos(crystal(1.02 * VOLUME, cubic=cubic), form="vinet")
    n, fit = len(result.frames[0]), result.fit
    assert fit is not None and result.minimum_inside
    assert fit.volume_a3 == pytest.approx(n * VOLUME, rel=1e-6)
    assert fit.energy_ev == pytest.approx(n * ENERGY, abs=1e-8)
    assert fit.bulk_modulus_gpa == pytest.approx(MODULUS, rel=1e-4)
    assert fit.bulk_modulus_derivative == pytest.approx(5.0, rel=1e-3)
    assert fit.residual_ev < 1e-8
    assert result.pressure_mismatch_gpa == pytest.approx(0.0, abs=1e-3)
    assert np.allclose(result.volumes_a3 / n / VOLUME, 1.02 * np.linspace(0.94, 1.06, 7))
    found = result.to_dict()
    assert found["volume_relative_to_the_structure"] == pytest.approx(1 / 1.02, rel=1e-6)
    assert set(found["bulk_modulus_gpa_by_form"]) == {
        "birchmurnaghan",
        "vinet",
        "murnaghan",
        "pouriertarantola",
    }
    assert all(m == pytest.approx(MODULUS, rel=0.01) for m in found["bulk_modulus_gpa_by_form"].values())


@pytest.mark.parametrize("offset", [-1e5, 0.0])
def test_total_energies_of_any_size_are_fitted(offset: float) -> None:
    fit = eos(crystal(calc=Curve(offset=offset))).fit
    assert fit is not None
    assert fit.bulk_modulus_gpa == pytest.approx(MODULUS, rel=0.002)
    assert fit.energy_ev == pytest.approx(ENERGY + offset, abs=1e-4)


def test_fine_enough_volumes_give_the_slope_of_the_stress(copper: Atoms) -> None:
    """A pair potential: the bulk modulus is also the slope of its pressure."""
    result = eos(copper, min_volume=0.98, max_volume=1.02)
    assert result.fit is not None and result.pressures_gpa is not None
    inverse = np.polyfit(np.log(result.volumes_a3 / result.fit.volume_a3), result.pressures_gpa, 3)
    assert result.fit.bulk_modulus_gpa == pytest.approx(-inverse[-2], rel=0.005)


def test_a_minimum_beyond_the_volumes_is_told() -> None:
    result = eos(crystal(1.2 * VOLUME))
    assert not result.minimum_inside and "outside" in repr(result)
    with pytest.raises(NotConvergedError, match="is not among the volumes") as caught:
        result.require_minimum()
    assert "--opt-cell full" in str(caught.value)
    nothing = eos(crystal(2.5 * VOLUME))
    assert not nothing.minimum_inside
    with pytest.raises(NotConvergedError):
        nothing.require_minimum()


def test_energies_on_no_curve_are_warned_of() -> None:
    with pytest.warns(JMPWarning) as told:
        eos(crystal(calc=Curve(bumps=0.01)))
    assert "no smooth curve" in str(told[0].message)


def test_a_stress_of_another_energy_is_warned_of() -> None:
    with pytest.warns(JMPWarning, match="energy and stress do not belong together"):
        eos(crystal(calc=Curve(sign=-1.0)))


def test_positions_are_relaxed_where_symmetry_leaves_them_free(copper: Atoms) -> None:
    copper.rattle(0.02, seed=3)
    loose, tight = eos(copper, relax="none"), eos(copper)
    for before, after in zip(loose.frames, tight.frames, strict=True):
        assert after.get_potential_energy() < before.get_potential_energy() - 1e-4
        assert np.linalg.norm(after.get_forces(), axis=1).max() <= tight.settings.fmax
    with pytest.raises(NotConvergedError, match="volume 0 is not relaxed") as caught:
        eos(copper, relax_steps=1)
    assert caught.value.exit_code == 3
    assert len(eos(copper, relax_steps=1, allow_unconverged=True).frames) == 7


def tetragonal() -> Atoms:
    """A strained crystal of pair forces."""
    atoms = bulk("Cu", "fcc", a=3.31, cubic=True)
    atoms.set_cell(atoms.cell.array * np.array([[1.0], [1.0], [1.01]]), scale_atoms=True)
    atoms.calc = morse()
    return atoms


def test_the_shape_relaxes_at_constant_volume() -> None:
    strained = tetragonal()
    stiff, soft = eos(strained, relax="positions"), eos(strained, relax="shape", fmax=1e-4)
    assert np.allclose(soft.volumes_a3, stiff.volumes_a3, rtol=1e-10)
    assert np.all(soft.energies_ev < stiff.energies_ev)
    for frame in soft.frames:
        stress = frame.get_stress()
        assert np.abs(stress[:3] - stress[:3].mean()).max() * GPA_PER_EV_A3 < 0.1
    assert soft.space_groups[0] == "Fm-3m (225)" and stiff.space_groups[0] == "I4/mmm (139)"


def test_a_relaxation_of_the_shape_keeps_the_volume() -> None:
    strained = tetragonal()
    result = relax(strained, cell="shape", fmax=1e-4)
    assert result.converged
    assert result.atoms.get_volume() == pytest.approx(strained.get_volume(), rel=1e-10)
    assert result.stress_left_gpa is not None and result.stress_left_gpa < 0.01
    assert result.pressure_gpa is not None and abs(result.pressure_gpa) > 0.1
    with pytest.raises(UsageError, match="volume that may change"):
        relax(strained, cell="shape", pressure_gpa=1.0)


def test_a_change_of_phase_is_warned_of() -> None:
    """A square of atoms whose second site leaves the centre below some volume."""

    class Sites(Curve):
        def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
            super().calculate(atoms, properties, system_changes)
            wanted = 0.0 if atoms.get_volume() > 2 * VOLUME else 0.4
            away = atoms.positions[1] - atoms.positions[0] - 0.5 * atoms.cell.array.sum(axis=0)
            pull = away - [0, 0, wanted]
            self.results["energy"] += float(pull @ pull)
            self.results["forces"] = np.array([2 * pull, -2 * pull])

    atoms = bulk("CsCl", "cesiumchloride", a=(2 * VOLUME) ** (1 / 3))
    atoms.positions[1] += [0, 0, 0.05]
    atoms.calc = Sites()
    with pytest.warns(JMPWarning, match="space group changes with the volume"):
        eos(atoms)


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (molecule("H2O"), "periodic in no direction"),
        (graphene(vacuum=8.0), "periodic in two directions"),
        (fcc111("Cu", (1, 1, 3), vacuum=6.0, periodic=True), r"vacuum of 1\d.\d Å along c"),
    ],
)
def test_what_is_no_crystal_is_refused(atoms: Atoms, reason: str) -> None:
    with pytest.raises(BadStructureError, match=reason):
        eos(atoms, calc=Curve())


def test_results_read_from_a_file_are_no_calculator() -> None:
    atoms = crystal()
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((1, 3)))
    with pytest.raises(UsageError, match="gives no forces for a volume"):
        eos(atoms)


def test_constraints_and_missing_calculators_are_refused(copper: Atoms) -> None:
    with pytest.raises(UsageError, match="no calculator"):
        eos(bulk("Cu"))
    copper.set_constraint(FixAtoms([0]))
    with pytest.raises(UsageError, match="must be free"):
        eos(copper)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_volume": 1.1, "max_volume": 1.0},
        {"min_volume": -0.5},
        {"max_volume": float("nan")},
        {"n_volumes": 4},
        {"n_volumes": 10**9},
        {"form": "cubic"},
        {"relax": "all"},
        {"fmax": 0.0},
        {"relax_steps": 0},
        {"symprec": float("inf")},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        EosSettings(**wrong)


def test_energies_that_are_not_finite_end_it() -> None:
    with pytest.raises(BadInputError, match="volume 0 are not finite"):
        eos(crystal(calc=Curve(offset=float("nan"))))


def test_files_hold_what_the_result_holds(tmp_path: Path) -> None:
    atoms = crystal()
    before = atoms.copy()
    result = eos(atoms, out=tmp_path, prefix="cu")
    assert atoms == before
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names == {"cu-e-v.dat", "cu-volumes.extxyz", "cu-eos.svg", "cu-eos.png", f"cu-{STATE}"}
    table = np.loadtxt(tmp_path / "cu-e-v.dat")
    assert np.allclose(table, np.column_stack([result.volumes_a3, result.energies_ev]), atol=1e-9)
    frames = ase.io.read(tmp_path / "cu-volumes.extxyz", ":")
    assert [f.get_potential_energy() for f in frames] == pytest.approx(list(result.energies_ev), abs=1e-7)
    assert eos(atoms, out=tmp_path / "bare", plot=False).fit == result.fit
    assert not list((tmp_path / "bare").glob("eos.*"))


def test_volumes_go_to_a_jmp_calculator_at_once(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    salt.calc = calc
    result = eos(salt, relax="none", n_volumes=5)
    assert len(evaluations) <= 3  # whether there is a stress, the batch, and a check of the head
    singles = [frame.copy() for frame in result.frames]
    for atoms, energy in zip(singles, result.energies_ev, strict=True):
        atoms.calc = calc
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)


def test_a_run_that_goes_on_computes_no_volume_again(tmp_path: Path) -> None:
    copper = bulk("Cu", cubic=True)
    whole = eos(copper, calc=Counted(), relax="none")
    with pytest.raises(KeyboardInterrupt):
        eos(copper, calc=Counted(fails_at=5), relax="none", out=tmp_path, plot=False)
    rest = Counted()
    again = eos(copper, calc=rest, relax="none", out=tmp_path, plot=False, resume=True)
    assert rest.calls == 7 - 4, "four of seven were done"
    assert np.array_equal(whole.energies_ev, again.energies_ev) and whole.fits == again.fits
    nothing = Counted()
    eos(copper, calc=nothing, relax="none", out=tmp_path, plot=False, resume=True)
    assert nothing.calls == 0


def test_a_killed_run_takes_the_relaxations_that_had_ended(copper: Atoms, tmp_path: Path) -> None:
    copper.positions[0] += [0.03, 0.02, 0.01]
    whole = eos(copper, out=tmp_path / "whole", plot=False)
    eos(copper, out=tmp_path / "killed", plot=False)
    journal = tmp_path / "killed/relax.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-2]) + lines[-2][:30])  # one lost, one cut short
    again = eos(copper, out=tmp_path / "killed", resume=True, plot=False)
    assert np.array_equal(whole.energies_ev, again.energies_ev)
    assert len(journal.read_text().splitlines()) == len(lines)
    fresh = eos(copper, out=tmp_path / "killed", plot=False)  # not asked to go on: everything anew
    assert np.array_equal(whole.energies_ev, fresh.energies_ev)
