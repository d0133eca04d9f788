"""Which structures of a pool are picked for labelling."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from jmp_calc.errors import BadInputError, BadStructureError, UsageError
from jmp_calc.sampling.select import select


class Known(Calculator):
    """As uncertain per atom as the bond is long, with the place of the first atom as descriptor; refuses
    helium."""

    implemented_properties = ["energy", "energy_std"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if "He" in self.atoms.symbols:
            raise BadStructureError("No helium.")
        std = len(self.atoms) * 1e-3 * self.atoms.get_distance(0, 1)
        self.results = {"energy": 0.0, "energy_std": std}

    def descriptors(self, structures) -> SimpleNamespace:
        for atoms in structures:
            if "He" in atoms.symbols:
                raise BadStructureError("No helium.")
        places = np.array([atoms.positions[0] for atoms in structures])
        return SimpleNamespace(of=lambda number: np.tile(places[number], (2, 1)))


class WithoutDescriptors(Known):
    descriptors = None


def pair(length: float, place: float = 0.0, symbols: str = "H2") -> Atoms:
    return Atoms(symbols, positions=[[place, 0, 0], [place + length, 0, 0]])


def test_the_most_uncertain_comes_first() -> None:
    found = select([pair(1.0), pair(3.0), pair(2.0)], calc=WithoutDescriptors(), n=2)
    assert found.picked == (1, 2)
    assert np.allclose(found.std_mev, [1.0, 3.0, 2.0])
    assert [atoms.info["select_rank"] for atoms in found.frames] == [0, 1]


@pytest.mark.parametrize("limit", [None, 10.0])
def test_what_is_uncertain_without_a_number_is_left_out(limit: float | None) -> None:
    class Lost(WithoutDescriptors):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            if self.atoms.get_distance(0, 1) > 2.5:
                self.results["energy_std"] = float("nan")

    found = select([pair(1.0), pair(3.0), pair(2.0)], calc=Lost(), n=3, max_uncertainty_mev=limit)
    assert sorted(found.picked) == [0, 2]
    assert found.left_out[1] == "its uncertainty is not finite"


def test_structures_unlike_each_other_are_picked() -> None:
    pool = [pair(3.0, 0.0), pair(2.9, 0.01), pair(2.0, 10.0), pair(2.0, 5.0)]
    found = select(pool, calc=Known(), n=2)
    assert len({0, 1} & set(found.picked)) == 1 and 2 in found.picked
    assert (np.diff(found.left) < 0).all() and found.to_dict()["variance_left"] == round(found.left[-1], 4)


def test_of_copies_the_first_is_picked() -> None:
    pool = [pair(3.0), pair(3.0), pair(1.0, 4.0), pair(3.0)]
    found = select(pool, calc=Known(), n=4)
    assert set(found.picked) == {0, 2}
    assert found.left_out == {1: "it is a copy of structure 0", 3: "it is a copy of structure 0"}


def test_one_structure_is_a_pool_and_a_text_is_none() -> None:
    assert select(pair(1.0), calc=Known(), n=1).picked == (0,)
    assert select(iter([pair(1.0)]), calc=Known(), n=1).picked == (0,)
    with pytest.raises(UsageError, match="pool must be ASE Atoms"):
        select("pool.xyz", calc=Known())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="calc must be a calculator"):
        select([pair(1.0)], calc="jmp-xs")  # type: ignore[arg-type]


def test_what_is_near_known_structures_is_not_picked() -> None:
    pool = [pair(3.0, 0.0), pair(1.0, 5.0)]
    assert select(pool, calc=Known(), n=1, known=[pair(1.0, 0.1)]).picked == (1,)
    assert select(pool, calc=Known(), n=1, known=[pair(1.0, 5.1)]).picked == (0,)


def test_copies_of_known_structures_are_left_out() -> None:
    pool = [pair(3.0, 0.5), pair(1.0, 5.0)]
    found = select(pool, calc=Known(), n=2, known=[pair(7.0, 0.5)])
    assert found.picked == (1,)
    assert found.left_out == {0: "it is among those known"}


def test_wrecks_and_what_cannot_be_computed_are_left_out_with_the_reason() -> None:
    pool = [pair(900.0), pair(1.0, symbols="He2"), pair(2.0)]
    found = select(pool, calc=Known(), n=5, max_uncertainty_mev=500.0)
    assert found.picked == (2,)
    assert "beyond the limit" in found.left_out[0] and found.left_out[1] == "No helium."
    assert np.isnan(found.std_mev[1])
    assert found.to_dict()["n_left_out"] == 2
    with pytest.raises(BadInputError, match="can be selected"):
        select(pool[1:2], calc=Known())


def test_a_calculator_must_be_uncertain() -> None:
    with pytest.raises(UsageError, match="gives no energy_std"):
        select([pair(1.0)], calc=EMT())
    with pytest.raises(UsageError, match="at least 1"):
        select([pair(1.0)], calc=Known(), n=0)
