"""Relaxation ends at stationary points, says so, and leaves its input alone."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from jmp_calc.errors import GuardError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.io import progress
from jmp_calc.machine.signals import Interrupted
from jmp_calc.units import GPA_PER_EV_A3
from jmp_calc.workflows.md import md
from jmp_calc.workflows.relax import relax


@pytest.mark.capability("C2")
@pytest.mark.parametrize("optimizer", ["LBFGS", "BFGS", "FIRE"])
def test_dimer_reaches_the_minimum_of_its_potential(optimizer: str) -> None:
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 1.15]])
    atoms.calc = LennardJones(sigma=1.0, epsilon=1.0, rc=10.0, smooth=False)
    result = relax(atoms, fmax=1e-4, optimizer=optimizer)
    assert result.converged
    assert result.fmax < 1e-4
    assert result.atoms.get_distance(0, 1) == pytest.approx(2 ** (1 / 6), abs=1e-4)
    assert atoms.positions[1, 2] == 1.15  # the input is not touched


@pytest.mark.capability("C2")
@pytest.mark.parametrize("pressure_gpa", [0.0, 5.0])
@pytest.mark.parametrize("cell", ["volume", "lengths", "full"])
def test_relaxed_cell_balances_the_pressure(copper: Atoms, cell: str, pressure_gpa: float) -> None:
    result = relax(copper, cell=cell, pressure_gpa=pressure_gpa, fmax=1e-3)
    assert result.converged
    assert result.stress_gpa is not None
    assert np.mean(result.stress_gpa[:3]) == pytest.approx(-pressure_gpa, abs=0.05)
    free = 72.0141  # Å^3, without pressure
    assert (
        result.atoms.get_volume() == pytest.approx(free, abs=0.01)
        if not pressure_gpa
        else result.atoms.get_volume() < free
    )


def test_relaxing_the_shape_removes_shear(copper: Atoms) -> None:
    strain = np.eye(3)
    strain[0, 1] = strain[1, 0] = 0.02
    copper.set_cell(copper.cell.array @ strain, scale_atoms=True)
    result = relax(copper, cell="full", fmax=1e-3)
    assert result.stress_gpa is not None
    assert max(abs(s) for s in result.stress_gpa) < 0.1
    kept = relax(copper, cell="volume", fmax=1e-3)
    assert kept.atoms.cell.angles() == pytest.approx(copper.cell.angles(), abs=1e-6)


@pytest.mark.parametrize("cell", ["volume", "lengths", "full"])
def test_the_stress_that_is_left_is_reported(copper: Atoms, cell: str) -> None:
    atoms = bulk("Cu", "fcc", a=3.6)  # stretched, and no forces by symmetry
    atoms.calc = copper.calc
    result = relax(atoms, cell=cell, pressure_gpa=2.0, steps=1)
    with pytest.raises(
        NotConvergedError, match=r"largest stress left ([\d.]+) GPa.*forces on the atoms are small"
    ) as caught:
        result.require_converged()
    pressure = -result.atoms.get_stress()[:3].mean() * GPA_PER_EV_A3
    assert result.stress_left_gpa == pytest.approx(2.0 - pressure, rel=1e-6)
    assert f"{2.0 - pressure:.3g} GPa" in str(caught.value)
    assert relax(atoms, cell=cell, pressure_gpa=2.0).stress_left_gpa == pytest.approx(
        0.0, abs=0.14
    )  # 0.01 eV/Å per 11.6 Å³


def test_labels_of_the_input_do_not_pass_for_labels_of_the_new_positions(
    copper: Atoms, tmp_path: Path
) -> None:
    copper.rattle(0.05, seed=1)
    copper.info |= {"REF_energy": -1.0, "virials": np.eye(3), "name": "kept"}
    copper.set_array("REF_forces", np.ones((len(copper), 3)))
    copper.set_array("site", np.arange(len(copper)))
    result = relax(copper, steps=3, out=tmp_path)
    for frame in (result.atoms, *ase.io.read(tmp_path / "traj.extxyz", ":")):
        assert not {"REF_energy", "virials"} & set(frame.info) and "REF_forces" not in frame.arrays
        assert frame.info["name"] == "kept" and frame.arrays["site"].tolist() == list(range(len(copper)))
    assert copper.info["REF_energy"] == -1.0 and "REF_forces" in copper.arrays
    run = md(copper, ensemble="nve", steps=1, temperature_k=10)
    assert "REF_energy" not in run.atoms.info and "REF_forces" not in run.atoms.arrays


def test_lengths_say_where_they_change_angles(copper: Atoms) -> None:
    """Strains along x, y and z keep the angles of cells along the axes, and those that symmetry keeps."""
    copper.set_cell(copper.cell.array * [[0.98], [1.02], [1.03]], scale_atoms=True)
    turned = copper.copy()
    turned.rotate(30, "z", rotate_cell=True)
    hexagonal = bulk("Cu", "hcp", a=2.55, c=4.4)
    for atoms in (copper, hexagonal):
        atoms.calc = copper.calc
        angles = atoms.cell.angles()
        with warnings.catch_warnings():
            warnings.simplefilter("error", JMPWarning)
            assert relax(atoms, cell="lengths").atoms.cell.angles() == pytest.approx(angles, abs=0.01)
    turned.calc = copper.calc
    with pytest.warns(JMPWarning, match="angles of the cell, by up to .* degrees: .* is skewed"):
        relax(turned, cell="lengths")


def test_slab_keeps_its_vacuum() -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    slab.calc = EMT()
    result = relax(slab, cell="full")
    assert result.converged
    assert result.atoms.cell.array[2] == pytest.approx(slab.cell.array[2])
    assert result.atoms.cell.lengths()[0] != pytest.approx(slab.cell.lengths()[0], abs=1e-4)
    with pytest.raises(UsageError, match="vacuum"):
        relax(slab, cell="full", pressure_gpa=1.0)


@pytest.mark.parametrize("cell", ["full", "lengths"])
def test_slab_in_a_periodic_box_keeps_its_vacuum(cell: str) -> None:
    """Nearly every slab file says that it repeats in three directions: its vacuum has no stress to relax."""
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0, periodic=True)
    slab.calc = EMT()
    with pytest.warns(JMPWarning, match="vacuum along c, which is kept"):
        result = relax(slab, cell=cell)
    assert result.converged and result.pressure_gpa is None
    assert result.atoms.cell.array[2] == pytest.approx(slab.cell.array[2], abs=1e-6)
    open_slab = slab.copy()
    open_slab.pbc = (True, True, False)
    open_slab.calc = EMT()
    alone = relax(open_slab, cell=cell)
    assert result.atoms.cell.lengths()[0] == pytest.approx(alone.atoms.cell.lengths()[0], abs=1e-6)


@pytest.mark.parametrize(("cell", "pressure_gpa"), [("full", 5.0), ("volume", 0.0), ("shape", 0.0)])
def test_pressure_does_not_squeeze_vacuum_out_of_a_box(cell: str, pressure_gpa: float) -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0, periodic=True)
    slab.calc = EMT()
    with pytest.raises(UsageError, match="mean nothing for a structure with vacuum"):
        relax(slab, cell=cell, pressure_gpa=pressure_gpa)


@pytest.mark.capability("C4")
def test_fixed_symmetry_survives_unequal_forces(copper: Atoms) -> None:
    import spglib

    def group(atoms: Atoms) -> int:
        found = spglib.get_symmetry_dataset(
            (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-5
        )
        assert found is not None
        return int(found.number)

    primitive = bulk("Cu", "fcc", a=3.7)
    primitive.calc = copper.calc
    result = relax(primitive, cell="full", fix_symmetry=True, fmax=1e-4)
    assert group(result.atoms) == 225
    assert not result.atoms.constraints


@pytest.mark.capability("C3")
def test_not_converged_is_a_flag_and_an_error_on_request(copper: Atoms) -> None:
    copper.rattle(0.1, seed=1)
    result = relax(copper, steps=1, fmax=1e-5)
    assert not result.converged
    assert result.n_steps == 1
    assert result.to_dict()["converged"] is False
    with pytest.raises(NotConvergedError, match=r"largest force .* \[atom \d+ \(Cu\)") as caught:
        result.require_converged()
    assert caught.value.exit_code == 3


def test_convergence_at_the_last_allowed_step_counts(copper: Atoms) -> None:
    copper.rattle(0.02, seed=1)
    free = relax(copper, fmax=0.01)
    exact = relax(copper, fmax=0.01, steps=free.n_steps)
    assert exact.converged


@pytest.mark.capability("C5")
def test_constraints_hold_but_stored_forces_are_raw(copper: Atoms) -> None:
    copper.rattle(0.1, seed=2)
    copper.set_constraint(FixAtoms([0]))
    result = relax(copper, fmax=0.01)
    assert result.converged
    assert np.array_equal(result.atoms.positions[0], copper.positions[0])
    raw = result.atoms.get_forces(apply_constraint=False)
    assert raw == pytest.approx(copper.calc.get_forces(result.atoms), abs=1e-9)
    assert len(result.atoms.constraints) == 1


def test_files_hold_every_step(copper: Atoms, tmp_path) -> None:
    copper.rattle(0.05, seed=3)
    result = relax(copper, out=tmp_path, prefix="a")
    frames = ase.io.read(tmp_path / "a-traj.extxyz", ":")
    assert len(frames) == len(result.trajectory) == result.n_steps + 1
    final = ase.io.read(tmp_path / "a-opt.extxyz")
    assert final.get_potential_energy() == pytest.approx(result.energy_ev)
    assert "BFGS" in (tmp_path / "a-opt.log").read_text()


def test_a_trajectory_of_dynamics_is_not_replaced(copper: Atoms, tmp_path) -> None:
    md(copper, steps=10, out=tmp_path)
    before = (tmp_path / "traj.extxyz").read_bytes()
    with pytest.raises(UsageError, match="no relaxation"):
        relax(copper, out=tmp_path)
    assert (tmp_path / "traj.extxyz").read_bytes() == before
    for _ in range(2):  # its own files are replaced
        relax(copper, out=tmp_path, prefix="a", fmax=1.0)
    assert len(ase.io.read(tmp_path / "a-traj.extxyz", ":")) == 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"fmax": 0.0}, "fmax"),
        ({"steps": 0}, "steps"),
        ({"optimizer": "Newton"}, "optimizer"),
        ({"cell": "c"}, "cell"),
        ({"pressure_gpa": 1.0}, "pressure"),
        ({"pressure_gpa": float("nan"), "cell": "full"}, "pressure"),
    ],
)
def test_settings_that_cannot_be_meant(copper: Atoms, wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        relax(copper, **wrong)


def test_molecule_has_no_cell_to_relax(cluster: Atoms) -> None:
    with pytest.raises(UsageError, match="no lattice"):
        relax(cluster, cell="full")
    with pytest.raises(UsageError, match="crystal"):
        relax(cluster, fix_symmetry=True)


def test_calculator_is_needed(copper: Atoms) -> None:
    copper.calc = None
    with pytest.raises(UsageError, match="no calculator"):
        relax(copper)


class SignalledEMT(EMT):
    """EMT during whose fourth evaluation the batch system ends the job."""

    n_calls = 0

    def calculate(self, *args: object, **kwargs: object) -> None:
        self.n_calls += 1
        if self.n_calls == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        super().calculate(*args, **kwargs)


def test_fault_62_signal_ends_a_relaxation_with_its_lowest_structure(copper: Atoms, tmp_path) -> None:
    copper.rattle(0.1, seed=1)
    copper.calc = SignalledEMT()
    with pytest.raises(Interrupted, match="lowest structure") as caught:
        relax(copper, fmax=1e-12, steps=10**6, out=tmp_path)
    assert caught.value.exit_code == 143
    frames = ase.io.read(tmp_path / "traj.extxyz", ":")
    lowest = min(frames, key=lambda frame: frame.get_potential_energy())
    assert ase.io.read(tmp_path / "opt.extxyz").positions == pytest.approx(lowest.positions)


def test_progress_is_a_plain_line_in_a_log_file(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    for quiet in (False, True):
        with progress.Progress("md", 3, quiet=quiet) as bar:
            bar.update("300 K")
    assert capsys.readouterr().err == "md: 1/3 300 K\n"


@pytest.mark.parametrize("cell", ["full", "volume"])
def test_a_crystal_under_more_tension_than_it_bears_is_stopped_before_it_flies_apart(
    cell: str, tmp_path: Path
) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    with pytest.raises(GuardError, match="times the volume of the start"):
        relax(atoms, cell=cell, pressure_gpa=-40.0, out=tmp_path)
    kept = ase.io.read(tmp_path / "opt.extxyz")
    assert kept.get_volume() < 5 * atoms.get_volume()
