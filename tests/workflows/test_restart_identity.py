"""A restart belongs to one potential: every setting of a JMP model that changes its energies tells two
apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule

from jmp_calc import JMPCalculator
from jmp_calc.errors import UsageError
from jmp_calc.workflows.common import model_fingerprint
from jmp_calc.workflows.md import md
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
