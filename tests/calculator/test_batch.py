"""calc.batch: the numbers of single calls for mixed structures in any order, whatever the batches are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadStructureError, OutOfMemoryError, UsageError


def mixed() -> list[Atoms]:
    """Molecules, a lone atom, crystals down to one atom, a slab."""
    found = [
        molecule("CH3CH2OH"),
        Atoms("O"),
        bulk("Cu"),
        bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1),
        molecule("C6H6"),
        fcc111("Cu", (1, 1, 2), vacuum=5.0),
        molecule("H2O"),
    ]
    for number, atoms in enumerate(found):
        atoms.rattle(0.05, seed=number)
    return found


@pytest.mark.capability("B9")
def test_batch_equals_single_calls_in_any_order(calc: JMPCalculator) -> None:
    structures = mixed()
    single = []
    for atoms in structures:
        calc.calculate(atoms, ["energy", "forces"])
        single.append(dict(calc.results))
    order = [4, 0, 6, 2, 5, 1, 3]
    together = calc.batch([structures[i] for i in order])
    for found, number in zip(together, order):
        assert found.keys() == single[number].keys()  # stress where the cell has one
        for name, expected in single[number].items():
            assert np.abs(found[name] - expected).max() <= 1e-9, (number, name)


def test_small_batches_give_the_same(calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = mixed()
    whole = calc.batch(structures)
    monkeypatch.setattr("jmp_calc.inference.batching.CPU_BYTES", 1.0)
    monkeypatch.setattr("jmp_calc.inference.batching.WINDOW", 3)
    for found, expected in zip(calc.batch(structures), whole):
        assert np.abs(found["forces"] - expected["forces"]).max() <= 1e-9


@pytest.mark.capability("B10")
def test_batches_that_do_not_fit_are_halved(calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    structures, sizes = mixed(), []
    whole = calc.batch(structures)
    predict = calc.evaluator.predict

    def short_of_memory(graphs, **options):
        sizes.append(len(graphs))
        if len(graphs) > 2:
            raise torch.OutOfMemoryError
        return predict(graphs, **options)

    monkeypatch.setattr(calc.evaluator, "predict", short_of_memory)
    for found, expected in zip(calc.batch(structures), whole):
        assert np.abs(found["forces"] - expected["forces"]).max() <= 1e-9
    assert sizes[0] == 7 and max(size for size in sizes if size <= 2) == 2


def test_one_structure_that_does_not_fit_is_an_error(
    calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(calc.evaluator, "predict", no_memory)
    with pytest.raises(OutOfMemoryError, match="9 atoms"):
        calc.batch([molecule("CH3CH2OH")])


def test_cache_and_structures_stay_as_they_are(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calc
    forces, before = ethanol.get_forces(), calc.results
    positions = ethanol.positions.copy()
    calc.batch(mixed())
    assert calc.results is before
    assert np.array_equal(ethanol.get_forces(), forces) and np.array_equal(ethanol.positions, positions)


def test_errors_name_the_structure(calc: JMPCalculator) -> None:
    bad = molecule("H2O")
    bad.positions[0, 0] = np.nan
    with pytest.raises(BadStructureError) as caught:
        calc.batch([molecule("H2O"), bad])
    assert caught.value.where == "structure 1"
    with pytest.raises(PropertyNotImplementedError, match="structure 1: "):
        calc.batch([bulk("Cu"), molecule("H2O")], ["stress"])


def test_one_structure_or_an_iterator_does_as_well(calc: JMPCalculator) -> None:
    expected = calc.batch([molecule("H2O")])[0]["energy"]
    assert [found["energy"] for found in calc.batch(molecule("H2O"))] == [expected]
    assert [found["energy"] for found in calc.batch(iter([molecule("H2O")]))] == [expected]
    assert len(calc.descriptors(iter([molecule("H2O")])).formulas) == 1
    for method in (calc.batch, calc.descriptors):
        with pytest.raises(UsageError, match="Structure 1 is of type str, not an ASE Atoms"):
            method([molecule("H2O"), "H2O"])


def test_names_of_properties_are_checked_as_for_one_structure(calc: JMPCalculator) -> None:
    for name in ("dipole", "force"):
        with pytest.raises(
            PropertyNotImplementedError, match=f"{name} is not implemented by JMPCalculator; available: "
        ):
            calc.batch([molecule("H2O")], [name])
    with pytest.raises(UsageError, match=r"list of names.*write \['forces'\]"):
        calc.batch([molecule("H2O")], "forces")


def test_nothing_gives_nothing(calc: JMPCalculator) -> None:
    assert calc.batch([]) == []


def test_a_structure_beyond_the_memory_is_refused_before_it_is_evaluated(
    calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.inference.evaluator.free_memory", lambda device: 2**20)
    with pytest.raises(OutOfMemoryError, match="is free") as caught:
        calc.batch([molecule("H2O"), bulk("Cu", cubic=True) * (5, 5, 5)])
    assert caught.value.where == "structure 1"
