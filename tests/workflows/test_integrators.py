"""The private fields of ASE's integrators that restarts and degrees of freedom need are what they were."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, MaskedMTKNPT

from jmp_calc.workflows.integrators import Integrator
from jmp_calc.workflows.md_settings import THERMOSTATS, MDSettings
from tests.workflows.conftest import morse

METHODS = {
    "nve": {"ensemble": "nve"},
    **{name: {"ensemble": "nvt", "thermostat": name} for name in THERMOSTATS},
    **{name: {"ensemble": "npt", "cell": name} for name in ("volume", "full", "lengths", "c", "ab")},
}


def integrator(atoms: Atoms, method: str = "volume") -> Integrator:
    momenta = np.random.default_rng(1).standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    settings = MDSettings(**METHODS[method]).resolved()
    return Integrator(atoms, settings, np.random.default_rng(2), 3 * len(atoms) - 3)


def changing(run: Integrator) -> dict[str, bytes]:
    """Every number of ASE's objects."""
    parts = {part: getattr(run._dynamics, part, None) for part in ("_thermostat", "_barostat")}
    return {
        f"{part}{name}": np.array(value).tobytes()
        for part, thing in {"": run._dynamics, **{f"{k}.": v for k, v in parts.items()}}.items()
        for name, value in ({} if thing is None else vars(thing)).items()
        if isinstance(value, int | float | np.ndarray)
    }


@pytest.mark.parametrize("method", METHODS)
def test_there_is_no_state_beside_the_fields_that_are_saved(copper: Atoms, method: str) -> None:
    """Every number that a step changes is saved, and every number that is saved changes or is a reference."""
    run = integrator(copper, method)
    before = changing(run)
    for _ in range(3):
        run.step()
    after = changing(run)
    changed = {name for name in after if after[name] != before.get(name)} - {"nsteps"}
    saved = set(run._inner)
    # what a step draws or computes anew before it uses it, and what is watched alone
    assert changed - saved <= {"rnd_pos", "rnd_vel", "v", "last_volume"}
    assert saved - changed <= {"_volume0", "_cell0", "_h0_basis"}


@pytest.mark.parametrize("method", METHODS)
def test_saved_fields_keep_their_names_in_restart_files(copper: Atoms, method: str) -> None:
    names = set(integrator(copper, method).state()) - {"rng"}
    chain = {"eta", "p_eta"}
    known = {
        "nve": set(), "langevin": set(), "baoab": {"accel"}, "bussi": {"transferred_energy"},
        "nose-hoover": {"_q", "_p"} | chain,
        "volume": {"_eps", "_p_eps", "_volume0", "_q", "_p", "_cell0", "xi", "p_xi"} | chain,
        "full": {"_q", "_p", "_h", "_p_g", "xi", "p_xi"} | chain,
    }  # fmt: skip
    assert names == known.get(method, {"_q", "_p", "_h", "_p_c", "_h0_basis", "xi", "p_xi"} | chain)


@pytest.mark.parametrize("kind", [IsotropicMTKNPT, MTKNPT, MaskedMTKNPT])
@pytest.mark.parametrize("name", ["_get_forces", "_update_atoms"])
def test_a_method_of_the_barostat_is_overridden_or_called(kind: type, name: str) -> None:
    assert list(inspect.signature(getattr(kind, name)).parameters) == ["self"]


@pytest.mark.parametrize("method", ["volume", "full", "c"])
def test_stress_and_forces_are_one_evaluation(copper: Atoms, method: str) -> None:
    run = integrator(copper, method)
    run.step()
    calls = []
    real = copper.calc.calculate

    def counted(*args: object, **kwargs: object) -> None:
        calls.append(args)
        real(*args, **kwargs)

    copper.calc.calculate = counted
    run.step()
    assert len(calls) <= 2


@pytest.mark.parametrize("method", ["nose-hoover", "volume", "full", "c"])
def test_the_thermostat_counts_one_atom_less(copper: Atoms, method: str) -> None:
    assert integrator(copper, method)._dynamics._thermostat._num_atoms_global == len(copper) - 1


def test_the_barostat_counts_the_strains_that_are_free(copper: Atoms) -> None:
    free = {
        method: integrator(copper, method)._dynamics._barostat._cell_dof for method in ("full", "ab", "c")
    }
    assert free == {"full": 6, "ab": 2, "c": 1}


@pytest.mark.parametrize("method", METHODS)
def test_state_and_restore_are_exact(copper: Atoms, method: str) -> None:
    run = integrator(copper, method)
    for _ in range(3):
        run.step()
    atoms = copper.copy()
    atoms.calc = morse()
    again = Integrator(atoms, run.settings, np.random.default_rng(99), run.dof)
    again.restore(run.state())
    assert run.conserved_energy() == again.conserved_energy()
    for _ in range(3):
        run.step()
        again.step()
    assert np.array_equal(copper.positions, atoms.positions)
    assert np.array_equal(copper.get_momenta(), atoms.get_momenta())
    assert np.array_equal(copper.cell.array, atoms.cell.array)


def test_langevin_takes_its_random_numbers_from_our_generator(copper: Atoms) -> None:
    run = integrator(copper, "langevin")
    before = run.rng.bit_generator.state
    run.step()
    assert run.rng.bit_generator.state != before
    assert run._dynamics.fr == pytest.approx(5.0 / (1000 * units.fs))
