"""TorchSim on our models: its own consistency checks, and the numbers of JMPCalculator."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadStructureError, JMPWarning
from tests.example_runs import run_example
from tests.extras import reason

ts = pytest.importorskip("torch_sim", reason=reason("torchsim"))


@pytest.fixture
def model(model_path: Path):
    from jmp_calc.engines.torchsim import JMPModel

    return JMPModel(model_path, device="cpu", dtype=torch.float64)


def crystals() -> list[Atoms]:
    """Two crystals of different sizes, rattled."""
    found = [bulk("NaCl", "rocksalt", a=5.6, cubic=True), bulk("Cu") * (2, 1, 1)]
    for number, atoms in enumerate(found):
        atoms.rattle(0.1, seed=number)
    return found


def test_torchsims_own_checks_pass(model) -> None:
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_results_are_those_of_the_calculator(model, calc: JMPCalculator) -> None:
    atoms = crystals()
    results = model(ts.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64))
    expected = calc.batch(atoms)
    forces = np.concatenate([single["forces"] for single in expected])
    assert np.abs(results["forces"].numpy() - forces).max() <= 1e-9
    for number, single in enumerate(expected):
        assert float(results["energy"][number]) == pytest.approx(single["energy"], abs=1e-9)
        stress = results["stress"][number].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert np.abs(stress - single["stress"]).max() <= 1e-9


def test_torchsims_dynamics_conserve_energy(model) -> None:
    state = ts.io.atoms_to_state(crystals(), torch.device("cpu"), torch.float64)
    energies = []
    from torch_sim.integrators import nve

    init, step = nve(
        model, dt=torch.tensor(1e-3, dtype=torch.float64), kT=torch.tensor(0.02, dtype=torch.float64)
    )
    state = init(state, seed=0)
    for _ in range(40):
        state = step(state)
        kinetic = ts.calc_kinetic_energy(
            momenta=state.momenta, masses=state.masses, system_idx=state.system_idx
        )
        energies.append((state.energy + kinetic).numpy().copy())
    assert np.ptp(np.array(energies), axis=0).max() < 2e-3


def test_errors_name_the_system(model) -> None:
    atoms = crystals()
    atoms[1].positions[0, 0] = np.nan
    with pytest.raises(BadStructureError) as caught:
        model(ts.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64))
    assert caught.value.where == "system 1"


def test_slabs_that_became_molecules_warn_once_and_vacuum_keeps_them(
    model_path: Path, calc: JMPCalculator
) -> None:
    from jmp_calc.engines.torchsim import JMPModel

    fresh = JMPModel(model_path, device="cpu", dtype=torch.float64)
    slab = fcc111("Cu", (1, 1, 2), vacuum=8.0)
    slab.rattle(0.05, seed=1)
    expected = calc.batch(slab)[0]["energy"]

    def energy(atoms: Atoms) -> float:
        return float(fresh(ts.io.atoms_to_state([atoms], torch.device("cpu"), torch.float64))["energy"])

    with pytest.warns(JMPWarning, match="System 0 .* no periodic direction .* pbc=True and a vacuum"):
        assert abs(energy(slab) - expected) > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        energy(slab)
        slab.pbc = True
        assert energy(slab) == pytest.approx(expected, abs=1e-9)


def test_molecules_have_no_stress_and_do_not_warn(model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = model(ts.io.atoms_to_state([molecule("H2O")], torch.device("cpu"), torch.float64))
    assert torch.isnan(results["stress"]).all() and torch.isfinite(results["forces"]).all()
    boxed = molecule("H2O", vacuum=5.0)
    with pytest.warns(JMPWarning, match="as a molecule"):
        assert torch.isnan(
            model(ts.io.atoms_to_state([boxed], torch.device("cpu"), torch.float64))["stress"]
        ).all()


def test_the_example_of_the_module_runs(capsys: pytest.CaptureFixture[str]) -> None:
    import jmp_calc.engines.torchsim as module

    text = textwrap.dedent(str(module.__doc__))
    begin = text.index("    import torch_sim as ts")
    code = textwrap.dedent(text[begin : text.index("\nForces and stresses", begin)])
    exec(compile(code, "docstring", "exec"), {})
    assert "float64" in capsys.readouterr().out


@pytest.mark.parametrize("shift", [1e-4, -7e-5])
def test_small_changes_of_a_large_energy_are_kept(shift: float) -> None:
    """In float32 an energy of -4218 eV comes in steps of half a meV."""
    from jmp_calc.engines.torchsim import JMPModel

    network = JMPModel("jmp-xs", head="b3lyp", device="cpu", dtype=torch.float32)
    calculator = JMPCalculator("jmp-xs", head="b3lyp", device="cpu", dtype="float64")
    atoms = molecule("CH3CH2OH")
    moved = atoms.copy()
    force = calculator.get_forces(atoms)[2]
    moved.positions[2] -= shift * force / (force @ force)
    energies = []
    for single in (atoms, moved):
        result = network(ts.io.atoms_to_state([single], torch.device("cpu"), torch.float64))
        assert result["energy"].dtype == torch.float64
        assert result["forces"].dtype == torch.float32
        energies.append(float(result["energy"]))
    expected = calculator.get_potential_energy(moved) - calculator.get_potential_energy(atoms)
    assert expected == pytest.approx(shift, rel=0.02)
    assert energies[1] - energies[0] == pytest.approx(expected, abs=3e-5)


def test_an_integrator_keeps_the_precision_of_the_energy() -> None:
    from jmp_calc.engines.torchsim import JMPModel

    network = JMPModel("jmp-xs", head="b3lyp", device="cpu", dtype=torch.float32)
    state = ts.io.atoms_to_state([molecule("CH3CH2OH")], torch.device("cpu"), torch.float32)
    time_step, temperature = torch.tensor(1e-3), torch.tensor(0.02)
    from torch_sim.integrators import nve

    init, step = nve(network, dt=time_step, kT=temperature)
    state = step(init(state, seed=0))
    assert state.energy.dtype == torch.float64


@pytest.mark.slow
def test_the_example_gives_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    run_example("22_torchsim.py", capsys)
