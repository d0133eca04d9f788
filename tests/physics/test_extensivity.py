"""Energies add up: supercells, far fragments, isolated atoms."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tests.physics.models import Model
from tests.physics.structures import DISORDERED, SPECIAL, rattled

CELLS = {
    "one copper atom": lambda: bulk("Cu"),
    "two silicon atoms": lambda: rattled(bulk("Si"), 0.1),
    "triclinic": DISORDERED["triclinic"],
    "periodic chain": SPECIAL["periodic chain"],
}


@pytest.mark.capability("B15")
@pytest.mark.parametrize("name", CELLS)
def test_supercells(own_model: Model, name: str) -> None:
    cell = CELLS[name]()
    repeats = [3 if periodic else 1 for periodic in cell.pbc]
    repeats[-1] = min(repeats[-1], 2)
    small, large = own_model.predict([cell]), own_model.predict([cell.repeat(repeats)])
    copies = int(np.prod(repeats))
    assert small.forces is not None
    assert large.forces is not None
    assert abs(large.energy.item() - copies * small.energy.item()) <= 1e-9 * copies * len(cell)
    assert np.abs(large.forces.numpy() - np.tile(small.forces.numpy(), (copies, 1))).max() <= 1e-9


def test_far_fragments(own_model: Model) -> None:
    fragments = [DISORDERED["ethanol"](), molecule("CO2"), Atoms("Si")]
    together, alone = Atoms(), 0.0
    for number, fragment in enumerate(fragments):
        alone += own_model.energy(fragment)
        fragment.translate([0.0, 0.0, 40.0 * number])
        together += fragment
    assert abs(own_model.energy(together) - alone) <= 1e-9 * len(together)


def test_batches_are_sums_of_structures(own_model: Model) -> None:
    structures = [make() for make in DISORDERED.values()] + [Atoms("O")]
    together = own_model.energies(structures)
    alone = [own_model.energy(structure) for structure in structures]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-9)


def test_isolated_atoms_have_their_reference_energy(own_model: Model) -> None:
    head = own_model.potential.config.head(own_model.head)
    numbers = [z for z in (1, 6, 8, 14, 29) if z in head.references]
    energies = own_model.energies([Atoms([z], [[0.3, -0.2, 5.0]]) for z in numbers])
    np.testing.assert_allclose(energies, [head.references[z] for z in numbers], rtol=0, atol=1e-12)
    boxed = Atoms([numbers[0]], cell=np.eye(3) * 30.0, pbc=True)
    assert own_model.energy(boxed) == pytest.approx(head.references[numbers[0]], abs=1e-12)
    assert np.abs(own_model.forces(boxed)).max() == 0.0
