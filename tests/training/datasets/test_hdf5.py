"""SPICE, ANI-1x and Transition-1x: units, signs, parts, and frames that must not be counted twice."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.screen import Screen
from jmp_calc.training.datasets import base
from jmp_calc.training.datasets.ani1x import open_ani1x, split_formulas
from jmp_calc.training.datasets.spice import open_spice, split_spice
from jmp_calc.training.datasets.transition1x import open_transition1x
from tests.training.helpers import hdf5_layouts
from tests.training.helpers.hdf5_layouts import DIPEPTIDES, SOLVATED

MOLECULES = {
    "ala-gly": (DIPEPTIDES, 3),
    "arg": (SOLVATED, 2),
    "gly-gly": (DIPEPTIDES.replace("v1.2", "v1.3"), 5),
}


def test_spice_negates_gradients_and_converts_bohr(tmp_path: Path) -> None:
    made = hdf5_layouts.write_spice(tmp_path / "SPICE-1.1.4.hdf5", MOLECULES)
    source = open_spice(tmp_path, "dipeptides")
    assert len(source) == 8  # both versions of the subset, no other subset, no group without conformations
    assert [frame.identifier for frame in source][:4] == ["ala-gly/0", "ala-gly/1", "ala-gly/2", "gly-gly/0"]
    for seed, name, first in ((0, "ala-gly", 0), (2, "gly-gly", 3)):
        positions, energies, forces = made[name].trajectory(MOLECULES[name][1], seed)
        frame = source[first + 1]
        assert np.allclose(frame.positions, positions[1], atol=1e-6)
        assert frame.energy == pytest.approx(energies[1], abs=1e-8)
        assert np.allclose(frame.forces, forces[1], atol=1e-5)
    # The sign by finite difference along an edge between two frames.
    springs, frame = made["ala-gly"], source[0]
    step = 1e-4 * np.ones_like(frame.positions) * np.arange(6)[:, None]
    work = springs.energy(frame.positions + step) - springs.energy(frame.positions - step)
    assert -(frame.forces * 2 * step).sum() == pytest.approx(work, rel=1e-3)  # type: ignore[operator]


def test_spice_splits(tmp_path: Path) -> None:
    hdf5_layouts.write_spice(tmp_path / "dipeptides.h5", {f"m{i:02d}": (DIPEPTIDES, 4) for i in range(10)})
    source = open_spice(tmp_path, "dipeptides")
    order = np.arange(40)
    np.random.RandomState(42).shuffle(order)
    parts = split_spice(source)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (32, 4, 4)
    assert np.concatenate([parts.train, parts.valid, parts.test]).tolist() == order.tolist()
    by_molecule = split_spice(source, "molecules")
    found = [
        set(source.molecule[part].tolist())
        for part in (by_molecule.train, by_molecule.valid, by_molecule.test)
    ]
    assert [len(part) for part in found] == [8, 1, 1]
    assert not found[0] & (found[1] | found[2]) and "10 molecules" in by_molecule.how


def test_spice_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="SPICE was not found"):
        open_spice(tmp_path, "dipeptides")
    path = tmp_path / "solvated_amino_acids.h5"
    hdf5_layouts.write_spice(path, {"ala": (DIPEPTIDES, 2)})
    with pytest.raises(BadInputError, match="no molecule of the subset solvated_amino_acids"):
        open_spice(tmp_path, "solvated_amino_acids")
    with h5py.File(path, "a") as file:
        del file["ala/dft_total_gradient"]
    with pytest.raises(BadInputError, match="no data set 'dft_total_gradient'") as caught:
        open_spice(path, "dipeptides")
    assert "group /ala key dft_total_gradient" in str(caught.value)
    path.write_bytes(b"no HDF5")
    with pytest.raises(BadInputError, match="not a readable HDF5 file"):
        open_spice(path, "dipeptides")


def test_ani1x_converts_without_a_bohr_and_counts_nan(tmp_path: Path) -> None:
    made = hdf5_layouts.write_ani1x(tmp_path / "ani1x-release.h5")
    parts = {part: open_ani1x(tmp_path, part, held_out=1) for part in ("train", "val", "test")}
    frames = {frame.identifier: frame for source in parts.values() for frame in source}
    assert set(frames) == {
        "C1H4/0",
        "C1H4/1",
        "C1H4/2",
        "C2H2/0",
        "C2H2/1",
        *(f"C1H4O1/{i}" for i in range(4)),
    }
    energies, forces = made["C1H4"]
    assert frames["C1H4/2"].energy == pytest.approx(energies[2], abs=1e-8)
    assert np.allclose(frames["C1H4/2"].forces, forces[2], atol=1e-5)
    screen = Screen("skip", min_atoms=4)
    kept = list(screen.frames(frames.values()))
    assert len(kept) == 8 and screen.message() == "1 frames left out: 1 force not finite"
    assert "C2H2/1" in {frame.identifier for frame in kept}  # identifiers count all conformers
    with pytest.raises(BadInputError, match=r"A force is not finite \(atom 1\)") as caught:
        list(Screen("fail").frames(frames.values()))
    assert "ani1x-release.h5/C2H2 frame 0" in str(caught.value)


def test_ani1x_parts_share_no_formula_and_are_reproducible(tmp_path: Path) -> None:
    counts = {f"C{i}": 10 + i for i in range(20)}
    parts = split_formulas(counts, 40)
    assert parts == split_formulas(dict(reversed(counts.items())), 40) != split_formulas(counts, 40, seed=7)
    assert sorted(f for part in parts.values() for f in part) == sorted(counts)
    for part in ("val", "test"):
        sizes = [counts[formula] for formula in parts[part]]
        assert sum(sizes) >= 40 > sum(sizes) - max(sizes)
    with pytest.raises(BadInputError, match="leave nothing to train on"):
        split_formulas(counts, 10_000)


def test_ani1x_without_forces_names_the_group(tmp_path: Path) -> None:
    path = tmp_path / "ani1x-release.h5"
    hdf5_layouts.write_ani1x(path)
    with h5py.File(path, "a") as file:
        del file["C1H4"]["wb97x_dz.forces"]
    with pytest.raises(BadInputError, match=r"no data set 'wb97x_dz.forces'") as caught:
        open_ani1x(tmp_path, "train", held_out=1)
    assert "group /C1H4 key wb97x_dz.forces" in str(caught.value)


def test_transition1x_reads_only_the_arrays_of_its_part(tmp_path: Path) -> None:
    energies = hdf5_layouts.write_transition1x(tmp_path / "Transition1x.h5")
    train, val = (open_transition1x(tmp_path, part) for part in ("train", "val"))
    assert len(train) == 6 and len(val) == 1  # three frames of each reaction, none of reactant, product, TS
    assert [frame.energy for frame in train] == pytest.approx([*energies, *energies])  # already eV
    identifiers = [frame.identifier for frame in train]
    assert len(set(identifiers)) == 6 and identifiers[0] == "C2H2_rxn0001/0"
    assert train.n_atoms.tolist() == [4] * 6
    assert len(open_transition1x(tmp_path, "test")) == 0
    with pytest.raises(UsageError, match="no part of Transition-1x 'data'"):
        open_transition1x(tmp_path, "data")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    (tmp_path / "Transition1x.h5").write_bytes(b"")
    monkeypatch.setattr(base.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"needs the package h5py.*jmp-calc\[data\]"):
        open_transition1x(tmp_path, "train")
