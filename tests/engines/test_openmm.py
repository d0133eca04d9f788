"""OpenMM by the names of openmmml: numbers of ASE, dynamics, serialisation, a part of a larger system."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator
from jmp_calc.errors import ModelError, UsageError
from tests.example_runs import run_example

ROOT = Path(__file__).parents[2]
mm = pytest.importorskip("openmm", reason="needs OpenMM: pip install 'jmp-calc[openmm]'")
openmmml = pytest.importorskip("openmmml", reason="needs openmmml: pip install 'jmp-calc[openmm]'")
from openmm import app, unit  # noqa: E402

KJ_MOL = units.kJ / units.mol


def topology(atoms: Atoms) -> Any:
    """The same atoms for OpenMM, in one residue and without bonds."""
    made = app.Topology()
    residue = made.addResidue("ALL", made.addChain())
    for atom in atoms:
        made.addAtom(atom.symbol, app.Element.getBySymbol(atom.symbol), residue)
    if atoms.pbc.any():
        made.setPeriodicBoxVectors([mm.Vec3(*row) for row in atoms.cell.array / 10] * unit.nanometer)
    return made


def context(system: Any, atoms: Atoms, step_fs: float = 0.5) -> Any:
    integrator = mm.VerletIntegrator(step_fs * unit.femtosecond)
    made = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    made.setPositions(atoms.positions / 10)
    return made


def results(made: Any) -> tuple[float, np.ndarray]:
    """Energy in eV and forces in eV/Å of a context."""
    state = made.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * KJ_MOL, forces * KJ_MOL / 10


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize(("atoms", "head"), [(molecule("CH3CH2OH"), "b3lyp"), (silicon(), "pbe")])
def test_numbers_are_those_of_ase_also_after_serialisation(atoms: Atoms, head: str) -> None:
    settings = {"head": head, "dtype": "float64", "device": "cpu"}
    system = openmmml.MLPotential("jmp-xs").createSystem(topology(atoms), **settings)
    calc = JMPCalculator("jmp-xs", **settings)
    text = mm.XmlSerializer.serialize(system)
    assert len(text) < 20_000  # the name of the model, not its weights
    for one in (system, mm.XmlSerializer.deserialize(text)):
        energy, forces = results(context(one, atoms))
        assert energy == pytest.approx(calc.get_property("energy", atoms), abs=1e-6)
        assert np.abs(forces - calc.get_property("forces", atoms)).max() < 1e-8


def test_dynamics_conserve_energy() -> None:
    atoms = molecule("CH3CH2OH")
    system = openmmml.MLPotential("jmp-xs").createSystem(topology(atoms), head="b3lyp")
    made = context(system, atoms)
    made.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    totals = []
    for _ in range(20):
        made.getIntegrator().step(2)
        state = made.getState(energy=True)
        totals.append(
            (state.getPotentialEnergy() + state.getKineticEnergy()).value_in_unit(unit.kilojoule_per_mole)
        )
    assert np.ptp(totals) * KJ_MOL / len(atoms) < 1.5e-3


def test_a_part_of_a_larger_system() -> None:
    """Two waters in a box, the first by the model: the energy inside it is that of ASE."""
    pair = molecule("H2O") + Atoms("OH2", molecule("H2O").positions + [0, 0, 3.0])
    pair.set_cell([20, 20, 20])
    pair.pbc = True
    made = app.Topology()
    for residue in (made.addResidue("HOH", made.addChain()) for _ in range(2)):
        oxygen, *hydrogens = [
            made.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2")
        ]
        for hydrogen in hydrogens:
            made.addBond(oxygen, hydrogen)
    made.setPeriodicBoxVectors(np.eye(3) * 2.0 * unit.nanometer)
    field = app.ForceField("amber14/tip3pfb.xml")
    options = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.9 * unit.nanometer, "rigidWater": False}
    force_field = field.createSystem(made, **options)
    potential = openmmml.MLPotential("jmp-xs")
    settings = {"head": "wb97x-ani2x", "dtype": "float64"}
    mixed = potential.createMixedSystem(made, force_field, [0, 1, 2], forceGroup=7, **settings)
    state = context(mixed, pair).getState(energy=True, groups={7})
    found = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * KJ_MOL
    expected = JMPCalculator("jmp-xs", **settings).get_property("energy", pair[:3])
    assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UsageError, match="two default heads, and a periodic box"):
        potential.createMixedSystem(made, force_field, [0, 1, 2])


def test_what_cannot_be_made_is_refused() -> None:
    copper = topology(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]))
    with pytest.raises(ModelError, match="Cu"):
        openmmml.MLPotential("jmp-xs").createSystem(copper, head="b3lyp")
    with pytest.raises(UsageError, match="no argument 'charge'"):
        openmmml.MLPotential("jmp-xs").createSystem(copper, charge=1)


def test_an_error_of_the_model_stops_openmm_with_its_sentence() -> None:
    atoms = molecule("CH3CH2OH")
    made = context(openmmml.MLPotential("jmp-xs").createSystem(topology(atoms), head="b3lyp"), atoms)
    same = atoms.positions.copy()
    same[1] = same[0]
    made.setPositions(same / 10)
    with pytest.raises(Exception, match="two atoms at the same place"):
        results(made)


def test_any_file_has_a_name(tmp_path: Path) -> None:
    weights = ROOT / "jmp_calc/zoo/weights/jmp-xs-v5.safetensors"
    atoms = molecule("H2O")
    system = openmmml.MLPotential("jmp", model=weights).createSystem(topology(atoms))
    assert results(context(system, atoms))[0] == pytest.approx(
        JMPCalculator("jmp-xs").get_property("energy", atoms)
    )


def test_what_names_no_model_is_told() -> None:
    with pytest.raises(UsageError, match="'jmp' needs a model"):
        openmmml.MLPotential("jmp")
    with pytest.raises(UsageError, match="'jmp-xs' is a model already"):
        openmmml.MLPotential("jmp-xs", model="x.safetensors")


def test_every_model_of_the_registry_is_a_name_of_openmmml() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        "openmmml.potentials"
    ]
    registry = tomllib.loads((ROOT / "jmp_calc/zoo/registry.toml").read_text())
    assert set(points) == {"jmp", *registry}


@pytest.mark.slow
def test_the_example_gives_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    run_example("21_openmm.py", capsys)
