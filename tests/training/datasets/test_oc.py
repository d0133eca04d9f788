"""OC20 and OC22: raw energies and forces, fixed atoms, both layouts of the records, and pickles that run
nothing."""

from __future__ import annotations

import lzma
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.screen import find_fault
from jmp_calc.training.datasets.oc20 import REFERENCE, OC20Chunks
from jmp_calc.training.datasets.oc_lmdb import OCDatabase, open_oc20, open_oc22
from tests.training.helpers import oc_layouts


def test_chunks_give_totals_raw_forces_tags_and_fixed_atoms(tmp_path: Path) -> None:
    folder = tmp_path / "200K"
    folder.mkdir()
    for number, count in ((0, 3), (10, 1), (2, 2)):
        oc_layouts.write_chunk(folder, number, count, packed=number != 10)
    source = open_oc20(tmp_path, "200K")
    assert len(source) == 6
    assert [frame.source for frame in source] == ["0.extxyz.xz"] * 3 + ["2.extxyz.xz"] * 2 + ["10.extxyz"]
    frame = source[1]
    numbers, positions, forces = oc_layouts.slab(1)
    assert frame.energy == -101.0 and frame.targets == {REFERENCE: -91.0}
    assert frame.identifier == "random7,frame3"
    assert np.allclose(frame.forces, forces, atol=1e-7)  # those of the fixed atoms too
    assert np.allclose(frame.positions, positions, atol=1e-7) and frame.numbers.tolist() == numbers.tolist()
    assert frame.fixed is not None and frame.fixed.tolist() == [True, True] + [False] * 6
    assert frame.tags is not None and frame.tags.tolist() == oc_layouts.TAGS.tolist()
    assert frame.pbc.all() and np.allclose(frame.cell, oc_layouts.CELL)
    assert source.n_atoms.tolist() == [8] * 6
    assert find_fault(frame) is None


@pytest.mark.parametrize("inside", ["val_id", "s2ef_val_id", "s2ef_val_id/s2ef_val_id"])
def test_chunks_are_found_where_the_archive_puts_them(tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).mkdir(parents=True)
    oc_layouts.write_chunk(tmp_path / inside, 0, 1)
    assert len(open_oc20(tmp_path, "val_id")) == 1
    assert len(open_oc20(tmp_path / inside, "val_id")) == 1


def test_files_are_not_taken_for_a_part_that_their_folder_does_not_name(tmp_path: Path) -> None:
    """Else train and val_id would be the same frames."""
    folder = tmp_path / "oc"
    (folder / "2M" / "train").mkdir(parents=True)
    (folder / "all" / "val_id").mkdir(parents=True)
    for place in (folder, folder / "2M" / "train", folder / "all" / "val_id"):
        oc_layouts.write_chunk(place, 0, 1)
    for place, member in (
        (folder, "train"),
        (folder, "val_id"),
        (folder / "2M" / "train", "val_id"),
        (folder / "2M" / "train", "200K"),
        (folder / "all" / "val_id", "all"),
    ):
        with pytest.raises(BadInputError, match=f"The part {member} was not found: .* has none of") as caught:
            open_oc20(place, member)
        assert f"s2ef_train_{member}" in str(caught.value) and "--data" in str(caught.value)
    assert (
        len(open_oc20(folder / "2M" / "train", "2M")) == len(open_oc20(folder / "2M" / "train", "train")) == 1
    )
    assert len(open_oc20(folder / "all" / "val_id", "val_id")) == 1
    with pytest.raises(BadInputError, match="is not there"):
        open_oc20(tmp_path / "elsewhere", "train")
    oc_layouts.write_lmdb(tmp_path / "val_id.lmdb", [oc_layouts.record(0, new_layout=True, oc22=1)])
    assert len(open_oc22(tmp_path / "val_id.lmdb", "val_id")) == 1
    for place in (tmp_path, tmp_path / "val_id.lmdb"):
        with pytest.raises(BadInputError, match="The part train was not found"):
            open_oc22(place, "train")


def test_a_chunk_and_its_packed_copy_do_not_count_double(tmp_path: Path) -> None:
    oc_layouts.write_chunk(tmp_path, 0, 3)
    (tmp_path / "0.extxyz").write_bytes(lzma.decompress((tmp_path / "0.extxyz.xz").read_bytes()))
    with pytest.raises(UsageError, match="0.extxyz and 0.extxyz.xz are a file"):
        OC20Chunks(tmp_path)


