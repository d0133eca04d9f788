"""Infrared intensities: point charges on springs, for which they are known, and what light does not see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from jmp_calc import vib
from jmp_calc.errors import BadInputError, JMPWarning, UsageError

STIFFNESS = 30.0
CHARGE = 0.4


class Springs(Calculator):
    """Springs between all pairs of atoms at rest in the given structure, and a point charge on each atom."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "dipole"]

    def __init__(self, rest: Atoms, charges: Sequence[float]) -> None:
        super().__init__()
        self.rest, self.charges = rest.get_all_distances(), np.array(charges)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        super().calculate(atoms, properties, system_changes)
        places = self.atoms.positions
        arms = places[:, None] - places[None]
        length = np.linalg.norm(arms, axis=2) + np.eye(len(places))
        stretch = (length - np.eye(len(places))) - self.rest
        np.fill_diagonal(stretch, 0.0)
        self.results = {
            "energy": float(0.25 * STIFFNESS * (stretch**2).sum()),
            "forces": -STIFFNESS * (stretch[:, :, None] * arms / length[:, :, None]).sum(axis=1),
            "dipole": self.charges @ places,
        }


@pytest.mark.capability("C18")
def test_two_point_charges_on_a_spring_have_the_known_intensity() -> None:
    """dμ/dQ = q/√μ for the stretch; 42.2561 km/mol for 1 (D/Å)²/amu, and 1 D is 0.20819 e Å."""
    atoms = Atoms("HF", [[0, 0, 0], [0, 0, 0.92]])
    atoms.calc = Springs(atoms, [CHARGE, -CHARGE])
    result = vib(atoms)
    mass = atoms.get_masses().prod() / atoms.get_masses().sum()
    assert result.frequencies_cm1 == pytest.approx([521.4709 * np.sqrt(STIFFNESS / mass)], rel=1e-4)
    expected = 42.2561 * (CHARGE / 0.2081943) ** 2 / mass
    assert result.infrared_km_per_mol == pytest.approx([expected], rel=1e-4)


def test_light_does_not_see_the_symmetric_stretch() -> None:
    atoms = molecule("CO2")
    atoms.calc = Springs(atoms, [0.6, -0.3, -0.3])
    result = vib(atoms, thermo="none")  # pairs of springs do not bend: two modes cost nothing
    light = result.infrared_km_per_mol
    assert light is not None
    stretches = light[-2:]  # symmetric below antisymmetric
    assert stretches[0] == pytest.approx(0.0, abs=1e-6) and stretches[1] > 10


def test_intensities_do_not_depend_on_how_the_molecule_is_turned() -> None:
    atoms = molecule("H2O")
    turned = atoms.copy()
    turned.rotate(50, [1, 2, 3])
    charges = [-0.8, 0.4, 0.4]
    found = [vib(one, calc=Springs(atoms, charges)).infrared_km_per_mol for one in (atoms, turned)]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_function_gives_dipoles_and_files_have_them(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    charges = np.array([-0.8, 0.4, 0.4])
    own = vib(atoms, calc=Springs(atoms, charges))

    def dipoles(structures: Sequence[Atoms]) -> np.ndarray:
        return np.array([charges @ one.positions for one in structures])

    other = vib(own.atoms, calc=Springs(atoms, np.zeros(3)), dipoles=dipoles, out=tmp_path)
    assert other.infrared_km_per_mol == pytest.approx(own.infrared_km_per_mol, rel=1e-4)
    assert "infrared_km_per_mol" in (tmp_path / "frequencies.dat").read_text()
    assert (tmp_path / "infrared.svg").is_file() and "infrared_km_per_mol" in other.to_dict()


def test_what_gives_no_dipoles_is_refused() -> None:
    atoms = molecule("H2O")
    springs = Springs(atoms, np.zeros(3))
    fine = {"displacement": 0.003}
    with pytest.raises(UsageError, match="EMT gives no dipoles"):
        vib(atoms, calc=springs, dipoles=EMT(), **fine)
    with pytest.raises(BadInputError, match="not finite"):
        vib(atoms, calc=springs, dipoles=lambda structures: np.full((len(structures), 3), np.nan), **fine)
    assert not springs.results, "told before anything is computed"
    plain = vib(atoms, calc=EMT(), **fine)
    assert plain.infrared_km_per_mol is None
    copper = bulk("Cu", cubic=True)
    with pytest.warns(JMPWarning, match="has no dipole"):
        vib(copper, calc=EMT(), dipoles=lambda structures: np.zeros((len(structures), 3)))
