"""One's own structures are distorted in turn, each by the kinds that apply to it."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.emt import EMT

from jmp_calc.errors import BadInputError, BadStructureError, UsageError
from jmp_calc.sampling.sample import sample
from jmp_calc.sampling.settings import STRUCTURE_SHARES


@pytest.fixture(scope="module")
def mine() -> list[Atoms]:
    return [bulk("NaCl", "rocksalt", a=5.6, cubic=True), molecule("CH3CH2OH"), graphene(vacuum=6.0)]


def test_every_structure_has_its_kinds(mine: list[Atoms]) -> None:
    found = sample(mine, count=120)
    kinds: dict[str, set[str]] = {}
    for atoms in found.frames:
        if "origin" in atoms.info:
            kinds.setdefault(atoms.info["origin"], set()).add(atoms.info["sample_kind"])
    assert kinds["structure 0"] == set(STRUCTURE_SHARES)
    assert kinds["structure 1"] == {"rattled"}
    assert kinds["structure 2"] == {"rattled", "strained"}
    assert found.kinds["isolated"] == 5 and found.distinct == 3


def test_what_was_given_stays_as_it_is(mine: list[Atoms]) -> None:
    before = [atoms.positions.copy() for atoms in mine]
    for atoms in sample(mine, count=30).frames:
        if atoms.info.get("origin") == "structure 2":
            assert not atoms.pbc[2] and np.array_equal(atoms.cell.array[2], mine[2].cell.array[2])
    assert all(map(np.array_equal, before, [atoms.positions for atoms in mine]))


def test_files_are_read_and_named(tmp_path: Path, mine: list[Atoms]) -> None:
    ase.io.write(tmp_path / "mine.extxyz", mine)
    names = {a.info.get("origin") for a in sample([tmp_path / "mine.extxyz"], count=9).frames}
    assert names == {None, "mine.extxyz@0", "mine.extxyz@1", "mine.extxyz@2"}
    with pytest.raises(BadInputError, match="No such file"):
        sample([tmp_path / "other.extxyz"], count=9)


def test_charge_and_spin_stay_with_every_kind() -> None:
    ion = bulk("Cu", cubic=True)
    ion.info |= {"charge": 1, "REF_energy": -3.0}
    ion.set_initial_magnetic_moments([1.0, -1.0, 1.0, -1.0])
    radical = molecule("OH")
    radical.info["multiplicity"] = 2
    spin = bulk("Cu", cubic=True)
    spin.info["spin"] = 1
    frames = sample([ion, radical, spin], count=90, calc=EMT(), shares={"thermal": 0.3}).frames
    made = {name: [a for a in frames if a.info.get("origin") == f"structure {name}"] for name in range(3)}
    assert {a.info["sample_kind"] for a in made[0]} == set(STRUCTURE_SHARES) | {"thermal"}
    assert all(a.info["charge"] == 1 and "REF_energy" not in a.info for a in made[0])
    assert all(set(a.get_initial_magnetic_moments()) == {1.0, -1.0} for a in made[0])
    assert made[1] and all(a.info["multiplicity"] == 2 for a in made[1])
    kinds = {a.info["sample_kind"] for a in made[2]}
    assert "vacancy" not in kinds and "strained" in kinds and all(a.info["spin"] == 1 for a in made[2])


def test_hot_structures_move_as_far_as_they_are_hot() -> None:
    copper = bulk("Cu", cubic=True)

    def far(temperature: float) -> float:
        found = sample(
            [copper], count=8, calc=EMT(), temperature=(temperature,) * 2, shares={**_NONE, "thermal": 1.0}
        )
        moved = [a.positions - copper.positions for a in found.frames if a.info["sample_kind"] == "thermal"]
        return float(np.sqrt(np.mean(np.square(moved))))

    cold, hot = far(50.0), far(800.0)
    assert 0.015 < cold < 0.1  # sqrt(kT / (m omega^2)) of copper at 50 K is 0.04 Å
    assert 2.0 < hot / cold < 8.0


_NONE = dict.fromkeys(STRUCTURE_SHARES, 0.0)


def test_one_atom_of_a_cell_is_not_rattled() -> None:
    kinds = sample([bulk("Cu")], count=40).kinds
    assert set(kinds) == {"isolated", "strained", "volume"}


@pytest.mark.parametrize(
    "given, error",
    [
        (dict(atoms=(2, 4)), UsageError),
        (dict(elements=("H",)), UsageError),
        (dict(temperature=(500.0, 100.0)), UsageError),
        (dict(shares={"thermal": 1.0}), UsageError),
    ],
)
def test_what_means_nothing_for_ones_own_structures_is_refused(given, error) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error):
        sample([molecule("H2O")], count=3, **given)


def test_structures_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(UsageError, match="No structure"):
        sample([], count=3)
    with pytest.raises(BadStructureError, match="same place"):
        sample([Atoms("H2", np.zeros((2, 3)))], count=3)