def test_chunks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no chunks"):
        OC20Chunks(tmp_path)
    oc_layouts.write_chunk(tmp_path, 0, 3)
    txt = tmp_path / "0.txt.xz"
    lines = lzma.decompress(txt.read_bytes()).decode().splitlines()
    txt.write_bytes(lzma.compress("\n".join(lines[:2]).encode()))
    with pytest.raises(BadInputError, match="has 3 frames and its txt 2 lines"):
        OC20Chunks(tmp_path)[0]
    txt.write_bytes(lzma.compress(b"random7,frame0,-90.0\nsystem 7\n"))
    with pytest.raises(BadInputError, match="not random<sid>,frame<fid>,<energy>") as caught:
        OC20Chunks(tmp_path)
    assert "0.txt.xz line 2" in str(caught.value)
    txt.write_bytes(txt.read_bytes()[:-20])
    with pytest.raises(BadInputError, match="is damaged"):
        OC20Chunks(tmp_path)
    txt.unlink()
    with pytest.raises(BadInputError, match="no txt with its references"):
        OC20Chunks(tmp_path)
    oc_layouts.write_chunk(tmp_path, 0, 3)
    packed = tmp_path / "0.extxyz.xz"
    text = lzma.decompress(packed.read_bytes()).decode().replace("energy=-101.0 ", "")
    packed.write_bytes(lzma.compress(text.encode()))
    with pytest.raises(BadInputError, match="The frame has no energy") as caught:
        OC20Chunks(tmp_path)[1]
    assert "0.extxyz.xz frame 1 key energy" in str(caught.value)
    text = text.replace("forces:R:3", "forces:S:3")
    packed.write_bytes(lzma.compress(text.encode()))
    with pytest.raises(BadInputError, match="The column 'forces' has .* no number"):
        OC20Chunks(tmp_path)[0]
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(BadInputError):
        OC20Chunks(tmp_path)[1]


@pytest.mark.parametrize("new_layout", [False, True])
def test_records_of_oc22_hold_totals(tmp_path: Path, new_layout: bool) -> None:
    folder = tmp_path / "val_id"
    folder.mkdir()
    records = [
        oc_layouts.record(i, new_layout=new_layout, oc22=1, nads=1, sid=torch.tensor(70 + i))
        for i in range(3)
    ]
    oc_layouts.write_lmdb(folder / "data.0000.lmdb", records[:2])
    oc_layouts.write_lmdb(folder / "data.0001.lmdb", records[2:], length=False)
    np.savez(folder / "metadata.npz", natoms=np.array([8, 8, 8]))
    source = open_oc22(tmp_path, "val_id")
    assert len(source) == 3  # the entry "length" is no record
    assert source.n_atoms.tolist() == [8, 8, 8]
    for i, frame in enumerate(source):
        _, positions, forces = oc_layouts.slab(i)
        assert frame.energy == -10.0 - i  # y, not y_relaxed
        assert np.allclose(frame.forces, forces, atol=1e-6) and np.allclose(
            frame.positions, positions, atol=1e-6
        )
        assert frame.identifier == f"random{70 + i},frame{3 * i}"
        assert frame.fixed is not None and frame.fixed.sum() == 2
        assert frame.tags is not None and frame.tags.tolist() == oc_layouts.TAGS.tolist()
    assert [frame.source for frame in source] == ["data.0000.lmdb"] * 2 + ["data.0001.lmdb"]
    with multiprocessing.get_context("fork").Pool(1) as pool:  # a worker opens its own handle after forking
        assert pool.apply(_energy, (source, 1)) == -11.0


def test_oc20_records_need_the_references_for_totals(tmp_path: Path) -> None:
    folder = tmp_path / "2M"
    folder.mkdir()
    oc_layouts.write_lmdb(
        folder / "data.0000.lmdb",
        [
            oc_layouts.record(0, new_layout=False, sid="random7"),
            oc_layouts.record(1, new_layout=True, y=np.float64(-11.0)),
            oc_layouts.record(2, new_layout=True, p=1, y=None, energy=-300.0, force=None),
        ],
    )
    adsorption = open_oc20(tmp_path, "2M", energy="adsorption")
    assert [adsorption[i].energy for i in (0, 1)] == [-10.0, -11.0]
    with pytest.raises(BadInputError, match="no reference energy for random7"):
        open_oc20(tmp_path, "2M")[0]
    (tmp_path / "oc20_ref.pkl").write_bytes(pickle.dumps({"random7": -200.0, "random8": np.float64(-210.0)}))
    total = open_oc20(tmp_path, "2M")
    assert [frame.energy for frame in total] == [-210.0, -221.0, -300.0]  # the last is a total already
    assert total[2].forces is None


