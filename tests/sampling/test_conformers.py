"""Force fields of single molecules."""

from __future__ import annotations

import numpy as np

from jmp_calc.sampling.draws import generator
from jmp_calc.units import KCAL_MOL
from tests.sampling.conftest import NEEDS_RDKIT

pytestmark = NEEDS_RDKIT


def test_forces_are_slopes_of_the_energy_at_positions_that_change() -> None:
    from rdkit import Chem

    from jmp_calc.sampling.conformers import ForceField, embedded, positions_of

    rng = generator(0, 0)
    molecule = embedded(rng, Chem.MolFromSmiles("CCO"))
    assert molecule is not None
    field = ForceField(molecule, positions_of(molecule))
    start, step = field.relax(), 1e-4
    for _ in range(3):
        x = start + 0.05 * rng.normal(size=start.shape)
        forces = field._forces(x)
        up, down = x.copy(), x.copy()
        up[4, 1] += step
        down[4, 1] -= step
        slope = field._field.CalcEnergy(up.ravel().tolist()) - field._field.CalcEnergy(down.ravel().tolist())
        assert np.isclose(forces[4, 1], -slope / (2 * step) * KCAL_MOL, atol=1e-4)


def test_a_hot_molecule_stays_one() -> None:
    from rdkit import Chem

    from jmp_calc.bonding import molecule_names
    from jmp_calc.sampling.conformers import ForceField, embedded, numbers_of, positions_of

    rng = generator(1, 0)
    molecule = embedded(rng, Chem.MolFromSmiles("c1ccccc1C(=O)N"))
    assert molecule is not None
    field, numbers = ForceField(molecule, positions_of(molecule)), numbers_of(molecule)
    cold, hot = field.relax(), field.heat(rng, 300.0, 200)
    cell, open_ = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    assert molecule_names(numbers, hot, cell, open_) == molecule_names(numbers, cold, cell, open_)
