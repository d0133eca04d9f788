"""What compiled programs are compared on."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator


def crystal() -> Atoms:
    """One element: the number of lone atoms is 1."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def structures() -> list[Atoms]:
    water = molecule("H2O", vacuum=2.0, pbc=(True, False, True))
    salt = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    salt.rattle(0.05, seed=2)
    return [molecule("CH3CH2OH"), water, salt, crystal()]


def assert_equal(found: JMPCalculator, expected: JMPCalculator, tolerance: float, atoms: Atoms) -> None:
    properties = ["energy", "forces"]
    if atoms.pbc.all() and expected.parameters["forces"] == "conservative":
        properties.append("stress")
    for calculator in (found, expected):
        calculator.calculate(atoms, properties)
    assert found.results.keys() == expected.results.keys()
    for name, value in expected.results.items():
        np.testing.assert_allclose(
            found.results[name], value, rtol=0, atol=tolerance, err_msg=f"{name} of {atoms}"
        )
