"""With the forces of phonopy's and phono3py's own examples, our results are those of their own commands."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jmp_calc import phonons
from jmp_calc.workflows.phonon import glue
from jmp_calc.workflows.phonon.gruneisen import run_gruneisen
from jmp_calc.workflows.phonon.phonons import forces_of
from jmp_calc.workflows.phonon.qha import assembled, displaced_at
from jmp_calc.workflows.phonon.qha_settings import QhaSettings
from tests.workflows.phonon.replay import SAMPLES, Replay, force_sets, forces_fc3, supercell, unitcell

Command = Callable[..., None]
SILICON = "Si8"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """One of their commands, in this process, with files in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(module: str, *words: object) -> None:
        monkeypatch.setattr(sys, "argv", [module, *map(str, words)])
        with contextlib.suppress(SystemExit):
            importlib.import_module(module).run()

    return run


@pytest.mark.capability("D8")
def test_salt_with_born_charges(command: Command, tmp_path: Path) -> None:
    folder = SAMPLES / "NaCl"
    for name in ("POSCAR-unitcell", "FORCE_SETS", "BORN"):
        shutil.copy(folder / name, tmp_path)
    atoms = unitcell(folder / "POSCAR-unitcell", "Na4Cl4")
    calc = Replay(supercell(atoms), force_sets(folder / "FORCE_SETS"))
    settings = {"supercell": "2 2 2", "mesh": "7 7 7", "bands": "G X", "band_points": 11, "relax": False}
    ours = phonons(atoms, calc=calc, born=str(folder / "BORN"), **settings)
    assert calc.asked == {0, 1}
    command("phonopy.scripts.phonopy_init", "-d", "--dim", 2, 2, 2, "--pa", "auto", "-c", "POSCAR-unitcell")
    theirs = ("--fc-calculator", "traditional", "--exclude-gamma-acoustic")
    load = ("phonopy.scripts.phonopy_load", "phonopy_disp.yaml", *theirs)
    command(*load, "--mesh", 7, 7, 7, "-t")
    mesh = yaml.safe_load((tmp_path / "mesh.yaml").read_text())["phonon"]
    expected = [[band["frequency"] for band in point["band"]] for point in mesh]
    assert ours.phonopy.mesh.frequencies == pytest.approx(np.array(expected), abs=1e-6)
    thermal = yaml.safe_load((tmp_path / "thermal_properties.yaml").read_text())["thermal_properties"]
    for key in ("free_energy", "entropy", "heat_capacity"):
        assert ours.thermal[key] == pytest.approx([row[key] for row in thermal], abs=1e-6)
    command(*load, "--band", "0 0 0 1/2 0 1/2", "--band-points", 11)
    path = yaml.safe_load((tmp_path / "band.yaml").read_text())["phonon"]
    expected = [[band["frequency"] for band in point["band"]] for point in path]
    assert ours.frequencies_thz == pytest.approx(np.array(expected), abs=1e-6)
    assert ours.frequencies_thz[0].max() > ours.frequencies_thz[0][3] + 2.0  # LO and TO at Γ


def with_constants(atoms: Atoms, calc: Replay, settings: QhaSettings, fc_symmetry: bool = True) -> Any:
    """phonopy's object at one volume."""
    how = dataclasses.replace(settings.of_phonons(), fc_symmetry=fc_symmetry)
    atoms.calc = calc
    (phonon,) = displaced_at([atoms], settings)
    glue.set_force_constants(phonon, forces_of(glue.ase_supercells(phonon, atoms), True), how)
    return phonon


def silicon(folder: Path, poscar: str, forces: str) -> tuple[Atoms, Replay]:
    atoms = unitcell(folder / poscar, SILICON)
    return atoms, Replay(supercell(atoms), force_sets(folder / forces))


@pytest.mark.capability("D14")
def test_gruneisen_parameters_of_silicon(command: Command, tmp_path: Path) -> None:
    """Their command always symmetrises force constants by symfc; so do we here."""
    found = {}
    for name in ("minus", "orig", "plus"):
        shutil.copytree(SAMPLES / "Si-gruneisen" / name, tmp_path / name)
        example = silicon(SAMPLES / "Si-gruneisen" / name, "POSCAR-unitcell", "FORCE_SETS")
        found[name] = with_constants(*example, QhaSettings(supercell="2 2 2"), fc_symmetry=False)
        found[name].symmetrize_force_constants(use_symfc_projector=True)
    corners = [np.array([[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]])]
    ours = run_gruneisen([found["minus"], found["orig"], found["plus"]], [7, 7, 7], corners)
    words = ("orig", "plus", "minus", "--dim", "2 2 2", "--pa", "0 1/2 1/2 1/2 0 1/2 1/2 1/2 0")
    command("phonopy.scripts.phonopy_gruneisen", *words, "--mesh", "7 7 7", "--gc", "-c", "POSCAR-unitcell")
    points = yaml.safe_load((tmp_path / "gruneisen_mesh.yaml").read_text())["phonon"]
    expected = np.array([[[b["frequency"], b["gruneisen"]] for b in point["band"]] for point in points])
    _, _, frequencies, _, gamma = ours.get_mesh()
    moves = expected[:, :, 0] > 0.1
    assert np.asarray(frequencies)[moves] == pytest.approx(expected[moves][:, 0], abs=1e-6)
    assert np.asarray(gamma)[moves] == pytest.approx(expected[moves][:, 1], abs=1e-6)


