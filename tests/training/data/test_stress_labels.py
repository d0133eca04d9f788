"""Stresses in every layout, and virials in their place, come out in ASE's sign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jmp_calc.training.data.keys import LabelKeys
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.labels import read_labelled
from tests.training.helpers.xyz_text import CUBE, FORCES, ROWS, text, write_text


@pytest.mark.parametrize("stress", ["1 2 3 4 5 6", "1 6 5 6 2 4 5 4 3"])
def test_stress_layouts(tmp_path: Path, stress: str) -> None:
    path = write_text(tmp_path / "a.xyz", text(f'{CUBE} {FORCES} energy=0 stress="{stress}"', ROWS))
    np.testing.assert_array_equal(read_labelled(path).frames[0].stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])


def test_virials_become_stress_with_the_other_sign(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "a.xyz", text(f'{CUBE} {FORCES} energy=0 virials="64 0 0 0 64 0 0 0 128"', ROWS)
    )
    np.testing.assert_allclose(read_labelled(path).frames[0].stress, np.diag([-1.0, -1.0, -2.0]))


def test_the_sign_that_was_declared_is_that_of_virials_too(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "a.xyz", text(f'{CUBE} {FORCES} energy=0 virials="64 0 0 0 64 0 0 0 128"', ROWS)
    )
    found = read_labelled(path, units=LabelUnits(stress_sign="pressure")).frames[0].stress
    np.testing.assert_allclose(found, np.diag([1.0, 1.0, 2.0]))


def test_stress_of_a_molecule_is_not_a_label(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.xyz", text(f'{FORCES} energy=0 stress="0 0 0 0 0 0"', ROWS))
    assert read_labelled(path).frames[0].stress is None


@pytest.mark.parametrize(
    ("stress", "virials", "keys", "xx"),
    [
        ("stress", "REF_virials", {}, -1.0),
        ("REF_stress", "REF_virials", {}, 0.5),
        ("stress", "virials", {}, 0.5),
        ("REF_stress", "virials", {}, 0.5),
        ("stress", "REF_virials", {"stress": "stress"}, 0.5),
        ("REF_stress", "virials", {"virials": "virials"}, -1.0),
    ],
)
def test_of_stress_and_virials_the_key_of_the_user_and_then_ref_come_first(
    tmp_path: Path, stress: str, virials: str, keys: dict[str, str], xx: float
) -> None:
    labels = f'{stress}="0.5 0 0 0 0 0 0 0 0" {virials}="64 0 0 0 0 0 0 0 0"'
    found = read_labelled(
        write_text(tmp_path / "a.xyz", text(f"{CUBE} {FORCES} energy=0 {labels}", ROWS)),
        keys=LabelKeys(**keys),
    )
    assert found.frames[0].stress[0, 0] == pytest.approx(xx)
    assert any(f"({(stress if xx < 0 else virials)!r}) not used" in message for message in found.messages)
