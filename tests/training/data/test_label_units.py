"""Units of labels are declared one by one, and convert what a file holds to eV and Å."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.screen import Screen
from jmp_calc.training.data.stream import LabelOptions, stream_labelled
from jmp_calc.units import unit_factor

HARTREE, BOHR = 27.211386245988, 0.529177210903


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two atoms in a cube of 4 Å, every label a one."""
    path = tmp_path / "a.xyz"
    comment = 'Properties=species:S:1:pos:R:3:forces:R:3 energy=1 Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T" '
    path.write_text(f'2\n{comment} stress="1 0 0 0 1 0 0 0 1"\nH 0 0 0 0 0 1\nH 0 0 0.8 0 0 -1\n' * 2)
    return path


@pytest.mark.parametrize(
    ("units", "energy", "forces", "stress"),
    [
        (LabelUnits(), 1.0, 1.0, 1.0),
        (LabelUnits(energy="hartree"), HARTREE, HARTREE, HARTREE),
        (LabelUnits(energy="Ha", forces="Ha/bohr"), HARTREE, HARTREE / BOHR, HARTREE),
        (LabelUnits(stress="GPa"), 1.0, 1.0, 1 / 160.21766208),
        (LabelUnits(stress="kbar", stress_sign="pressure"), 1.0, 1.0, -0.1 / 160.21766208),
        (LabelUnits(forces="kcal/mol/Å", stress="Ry/bohr^3"), 1.0, 0.0433641153, HARTREE / 2 / BOHR**3),
    ],
)
def test_each_label_has_its_unit(
    path: Path, units: LabelUnits, energy: float, forces: float, stress: float
) -> None:
    frame = read_labelled(path, units=units).frames[1]
    (streamed, _) = stream_labelled(path, LabelOptions(units=units), Screen())
    for found in (frame, streamed):
        assert found.energy == pytest.approx(energy)
        assert found.forces[0, 2] == pytest.approx(forces)
        assert found.stress[0, 0] == pytest.approx(stress)


@pytest.mark.parametrize("name", ["eV/Å^3", "ev/angstrom3", "eV / Å³", "eV/A**3"])
def test_spellings_of_a_unit(name: str) -> None:
    assert unit_factor(name, "stress") == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        *({"stress": unit} for unit in ("psi", "hartree/bohr", "eV/Å^", "eV/Å^2", "3")),
        {"forces": "hartree"},
        {"energy": "eV/Å"},
        {"length": "foot"},
        {"stress_sign": "-"},
    ],
)
def test_unknown_units_are_usage_errors(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        LabelUnits(**wrong)
