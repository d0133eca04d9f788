"""A restart, and what a run has kept, belong to one potential: every setting of a JMP model that changes its
energies tells two apart, and the parameters of other calculators."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import MixedCalculator, SumCalculator

from jmp_calc import JMPCalculator, elastic
from jmp_calc.errors import UsageError
from jmp_calc.workflows.md import md
from jmp_calc.workflows.potentials import model_fingerprint, potential
from jmp_calc.workflows.restart import MDState


def water(model_path: Path, **settings: object) -> Atoms:
    atoms = molecule("H2O")
    atoms.calc = JMPCalculator(model_path, device="cpu", **settings)
    return atoms


def test_a_restart_with_other_graphs_is_refused(official_path: Path) -> None:
    state = md(water(official_path, graph="smooth"), steps=1, timestep_fs=0.1, guard=False).state
    with pytest.raises(UsageError, match="model was 'graphs.cutoff=5.0.*, now 'graphs.cutoff=4.5") as caught:
        md(
            water(official_path, graph="smooth", cutoff=4.5),
            steps=2,
            timestep_fs=0.1,
            guard=False,
            restart=state,
        )
    assert "dtype" not in str(caught.value)  # what is the same is not named
    again = md(water(official_path, graph="smooth"), steps=2, timestep_fs=0.1, guard=False, restart=state)
    assert again.n_steps == 2


def test_older_restart_files_without_graphs_are_accepted(model_path: Path, tmp_path: Path) -> None:
    state = md(water(model_path), steps=1, timestep_fs=0.1, guard=False).state
    older = dataclasses.replace(state, model=state.model.partition(" weights=")[0], degrees_of_freedom=None)
    older.save(tmp_path / "restart.npz")
    older = MDState.load(tmp_path / "restart.npz")
    assert md(water(model_path), steps=2, timestep_fs=0.1, guard=False, restart=older).n_steps == 2
    with pytest.raises(UsageError, match="dtype=float32"):
        md(water(model_path, dtype="float64"), steps=2, timestep_fs=0.1, guard=False, restart=older)


def test_tags_count_where_the_model_reads_them(official_path: Path) -> None:
    for settings, same in (({}, True), ({"tags": "atoms", "graph": "official"}, False)):
        plain, tagged = water(official_path, **settings), water(official_path, **settings)
        tagged.set_tags([2, 1, 0])
        assert (model_fingerprint(plain) == model_fingerprint(tagged)) is same


def argon(**parameters: float) -> Atoms:
    atoms = bulk("Ar", a=5.25, cubic=True)
    atoms.calc = LennardJones(sigma=3.4, **parameters)
    return atoms


def test_other_parameters_of_a_calculator_are_another_potential(tmp_path: Path) -> None:
    weak, strong = {"epsilon": 0.0104}, {"epsilon": 0.05}
    elastic(argon(**weak), ions="clamped", out=tmp_path)
    elastic(argon(**weak), ions="clamped", out=tmp_path, resume=True)
    with pytest.raises(UsageError, match="another"):
        elastic(argon(**strong), ions="clamped", out=tmp_path, resume=True)
    run = {"ensemble": "nve", "temperature_k": 10, "timestep_fs": 1.0}
    state = md(argon(**weak), steps=1, **run).state
    assert md(argon(**weak), steps=2, restart=state, **run).n_steps == 2
    with pytest.raises(UsageError, match="model was 'epsilon=0.0104', now 'epsilon=0.05'"):
        md(argon(**strong), steps=2, restart=state, **run)


@pytest.mark.parametrize(
    "one, other",
    [
        (SumCalculator([EMT(), LennardJones(sigma=1.0)]), SumCalculator([EMT(), LennardJones(sigma=1.3)])),
        (MixedCalculator(EMT(), LennardJones(), 0.5, 0.5), MixedCalculator(EMT(), LennardJones(), 0.4, 0.6)),
        (LennardJones(cell=np.arange(3)), LennardJones(cell=np.arange(1, 4))),
        (LennardJones(cell=np.arange(99)), LennardJones(cell=np.arange(1, 100))),
        (LennardJones(data={"ecut": [1, 2]}), LennardJones(data={"ecut": [1, 3]})),
    ],
    ids=["parts", "weights", "array", "long array", "nested"],
)
def test_parts_and_nested_parameters_identify_a_calculator(one: object, other: object) -> None:
    assert potential(one) != potential(other)
    assert potential(one) == json.loads(json.dumps(potential(one)))


def test_where_a_calculator_writes_and_what_has_no_words_are_the_same_potential() -> None:
    one, other = LennardJones(txt="a.txt", unit=object()), LennardJones(txt="b.txt", unit=object())
    assert potential(one) == potential(other)
