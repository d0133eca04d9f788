"""Charged, open-shell and disordered frames are no neutral singlets, whatever their file calls it: never
trained on without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from jmp_calc.errors import BadInputError
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.screen import Screen
from jmp_calc.training.data.stream import LabelOptions, stream_labelled


def labelled(path: Path, *infos: dict, name: str = "CH3OH") -> Path:
    frames = []
    for info in infos:
        atoms = molecule(name)
        atoms.info.update(info)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
        frames.append(atoms)
    write(path, frames)
    return path


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
@pytest.mark.parametrize(
    "info",
    [
        {"charge": 1},
        {"Charge": -1.0},
        {"total_charge": 2},
        {"totalCharge": "1"},
        {"net-charge": "+1"},
        {"spin": 2},
        {"total_spin": 1},
        {"multiplicity": 3},
        {"spin_multiplicity": 2},
        {"SpinMultiplicity": np.array([2])},
        {"charge": float("nan")},
        {"charge": "plus one"},
    ],
    ids=str,
)
def test_other_states_are_refused_with_frame_and_key(tmp_path: Path, info: dict, suffix: str) -> None:
    path = labelled(tmp_path / f"a.{suffix}", {}, info)
    with pytest.raises(BadInputError, match=f"key '{next(iter(info))}'") as error:
        read_labelled(path)
    assert "frame 1" in str(error.value.where) and "--allow not_neutral" in str(error.value.hint)
    found = read_labelled(path, other_states=True)
    assert len(found.frames) == 2 and any("1 frames is not read" in message for message in found.messages)


@pytest.mark.parametrize(
    "info",
    [
        {"charge": 0},
        {"charge": 0.0, "spin": 1},
        {"spin": 0},
        {"multiplicity": 1},
        {"charge": "0"},
        {"charge": None},
    ],
    ids=str,
)
def test_neutral_singlets_are_taken(tmp_path: Path, info: dict) -> None:
    assert len(read_labelled(labelled(tmp_path / "a.traj", info)).frames) == 1


def test_a_spin_of_one_is_a_singlet_only_with_an_even_number_of_electrons(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="key 'spin'"):
        read_labelled(labelled(tmp_path / "a.traj", {"spin": 1}, name="CH3"))


def test_isolated_atoms_have_the_spin_they_have(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.extxyz", {"multiplicity": 2, "config_type": "IsolatedAtom"}, name="H")
    write(path, molecule("CH3OH"), append=True)
    assert read_labelled(path, require=()).isolated == {1: -1.0}


@pytest.mark.parametrize("info", [{}, {"config_type": "IsolatedAtom"}], ids=str)
def test_an_ion_is_no_reference_of_the_neutral_atom(tmp_path: Path, info: dict) -> None:
    path = labelled(tmp_path / "a.extxyz", {"charge": 1, "multiplicity": 1, **info}, name="H")
    write(path, molecule("CH3OH"), append=True)
    with pytest.raises(BadInputError, match="key 'charge'"):
        read_labelled(path, require=())
    found = read_labelled(path, require=(), other_states=True)
    assert not found.isolated and len(found.frames) == 1
    assert any("Single ions" in message and "frames 0" in message for message in found.messages)
    with pytest.raises(BadInputError, match="key 'charge'"):
        list(stream_labelled(path, LabelOptions(), Screen("fail")))


def test_streams_refuse_or_count_them(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.extxyz", {}, {"charge": 1}, {})
    with pytest.raises(BadInputError, match="key 'charge'"):
        list(stream_labelled(path, LabelOptions(), Screen("fail")))
    screen = Screen("skip")
    assert len(list(stream_labelled(path, LabelOptions(), screen))) == 2
    assert screen.counts == {"charge or spin": 1}


@pytest.mark.parametrize(
    "header",
    ["occupancy=0.5", 'occupancy="_JSON {\\"0\\": {\\"Fe\\": 0.5, \\"Ni\\": 0.5}}"', 'occupancies="1 0.5"'],
)
def test_disordered_structures_are_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3 energy=1 {header}\nFe 0 0 0\nFe 0 0 2.4\n")
    with pytest.raises(BadInputError, match="disordered") as error:
        read_labelled(path, require=())
    assert "frame 0" in str(error.value.where)