def test_test_records_have_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "test.lmdb"
    oc_layouts.write_lmdb(path, [oc_layouts.record(0, new_layout=True, y=None, force=None, y_relaxed=None)])
    frame = OCDatabase(path, "oc22")[0]
    assert frame.energy is None and frame.forces is None


def _energy(source: OCDatabase, index: int) -> float | None:
    return source[index].energy


class Evil:
    """Runs a command when a pickle of it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_code_in_a_record_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    hidden = torch.zeros(3)
    hidden.payload = Evil(mark)  # type: ignore[attr-defined]
    evil = [
        oc_layouts.record(0, new_layout=True, pos=Evil(mark)),
        pickle.dumps(Evil(mark)),
        oc_layouts.record(0, new_layout=False, pos=hidden),
    ]
    oc_layouts.write_lmdb(tmp_path / "data.lmdb", evil)
    source = OCDatabase(tmp_path / "data.lmdb", "oc22")
    for i in range(3):
        with pytest.raises(BadInputError, match="names code") as caught:
            source[i]
        assert f"data.lmdb key {i}" in str(caught.value)
    (tmp_path / "oc20_ref.pkl").write_bytes(pickle.dumps({"random1": Evil(mark)}))
    (tmp_path / "data.lmdb").rename(tmp_path / "2M.lmdb")
    with pytest.raises(BadInputError, match="names code"):
        open_oc20(tmp_path / "2M.lmdb", "2M")
    assert not mark.exists()


def test_damaged_databases_name_the_key(tmp_path: Path) -> None:
    good = oc_layouts.record(0, new_layout=True, oc22=1)
    oc_layouts.write_lmdb(
        tmp_path / "a.lmdb",
        [
            good,
            good[:200],
            pickle.dumps([1, 2]),
            b"",
            oc_layouts.record(1, new_layout=True, oc22=1, pos=None),
            oc_layouts.record(1, new_layout=True, oc22=1, y={"a": 1.0}),
            oc_layouts.record(1, new_layout=True, oc22=1, sid="slab"),
        ],
    )
    source = OCDatabase(tmp_path / "a.lmdb", "oc22")
    for key, text in (
        (1, "pickle is damaged"),
        (2, "a list, not a graph"),
        (3, "pickle is damaged"),
        (4, "no 'pos'"),
        (5, "cannot be understood"),
        (6, "'slab' is not the number"),
    ):
        with pytest.raises(BadInputError, match=text) as caught:
            source[key]
        assert f"a.lmdb key {key}" in str(caught.value)
    with pytest.raises(BadInputError, match="sizes of the structures cannot be read"):
        _ = source.n_atoms
    np.savez(tmp_path / "metadata.npz", natoms=np.array([8]))
    with pytest.raises(BadInputError, match="1 sizes for 7 records"):
        _ = source.n_atoms
    oc_layouts.write_lmdb(tmp_path / "c.lmdb", [good] * 2, length=False)
    with (
        lmdb.open(str(tmp_path / "c.lmdb"), subdir=False, map_size=1 << 24) as file,
        file.begin(write=True) as transaction,
    ):
        transaction.delete(b"0")
        transaction.put(b"length", pickle.dumps(2))
    with pytest.raises(BadInputError, match="The record is missing"):
        OCDatabase(tmp_path / "c.lmdb", "oc22")[0]
    oc_layouts.write_lmdb(tmp_path / "d.lmdb", [good], length=False)
    with (
        lmdb.open(str(tmp_path / "d.lmdb"), subdir=False, map_size=1 << 24) as file,
        file.begin(write=True) as transaction,
    ):
        transaction.put(b"length", pickle.dumps(50))
    with pytest.raises(BadInputError, match="length is 50 in a file of 2 entries"):
        OCDatabase(tmp_path / "d.lmdb", "oc22")
    (tmp_path / "b.lmdb").write_bytes(b"not a database")
    with pytest.raises(BadInputError, match="not a readable LMDB file"):
        OCDatabase(tmp_path / "b.lmdb", "oc22")