@pytest.mark.slow
@pytest.mark.capability("D13")
def test_thermal_expansion_of_silicon(command: Command, tmp_path: Path) -> None:
    """Eleven volumes, some of them far: the transverse modes soften, and the expansion is negative at low
    temperature."""
    folder, mesh = SAMPLES / "Si-QHA", (7, 7, 7)
    settings = QhaSettings(supercell="2 2 2", mesh=mesh, tmax=300.0, tstep=10.0, n_volumes=11)
    table = np.loadtxt(folder / "e-v.dat")
    frames, found, names = [], [], []
    for number, (_, energy) in zip(range(-5, 6), table, strict=True):
        atoms, calc = silicon(folder, f"POSCAR-{number}", f"FORCE_SETS-{number}")
        found.append(with_constants(atoms, calc, settings))
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=np.zeros((8, 3)))
        frames.append(frame)
        shutil.copy(folder / f"POSCAR-{number}", tmp_path / "POSCAR")
        shutil.copy(folder / f"FORCE_SETS-{number}", tmp_path / "FORCE_SETS")
        command("phonopy.scripts.phonopy_init", "-d", "--dim", 2, 2, 2, "--pa", "auto", "-c", "POSCAR")
        theirs = ("--fc-calculator", "traditional", "--exclude-gamma-acoustic")
        span = ("--mesh", *mesh, "-t", "--tmax", 310, "--tstep", 10)
        command("phonopy.scripts.phonopy_load", "phonopy_disp.yaml", *theirs, *span)
        names.append(shutil.move(tmp_path / "thermal_properties.yaml", tmp_path / f"t{number}.yaml"))
    ours = assembled(frames, found, settings)
    volumes = [frame.get_volume() / 4 for frame in frames]
    np.savetxt(tmp_path / "e-v.dat", np.column_stack([volumes, table[:, 1] / 4]), fmt="%.12f")
    command("phonopy.scripts.phonopy_qha", "e-v.dat", *names, "--tmax", 300)
    for name, values in {
        "volume-temperature.dat": ours.volume,
        "thermal_expansion.dat": ours.thermal_expansion,
        "bulk_modulus-temperature.dat": ours.bulk_modulus_gpa,
        "gibbs-temperature.dat": ours.gibbs_ev,
    }.items():
        expected = np.loadtxt(tmp_path / name)[:, 1]
        assert values[: len(expected)] == pytest.approx(expected, rel=1e-6, abs=1e-6), name
    assert ours.thermal_expansion.min() < 0 < ours.thermal_expansion[-1]


PHONO3PY = pytest.mark.skipif(
    importlib.util.find_spec("phono3py") is None, reason="pip install jmp-calc[conductivity]"
)


@PHONO3PY
@pytest.mark.capability("D15")
def test_thermal_conductivity_of_silicon(command: Command, tmp_path: Path) -> None:
    """With what makes their command independent of the choice of eigenvectors of degenerate modes."""
    h5py = pytest.importorskip("h5py")
    from jmp_calc import conductivity

    folder = SAMPLES / "Si-PBEsol"
    atoms = unitcell(folder / "POSCAR-unitcell", SILICON)
    calc = Replay(supercell(atoms), forces_fc3(folder / "FORCES_FC3.xz"))
    same = {"supercell": "2 2 2", "fc2_supercell": "2 2 2", "mesh": "7 7 7", "relax": False}
    ours = conductivity(atoms, calc=calc, **same, tmin=300.0, tmax=400.0, tstep=100.0)
    assert len(calc.asked) == len(calc.known) == ours.n_third == 111
    shutil.copy(folder / "POSCAR-unitcell", tmp_path)
    (tmp_path / "FORCES_FC3").write_bytes(unpacked(folder / "FORCES_FC3.xz"))
    words = ("-d", "--dim", 2, 2, 2, "--pa", "auto", "-c", "POSCAR-unitcell")
    command("phono3py.scripts.phono3py_init", *words)
    load = ("phono3py_disp.yaml", "--mesh", 7, 7, 7, "--br", "--ts", 300, 400)
    theirs = ("--symmetrize-tetrahedra", "--average-degenerate-weights", "--exclude-gamma-acoustic")
    command("phono3py.scripts.phono3py_load", *load, *theirs, "--fc-calculator", "traditional")
    with h5py.File(tmp_path / "kappa-m777.hdf5") as file:
        expected = np.array(file["kappa"])
    assert ours.kappa == pytest.approx(expected, rel=1e-6, abs=1e-6)


def unpacked(path: Path) -> bytes:
    import lzma

    return lzma.decompress(path.read_bytes())
