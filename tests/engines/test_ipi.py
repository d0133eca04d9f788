"""i-PI on our models, by its driver and by the socket: ASE's numbers, batches, path integrals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from ase.units import Ha

from jmp_calc import JMPCalculator
from jmp_calc.errors import UsageError
from tests.engines.serving import Served

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "jmp_calc" / "engines" / "ipi_driver.py"


@pytest.fixture
def ipi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test runs i-PI."""
    pytest.importorskip("ipi", reason="needs i-PI: pip install 'jmp-calc[ipi]'")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH", cell=[20, 20, 20], pbc=False)
    atoms.rattle(0.03, seed=1)
    return atoms


def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.set_cell([[5.6, 0, 0], [0.1, 5.7, 0], [-0.2, 0.3, 5.5]], scale_atoms=True)  # as i-PI turns cells
    atoms.rattle(0.1, seed=3)
    return atoms


def simulation_input(forcefield: str, *, beads: int, steps: int = 1, mode: str = "nve") -> str:
    return f"""<simulation verbosity="quiet">
  <output prefix="run">
    <properties filename="out"> [ conserved{{electronvolt}}, potential{{atomic_unit}} ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 3 </seed> </prng>
  {forcefield}
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase" units="ase"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces> <force forcefield="jmp"> </force> </forces>
    <motion mode="dynamics"> <dynamics mode="{mode}">
      <timestep units="femtosecond"> 0.2 </timestep>
    </dynamics> </motion>
    <ensemble> <temperature units="kelvin"> 300 </temperature> </ensemble>
  </system>
</simulation>"""


def direct(model: str | Path, batch: int) -> str:
    """The force field that runs the driver inside i-PI."""
    return f"""<ffdirect name="jmp"> <pes> custom </pes> <pes_path> {DRIVER} </pes_path>
      <batch_size> {batch} </batch_size>
      <parameters> {{template: start.xyz, model: {model}, dtype: float64, device: cpu}} </parameters>
    </ffdirect>"""


@pytest.mark.parametrize("make", [ethanol, crystal])
def test_i_pi_sees_the_numbers_of_the_calculator(
    make: Callable[[], Atoms], ipi: Path, calc: JMPCalculator
) -> None:
    from ipi.scripting import InteractiveSimulation
    from ipi.utils.units import unit_to_user

    write(ipi / "start.xyz", make(), format="extxyz")
    run = InteractiveSimulation(simulation_input(direct(calc.info.path, 4), beads=4))
    run.run(2, write_outputs=False)
    system = run.syslist[0]
    angstrom, electronvolt = unit_to_user("length", "angstrom"), unit_to_user("energy", "electronvolt")
    energies = []
    for bead in range(4):
        atoms = make()
        atoms.positions[:] = np.asarray(system.beads.q[bead]).reshape(-1, 3) * angstrom
        atoms.cell[:] = np.asarray(system.cell.h).T * angstrom
        atoms.calc = calc
        energies.append(atoms.get_potential_energy())
        assert float(system.forces.pots[bead]) * electronvolt == pytest.approx(energies[-1], abs=1e-6)
        forces = np.asarray(system.forces.f[bead]).reshape(-1, 3) * electronvolt / angstrom
        assert np.abs(forces - atoms.get_forces()).max() < 1e-8
        virial = np.asarray(system.forces.virs[bead]) * electronvolt
        expected = (
            -atoms.get_volume() * atoms.get_stress(voigt=False) if atoms.pbc.any() else np.zeros((3, 3))
        )
        assert np.abs(np.triu(virial - expected)).max() < 1e-6  # i-PI keeps the upper triangle
    assert np.ptp(energies) > 1e-3, "the beads are apart"
    assert run.properties("potential{electronvolt}") == pytest.approx(np.mean(energies), abs=1e-6)


@pytest.mark.parametrize("make", [ethanol, crystal])
def test_a_batch_gives_what_one_by_one_gives(
    make: Callable[[], Atoms], ipi: Path, calc: JMPCalculator
) -> None:
    from jmp_calc.engines.ipi import JMPDriver

    write(ipi / "start.xyz", make(), format="extxyz")
    driver = JMPDriver("start.xyz", str(calc.info.path), device="cpu", dtype="float64")
    beads = [make() for _ in range(5)]
    for seed, bead in enumerate(beads):
        bead.rattle(0.05, seed=seed)
    cells, places = [bead.cell.array.T * 1.9 for bead in beads], [bead.positions * 1.9 for bead in beads]
    for together, cell, position in zip(driver(cells, places), cells, places):
        alone = driver(cell, position)
        assert together[0] == pytest.approx(alone[0], abs=1e-10)
        assert np.abs(together[1] - alone[1]).max() < 1e-10
        assert together[2].shape == (3, 3)
        assert np.abs(together[2] - alone[2]).max() < 1e-10
        assert make().pbc.any() == together[2].any()


