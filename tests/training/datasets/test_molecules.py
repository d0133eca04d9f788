"""rMD17 and MD22: units, sign, shapes, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.datasets.base import shuffled_parts
from jmp_calc.training.datasets.md22 import open_md22, split_md22
from jmp_calc.training.datasets.rmd17 import open_rmd17, split_rmd17
from tests.training.helpers import layouts


def test_rmd17_is_converted_to_ev_in_float64(tmp_path: Path) -> None:
    springs = layouts.write_rmd17(tmp_path, "ethanol", 20)
    source = open_rmd17(tmp_path, "ethanol")
    positions, energies, forces = springs.trajectory(20)
    assert len(source) == 20
    assert source.n_atoms.tolist() == [6] * 20
    for i, frame in enumerate(source):
        assert frame.energy == pytest.approx(energies[i], abs=1e-9)
        assert np.allclose(frame.forces, forces[i], atol=1e-12)
        assert np.allclose(frame.positions, positions[i])
        assert (frame.group, frame.index, frame.source) == ("ethanol", i, "rmd17_ethanol.npz")
        assert not frame.pbc.any() and not frame.cell.any()


def test_rmd17_forces_are_minus_the_slope(tmp_path: Path) -> None:
    springs = layouts.write_rmd17(tmp_path, "ethanol", 3)
    frame = open_rmd17(tmp_path, "ethanol")[1]
    step = np.zeros_like(frame.positions)
    step[2, 1] = 1e-4
    slope = (springs.energy(frame.positions + step) - springs.energy(frame.positions - step)) / 2e-4
    assert frame.forces is not None
    assert frame.forces[2, 1] == pytest.approx(-slope, rel=1e-5)


def test_rmd17_split_is_that_of_the_legacy_generator(tmp_path: Path) -> None:
    """Values of np.random.RandomState(42).shuffle(np.arange(20)), which never change between NumPy
    versions."""
    layouts.write_rmd17(tmp_path, "uracil", 20)
    source = open_rmd17(tmp_path, "uracil")
    parts = split_rmd17(source, tmp_path, n_train=10, n_valid=3)
    shuffled = [0, 17, 15, 1, 8, 5, 11, 3, 18, 16, 13, 2, 9, 19, 4, 12, 7, 10, 14, 6]
    assert parts.train.tolist() + parts.valid.tolist() + parts.test.tolist() == shuffled
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (10, 3, 7)
    assert "RandomState(42)" in parts.how


def test_the_sizes_of_the_paper() -> None:
    parts = shuffled_parts(100_000, 950, 50)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (950, 50, 99_000)
    everything = np.concatenate([parts.train, parts.valid, parts.test])
    assert np.array_equal(np.sort(everything), np.arange(100_000))
    with pytest.raises(BadInputError, match="999 frames are too few"):
        shuffled_parts(999, 950, 50)


def test_few_shot_split_is_the_beginning_of_the_full_one(tmp_path: Path) -> None:
    layouts.write_rmd17(tmp_path, "uracil", 120)
    source = open_rmd17(tmp_path, "uracil")
    full = split_rmd17(source, tmp_path, n_train=90, n_valid=10)
    few = split_rmd17(source, tmp_path, "jmp-50", n_train=90, n_valid=10)
    assert few.train.tolist() == full.train[:50].tolist()
    assert few.test.tolist() == full.test.tolist()


def test_official_rmd17_splits_are_read_from_the_authors_files(tmp_path: Path) -> None:
    layouts.write_rmd17(tmp_path, "toluene", 20)
    source = open_rmd17(tmp_path, "toluene")
    order = np.random.default_rng(3).permutation(20)
    parts = split_rmd17(source, tmp_path, "official-3", n_valid=2)
    assert parts.train.tolist() == order[:8].tolist()
    assert parts.valid.tolist() == order[8:10].tolist()
    assert parts.test.tolist() == order[10:].tolist()
    index = tmp_path / "rmd17" / "splits" / "index_train_03.csv"
    index.write_text("1\n20\n")
    with pytest.raises(BadInputError, match="frame 20, but the molecule has 20") as caught:
        split_rmd17(source, tmp_path, "official-3", n_valid=1)
    assert "index_train_03.csv" in str(caught.value)
    index.write_text("1\ntwo\n")
    with pytest.raises(BadInputError, match="not a list of frame numbers"):
        split_rmd17(source, tmp_path, "official-3", n_valid=1)
    with pytest.raises(UsageError, match="no split of rMD17 'official-6'"):
        split_rmd17(source, tmp_path, "official-6")


def test_rmd17_refusals_name_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean aspirin"):
        open_rmd17(tmp_path, "asprin")
    with pytest.raises(BadInputError, match="rMD17 aspirin was not found"):
        open_rmd17(tmp_path, "aspirin")
    np.savez(tmp_path / "md17_aspirin.npz", E=np.zeros(1))
    with pytest.raises(BadInputError, match="original MD17"):
        open_rmd17(tmp_path, "aspirin")
    path = tmp_path / "rmd17_aspirin.npz"
    np.savez(path, nuclear_charges=np.array([1, 1]), coords=np.zeros((2, 2, 3)), energies=np.zeros(2))
    with pytest.raises(BadInputError, match="no array 'forces'") as caught:
        open_rmd17(tmp_path, "aspirin")
    assert str(path) in str(caught.value)
    np.savez(
        path,
        nuclear_charges=np.array([1, 1]),
        coords=np.zeros((2, 3, 3)),
        energies=np.zeros(2),
        forces=np.zeros((2, 3, 3)),
    )
    with pytest.raises(BadInputError, match="2 atoms, positions"):
        open_rmd17(tmp_path, "aspirin")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadInputError, match="not a plain numpy archive"):
        open_rmd17(tmp_path, "aspirin")


def test_md22_column_of_energies_units_and_split(tmp_path: Path) -> None:
    springs = layouts.write_md22(tmp_path / "md22_DHA.npz", 40)
    source = open_md22(tmp_path, "dha")
    _, energies, forces = springs.trajectory(40)
    assert [frame.energy for frame in source] == pytest.approx(energies.tolist(), abs=1e-9)
    assert np.allclose(source[7].forces, forces[7])
    parts = split_md22(source, "DHA", total=20)
    everything = shuffled_parts(40, 19, 1)
    assert parts.train.tolist() == everything.train.tolist()
    assert parts.valid.tolist() == everything.valid.tolist()
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (19, 1, 20)


def test_md22_sizes_of_the_paper() -> None:
    sizes = {"Ac-Ala3-NHMe": (5700, 300, 79_109), "DHA": (7600, 400, 61_753), "stachyose": (7600, 400,
                              19_272),
             "AT-AT": (2850, 150, 17_001), "AT-AT-CG-CG": (1900, 100, 8_153), "buckyball-catcher": (570, 30,
             5_502),
             "double-walled_nanotube": (760, 40, 4_232)}  # fmt: skip
    for name, expected in sizes.items():
        source = _Counted(sum(expected))
        parts = split_md22(source, name)
        assert (len(parts.train), len(parts.valid), len(parts.test)) == expected, name


class _Counted:
    """A set of which only the size matters."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def test_md22_in_other_units_is_refused(tmp_path: Path) -> None:
    layouts.write_md22(tmp_path / "md22_DHA.npz", 4, e_unit="eV")
    with pytest.raises(BadInputError, match="e_unit is 'eV'") as caught:
        open_md22(tmp_path, "DHA")
    assert "key e_unit" in str(caught.value)
    layouts.write_md22(tmp_path / "md22_stachyose.npz", 4, r_unit="Bohr")
    with pytest.raises(BadInputError, match="r_unit is 'Bohr'"):
        open_md22(tmp_path, "stachyose")


def test_md22_mirrors_name_the_nanotube_differently(tmp_path: Path) -> None:
    layouts.write_md22(tmp_path / "md22_dw_nanotube.npz", 4)
    assert len(open_md22(tmp_path, "double-walled_nanotube")) == 4
