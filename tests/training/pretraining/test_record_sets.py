"""Sets that are read from records: what is trained on of them, what is refused, what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator

from jmp_calc.errors import UsageError
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.pretraining.filters import not_looked_through
from jmp_calc.training.pretraining.mixture import Mixture, MixtureHead, MixtureSet, mixture_of
from jmp_calc.training.pretraining.recipe import load_recipe
from jmp_calc.training.pretraining.record_sets import record_set
from jmp_calc.training.records.preprocess import FileInputs, preprocess
from tests.training.helpers.mixture_data import write_mixture
from tests.training.helpers.tiny import emt_file


def test_records_of_a_held_out_file_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    recipe = load_recipe(write_mixture(tmp_path))
    held = tmp_path / "bpa3_train.xyz"
    held.write_bytes((tmp_path / "molecules.xyz").read_bytes())
    preprocess(FileInputs((held,)), tmp_path / "records", say=lambda text: None)
    item = replace(recipe.mixture.sets[0], files=(), records="records")
    with pytest.raises(UsageError, match="held out"):
        record_set(item, tmp_path, recipe.mixture)


def test_records_are_trained_on_with_the_labels_that_their_set_wants(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")

    data = emt_file(tmp_path / "copper.xyz", 12)  # of the groups Cu and CuAl
    preprocess(FileInputs((data,)), tmp_path / "records", say=lambda text: None)
    heads = (MixtureHead("h", "EMT"),)
    whole = MixtureSet("s", "h", records="records")
    without = replace(whole, energy=False, not_stress_groups=("CuAl",))
    for item in (whole, without, replace(whole, stress=False)):
        found = record_set(item, tmp_path, Mixture("m", (item,), heads, "h"))
        frames = [*found.train, *found.valid]
        assert len(frames) == 12 and all(frame.forces is not None for frame in frames)
        assert all((frame.energy is not None) == item.energy for frame in frames)
        assert bool(found.references) == item.energy
        assert all((frame.stress is not None) == item.wants_stress(frame.group) for frame in frames)


def test_of_records_it_is_said_how_many_frames_hold_what_is_held_out() -> None:
    recipe = load_recipe("pretrain-jmp-s")
    item = next(item for item in recipe.mixture.sets if item.records)
    frames = []
    for name in ("CH3CH2OH", "C6H6", "CH3CH2OH", "H2O"):
        atoms = ase_molecule(name)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
        frames.append(atoms)
    said = not_looked_through(item, read_labelled(frames).frames, recipe.mixture)
    assert repr(item.name) in said and "3 of 4 frames hold such molecules" in said


def test_a_set_needs_files_or_records_and_not_both() -> None:
    content = {"mixture": {"name": "m", "default_head": "h"}, "heads": {"h": {"level_of_theory": "none"}}}
    for entry in ({"head": "h"}, {"head": "h", "files": ["a.xyz"], "records": "a"}):
        with pytest.raises(UsageError, match="either files, records or made"):
            mixture_of({**content, "sets": {"s": entry}})
