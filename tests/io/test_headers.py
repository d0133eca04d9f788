"""Comment lines of extended XYZ: keys, numbers, periodicity, lattice and stress have one reading or none."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import BadInputError
from jmp_calc.io.header import parse_comment, typed_value
from jmp_calc.io.structures import read_frames, read_structure
from tests.io.silicon import LATTICE, xyz


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ('config_type= Lattice="1 2 3" a=1', {"config_type": "", "Lattice": "1 2 3", "a": "1"}),
        ('config_type="" Lattice="1"', {"config_type": "", "Lattice": "1"}),
        ("config_type= name=cu", {"config_type": "", "name": "cu"}),
        ("a= b = 2 c =3 d= 4", {"a": "", "b": "2", "c": "3", "d": "4"}),
        ('energy = -1.5 pbc = "T T F"', {"energy": "-1.5", "pbc": "T T F"}),
        ("a=[1, 2] b={3 4} c=[[1, 2], [3, 4]]", {"a": "1, 2", "b": "3 4", "c": "[1, 2], [3, 4]"}),
        ("word other=1 a=", {"word": "T", "other": "1", "a": ""}),
        (r'a="say \"no\"" b="x\\y"', {"a": 'say "no"', "b": "x\\y"}),
        ("smiles=C=O 'two words'=1", {"smiles": "C=O", "two words": "1"}),
        ('a="1"b=2', {"a": "1", "b": "2"}),
        ('a="open b=2', {"a": '"open', "b": "2"}),
        ("= 3 =", {"3": ""}),
    ],
)
def test_keys_and_values_of_a_header(line: str, right: dict[str, str]) -> None:
    assert parse_comment(line) == right


@pytest.mark.parametrize(
    "part", ['a="', "a={", "a=[", "a=['\\", '\\"', "= ", "a= ", '"', "a=\\", "{[", 'a="\\"']
)
def test_long_headers_take_time_in_proportion(part: str) -> None:
    began = time.process_time()
    parse_comment(part * (1_000_000 // len(part)))
    assert time.process_time() - began < 4


def test_numbers_of_many_digits_are_numbers() -> None:
    assert typed_value("9" * 400) == float("inf") and typed_value("9" * 6000) == float("inf")
    assert typed_value("9" * 25) == 1e25 and typed_value("T F") == [True, False]
    assert typed_value("_JSON " + "[" * 100_000) == "_JSON " + "[" * 100_000


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("T T T", "TTT"),
        ("TTT", "TTT"),
        ("t t f", "TTF"),
        ("FFF", "FFF"),
        ("ttf", "TTF"),
        ("True False True", "TFT"),
        ("TRUE,TRUE,FALSE", "TTF"),
        ("1 0 0", "TFF"),
        ("110", "TTF"),
        ("[T, T, F]", "TTF"),
        ("F", "FFF"),
        ("true", "TTT"),
    ],
)
def test_periodicity_has_one_reading(tmp_path: Path, text: str, right: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f'{LATTICE} pbc="{text}"'))
    assert "".join("FT"[int(flag)] for flag in atoms.pbc) == right


@pytest.mark.parametrize("text", ["T T", "yes", "T T T T", "2 0 1", "TTFF", "x y z"])
def test_other_periodicity_is_refused_with_the_frame(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError, match="not three flags") as error:
        read_frames(xyz(tmp_path / "a.xyz", LATTICE, f'{LATTICE} pbc="{text}"'))
    assert "frame 1" in str(error.value.where)


@pytest.mark.parametrize("before", ['config_type="" ', "config_type= ", "config_type= name=si "])
def test_a_key_without_a_value_swallows_no_lattice(tmp_path: Path, before: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f"{before}{LATTICE}"))
    assert atoms.pbc.all() and atoms.get_volume() == pytest.approx(40.04, abs=0.01)


@pytest.mark.parametrize(
    "stress", ["1 2 3 4 5 6", "1 6 5 6 2 4 5 4 3", "_JSON [[1,6,5],[6,2,4],[5,4,3]]", "_JSON [1,2,3,4,5,6]"]
)
def test_stress_of_six_or_nine_numbers(tmp_path: Path, stress: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f'{LATTICE} stress="{stress}"'))
    np.testing.assert_array_equal(atoms.get_stress(), [1, 2, 3, 4, 5, 6])
