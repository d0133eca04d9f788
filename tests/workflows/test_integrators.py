"""The private fields of ASE's integrators that restarts and degrees of freedom need are what they were."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.nose_hoover_chain import IsotropicMTKNPT

from jmp_calc.workflows.integrators import Integrator
from jmp_calc.workflows.md_settings import MDSettings


def integrator(atoms: Atoms, ensemble: str = "npt") -> Integrator:
    atoms.set_momenta(np.random.default_rng(1).standard_normal((len(atoms), 3)))
    return Integrator(atoms, MDSettings(ensemble=ensemble).resolved(), np.random.default_rng(2))


FIELDS = {
    "_eps": (), "_p_eps": (), "_volume0": (), "_q": (8, 3), "_p": (8, 3), "_cell0": (3, 3),
}  # fmt: skip
CHAINS = {"_thermostat": ("_eta", "_p_eta"), "_barostat": ("_xi", "_p_xi")}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_barostat_exists_has_its_shape_and_changes(copper: Atoms, name: str) -> None:
    run = integrator(copper)
    before = np.array(getattr(run._dynamics, name))
    assert before.shape == FIELDS[name]
    for _ in range(3):
        run.step()
    constant = name in ("_volume0", "_cell0")  # references
    assert np.array_equal(before, getattr(run._dynamics, name)) is constant


@pytest.mark.parametrize("chain, name", [(chain, name) for chain in CHAINS for name in CHAINS[chain]])
def test_a_field_of_a_chain_exists_and_changes_in_place(copper: Atoms, chain: str, name: str) -> None:
    run = integrator(copper)
    array = getattr(getattr(run._dynamics, chain), name)
    assert array.ndim == 1
    assert not array.any()
    run.step()
    assert array.any()


def test_there_is_no_state_beside_the_fields_that_are_saved(copper: Atoms) -> None:
    """Every number that a step changes is saved, or follows from what is saved."""
    run = integrator(copper)

    def changing() -> dict[str, bytes]:
        parts = {"": run._dynamics, **{chain: getattr(run._dynamics, chain) for chain in CHAINS}}
        return {
            f"{part}.{name}": np.array(value).tobytes()
            for part, thing in parts.items()
            for name, value in vars(thing).items()
            if isinstance(value, int | float | np.ndarray)
        }

    before = changing()
    run.step()
    after = changing()
    changed = {name for name in after if after[name] != before.get(name)}
    saved = {f".{name}" for name in FIELDS} | {f"{c}.{name}" for c in CHAINS for name in CHAINS[c]}
    assert changed <= saved | {".nsteps"}


@pytest.mark.parametrize("name", ["_get_forces", "_update_atoms"])
def test_a_method_of_the_barostat_is_overridden_or_called(name: str) -> None:
    assert list(inspect.signature(getattr(IsotropicMTKNPT, name)).parameters) == ["self"]


def test_stress_and_forces_are_one_evaluation(copper: Atoms) -> None:
    run = integrator(copper)
    run.step()
    calls = []
    real = copper.calc.calculate

    def counted(*args: object, **kwargs: object) -> None:
        calls.append(args)
        real(*args, **kwargs)

    copper.calc.calculate = counted
    run.step()
    assert len(calls) <= 2


def test_the_thermostat_counts_one_atom_less(copper: Atoms) -> None:
    assert integrator(copper)._dynamics._thermostat._num_atoms_global == len(copper) - 1


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_state_and_restore_are_exact(copper: Atoms, ensemble: str) -> None:
    run = integrator(copper, ensemble)
    for _ in range(3):
        run.step()
    atoms = copper.copy()
    atoms.calc = copper.calc
    again = Integrator(atoms, run.settings, np.random.default_rng(99))
    again.restore(run.state())
    assert run.conserved_energy() == again.conserved_energy()
    for _ in range(3):
        run.step()
        again.step()
    assert np.array_equal(copper.positions, atoms.positions)
    assert np.array_equal(copper.get_momenta(), atoms.get_momenta())


def test_langevin_takes_its_random_numbers_from_our_generator(copper: Atoms) -> None:
    run = integrator(copper, "nvt")
    before = run.rng.bit_generator.state
    run.step()
    assert run.rng.bit_generator.state != before
    assert run._dynamics.fr == pytest.approx(5.0 / (1000 * units.fs))