def test_ring_polymers_conserve_energy(ipi: Path, calc: JMPCalculator) -> None:
    from ipi.scripting import InteractiveSimulation

    write(ipi / "start.xyz", ethanol(), format="extxyz")
    run = InteractiveSimulation(simulation_input(direct(calc.info.path, 8), beads=8))
    conserved = []
    for _ in range(20):
        run.run(1, write_outputs=False)
        conserved.append(run.properties("conserved{electronvolt}"))
    assert np.ptp(conserved) < 2e-3 * 9


def test_i_pis_own_modules_stay_importable(ipi: Path) -> None:
    """i-PI files a driver under the name of its file: one called ipi.py would stand in its place."""
    from ipi.pes import load_pes

    assert load_pes("custom", str(DRIVER)).__name__ == "JMPDriver"
    assert hasattr(sys.modules["ipi"], "__path__")


def test_wrong_settings_are_told(ipi: Path, calc: JMPCalculator) -> None:
    from jmp_calc.engines.ipi import JMPDriver
    from jmp_calc.errors import BadInputError

    with pytest.raises(BadInputError, match="none.xyz"):
        JMPDriver("none.xyz", str(calc.info.path))
    write(ipi / "start.xyz", ethanol(), format="extxyz")
    driver = JMPDriver("start.xyz", str(calc.info.path), device="cpu")
    with pytest.raises(BadInputError, match="3 atoms came, the template has 9"):
        driver(np.eye(3), molecule("H2O").positions)


def test_parameters_that_the_driver_has_not_are_named() -> None:
    from jmp_calc.engines.ipi import PARAMETERS, JMPDriver

    with pytest.raises(UsageError, match="no parameter tempalte.*known: template, model, head"):
        JMPDriver(tempalte="ethanol.xyz", model="jmp-xs")
    with pytest.raises(UsageError, match="needs a structure"):
        JMPDriver(model="jmp-xs")
    assert {*PARAMETERS, "verbosity", "unknown"} == set(signature(JMPDriver).parameters)


def test_without_i_pi_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jmp_calc.engines.ipi import JMPDriver

    monkeypatch.setitem(sys.modules, "ipi.utils", None)
    with pytest.raises(UsageError, match=r"i-PI is not installed.*jmp-calc\[ipi\]"):
        JMPDriver("start.xyz")


@pytest.mark.parametrize("batch", [1, 4])
def test_i_pi_is_served_through_a_socket(batch: int, ipi: Path, calc: JMPCalculator) -> None:
    """The program i-pi and serve; with a batch size all beads come in one message."""
    name = f"jmp_ipi_{os.getpid()}_{batch}"
    write(ipi / "start.xyz", ethanol(), format="extxyz")
    socket = f"""<ffsocket name="jmp" mode="unix"> <address> {name} </address>
      <batch_size> {batch} </batch_size> </ffsocket>"""
    (ipi / "input.xml").write_text(simulation_input(socket, beads=4, steps=3))
    served = Served(ethanol(), calc, unix=name)
    program = Path(sys.executable).with_name("i-pi")
    done = subprocess.run([sys.executable, program, "input.xml"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = served.ended()
    assert found.structures == batch * found.evaluations >= 16, served.said  # four steps of four beads
    potential = np.loadtxt(ipi / "run.out")[0, 1]  # hartree, of four beads at the start
    atoms = ethanol()
    atoms.calc = calc
    assert potential * Ha == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_the_example_of_path_integrals(ipi: Path) -> None:
    script = ROOT / "examples" / "23_path_integrals.py"
    done = subprocess.run(
        [sys.executable, script, "--steps", "4"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "4 steps of 16 beads" in done.stdout
    assert float(done.stdout.split("within ")[1].split()[0]) < 5.0


def test_i_pis_own_driver_program_finds_the_driver(ipi: Path, calc: JMPCalculator) -> None:
    """``i-pi-py_driver -m custom -P`` at a socket of i-PI."""
    name = f"jmp_py_{os.getpid()}"
    write(ipi / "start.xyz", ethanol(), format="extxyz")
    socket = f'<ffsocket name="jmp" mode="unix"> <address> {name} </address> </ffsocket>'
    (ipi / "input.xml").write_text(simulation_input(socket, beads=2))
    folder = Path(sys.executable).parent
    options = f"template=start.xyz,model={calc.info.path},dtype=float64,device=cpu"
    with subprocess.Popen([sys.executable, folder / "i-pi", "input.xml"]) as program:
        words = ["-u", "-a", name, "-m", "custom", "-P", DRIVER, "-o", options]
        end = time.monotonic() + 300
        while not Path(f"/tmp/ipi_{name}").exists():
            assert program.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        driver = subprocess.run([sys.executable, folder / "i-pi-py_driver", *words], timeout=300)
        assert program.wait(timeout=300) == 0
    assert driver.returncode == 0
    atoms = ethanol()
    atoms.calc = calc
    potential = np.loadtxt(ipi / "run.out")[0, 1]
    assert potential * Ha == pytest.approx(atoms.get_potential_energy(), rel=1e-7)
