"""MatBench, QMOF and PDBBind: structures, targets, identifiers and splits."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.datasets.formats.json_stream import stream_array, stream_object
from jmp_calc.training.datasets.matbench import TASKS, identifier, kfold, open_matbench, split_matbench
from jmp_calc.training.datasets.pdbbind import TARGET, open_pdbbind, split_pdbbind
from jmp_calc.training.datasets.qmof import open_qmof, split_qmof
from tests.training.helpers import scalar_layouts


def test_matbench_structures_targets_and_names(tmp_path: Path) -> None:
    structures = scalar_layouts.write_matbench(tmp_path, "mp_e_form", "e_form", 10)
    source = open_matbench(tmp_path, "matbench_mp_e_form", complete=False)
    assert source.n_atoms.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]  # a cell of one atom is legal
    for i, frame in enumerate(source):
        assert frame.targets == {"e_form": 0.5 * i}
        assert frame.identifier == f"mb-mp-e-form-{i + 1:02d}"
        assert np.allclose(frame.positions, [site["xyz"] for site in structures[i]["sites"]])  # type: ignore[attr-defined]
        assert np.allclose(frame.cell, structures[i]["lattice"]["matrix"])  # type: ignore[index]
        assert frame.pbc.all()
    assert source[2].numbers.tolist() == [29, 8, 30]


def test_matbench_identifiers_and_sizes() -> None:
    assert identifier("jdft2d", 0, 636) == "mb-jdft2d-001"
    assert identifier("mp_gap", 106_112, 106_113) == "mb-mp-gap-106113"
    assert len(TASKS) == 9 and "mp_is_metal" in TASKS
    assert (TASKS["mp_e_form"].unit, TASKS["mp_e_form"].reported_in) == ("eV/atom", "meV/atom")


def test_matbench_published_folds_win(tmp_path: Path) -> None:
    scalar_layouts.write_matbench(tmp_path, "dielectric", "n", 10)
    source = open_matbench(tmp_path, "dielectric", complete=False)
    computed = split_matbench(source, tmp_path, "dielectric", "fold-2")
    assert "not there to confirm" in computed.how
    names = [frame.identifier or "" for frame in source]
    folds = scalar_layouts.write_matbench_folds(tmp_path, "dielectric", names)
    parts = split_matbench(source, tmp_path, "dielectric", "fold-2")
    assert [names[i] for i in parts.test] == folds["fold_2"]["test"]
    train = np.array([names.index(n) for n in folds["fold_2"]["train"]])
    order = np.arange(8)
    np.random.RandomState(42).shuffle(order)
    assert parts.train.tolist() == train[order[:7]].tolist()
    assert parts.valid.tolist() == train[order[7:]].tolist()
    broken = json.loads((tmp_path / "matbench_v0.1_validation.json").read_text())
    broken["splits"]["matbench_dielectric"]["fold_2"]["train"][0] = "mb-dielectric-77"
    (tmp_path / "matbench_v0.1_validation.json").write_text(json.dumps(broken))
    with pytest.raises(BadInputError, match="'mb-dielectric-77', which is no row"):
        split_matbench(source, tmp_path, "dielectric", "fold-2")


def test_folds_of_classes_are_those_of_the_published_file_only(tmp_path: Path) -> None:
    """They are stratified: shuffled folds over row order would be others."""
    scalar_layouts.write_matbench(tmp_path, "mp_is_metal", "is_metal", 10, [True, False] * 5)
    source = open_matbench(tmp_path, "mp_is_metal", complete=False)
    with pytest.raises(BadInputError, match="stratified by class, and matbench_v0.1_validation.json is not"):
        split_matbench(source, tmp_path, "mp_is_metal")
    names = [frame.identifier or "" for frame in source]
    folds = scalar_layouts.write_matbench_folds(tmp_path, "mp_is_metal", names)
    parts = split_matbench(source, tmp_path, "mp_is_metal")
    assert [names[i] for i in parts.test] == folds["fold_0"]["test"]


def test_folds_cover_everything_once() -> None:
    tests = [kfold(13, fold)[1] for fold in range(5)]
    assert sorted(np.concatenate(tests).tolist()) == list(range(13))
    assert [len(test) for test in tests] == [3, 3, 3, 2, 2]
    order = np.arange(13)
    np.random.RandomState(18012019).shuffle(order)
    assert tests[0].tolist() == sorted(order[:3].tolist())
    for fold in range(5):
        train, test = kfold(13, fold)
        assert not set(train) & set(test) and len(train) + len(test) == 13


@pytest.mark.parametrize("value", [None, float("nan"), "text"])
def test_matbench_bad_targets_name_the_row(tmp_path: Path, value: object) -> None:
    scalar_layouts.write_matbench(tmp_path, "phonons", "last phdos peak", 3, [1.0, value, 2.0])
    with pytest.raises(BadInputError, match="The target 'last phdos peak' is") as caught:
        open_matbench(tmp_path, "phonons", complete=False)
    assert "row 1" in str(caught.value)


def test_matbench_refusals(tmp_path: Path) -> None:
    scalar_layouts.write_matbench(tmp_path, "mp_gap", "gap pbe", 3)
    with pytest.raises(BadInputError, match="has 3 rows, not 106113"):
        open_matbench(tmp_path, "mp_gap")
    with pytest.raises(UsageError, match="did you mean mp_gap"):
        open_matbench(tmp_path, "mp_gapp")
    (tmp_path / "matbench_phonons.json.gz").write_bytes((tmp_path / "matbench_mp_gap.json.gz").read_bytes())
    with pytest.raises(BadInputError, match="not structure and 'last phdos peak'"):
        open_matbench(tmp_path, "phonons")
    table = json.loads(gzip.decompress((tmp_path / "matbench_mp_gap.json.gz").read_bytes()))
    table["data"][2][0]["sites"][1]["species"] = [
        {"element": "Cu", "occu": 0.5},
        {"element": "Ag", "occu": 0.5},
    ]
    (tmp_path / "matbench_mp_gap.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    with pytest.raises(BadInputError, match="partially occupied") as caught:
        open_matbench(tmp_path, "mp_gap", complete=False)
    assert "row 2 site 1" in str(caught.value)
    del table["data"][2][0]["lattice"]
    (tmp_path / "matbench_mp_gap.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    with pytest.raises(BadInputError, match="no structure with lattice"):
        open_matbench(tmp_path, "mp_gap", complete=False)


def test_json_is_read_piece_by_piece(tmp_path: Path) -> None:
    """Values that cross the borders of chunks, an object whose rows come before its columns, and broken
    ends."""
    rows = [[i, "é" * 997, {"x": [0.125 * i] * 40}] for i in range(300)]
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"data": rows, "columns": ["a"]}, ensure_ascii=False))
    assert [v for k, v in stream_object(path, "data") if k == "data"] == rows
    assert dict(stream_object(path, "nothing"))["columns"] == ["a"]
    path.write_text(json.dumps(list(range(40_000))))
    assert list(stream_array(path)) == list(range(40_000))
    path.write_text("[]")
    assert list(stream_array(path)) == []
    for text in ("[1, 2", "[1 2]", '{"a": 1}', ""):
        path.write_text(text)
        with pytest.raises(BadInputError, match="JSON cannot be read") as caught:
            list(stream_array(path))
        assert str(path) in str(caught.value)
    packed = io.BytesIO(gzip.compress(json.dumps(rows).encode()))
    path.write_bytes(packed.getvalue()[:-40])
    with pytest.raises(BadInputError, match="JSON cannot be read"):
        list(stream_array(path))


def test_qmof_joins_by_identifier_and_reads_species(tmp_path: Path) -> None:
    positions = scalar_layouts.write_qmof(tmp_path / "qmof_database", 20)
    source = open_qmof(tmp_path)
    assert [frame.identifier for frame in source] == [f"qmof-{i:04d}" for i in range(20)]
    assert source[1].numbers.tolist() == [29, 8, 30, 29]
    assert all(np.allclose(frame.positions, x) for frame, x in zip(source, positions))
    assert source[3].targets == {} and source[4].targets == {"bandgap": pytest.approx(0.4)}
    parts = split_qmof(source, "code")
    order = np.arange(20)
    np.random.RandomState(42).shuffle(order)
    everything = np.concatenate([parts.train, parts.valid, parts.test])
    assert everything.tolist() == [i for i in order.tolist() if i != 3]
    assert "1 without a band gap left out" in parts.how
    paper = split_qmof(source, "paper10k", n_paper=10)
    assert len(paper.valid) + len(paper.test) + len(paper.train) == 19
    with pytest.raises(BadInputError, match="too few"):
        split_qmof(source, "paper10k")


def test_qmof_sizes_of_the_code() -> None:
    n = 20_375
    assert (int(0.8 * n), n - int(0.8 * n) - int(0.1 * n), int(0.1 * n)) == (16_300, 2_038, 2_037)


def test_qmof_lists_of_different_versions(tmp_path: Path) -> None:
    scalar_layouts.write_qmof(tmp_path, 5)
    rows = json.loads((tmp_path / "qmof_structure_data.json").read_text())
    (tmp_path / "qmof_structure_data.json").write_text(json.dumps(rows[1:]))
    with pytest.raises(BadInputError, match="1 of 5 rows have no structure, such as .'qmof-0004'"):
        open_qmof(tmp_path)
    (tmp_path / "qmof.json").write_text(json.dumps([{"name": "x"}]))
    with pytest.raises(BadInputError, match="no qmof_id"):
        open_qmof(tmp_path)


def test_pdbbind_ligand_then_pocket(tmp_path: Path) -> None:
    scalar_layouts.write_pdbbind(tmp_path, ["1abc", "2def"])
    source = open_pdbbind(tmp_path)
    frame = source[1]
    assert frame.identifier == "2def" and frame.targets == {TARGET: 5.5}
    assert frame.numbers.tolist() == [6, 6, 8, 17, 1, 1] + [6] * 8 + [6, 30, 8]
    assert frame.positions[14].tolist() == [5.0, 5.0, 5.2]  # the alternate place with the higher occupancy
    assert source.n_atoms.tolist() == [17, 17]
    pocket = tmp_path / "v2013-core" / "1abc" / "1abc_pocket.pdb"
    pocket.write_text(pocket.read_text().replace("          ZN", ""))
    with pytest.raises(BadInputError, match="no element in columns 77-78") as caught:
        source[0]
    assert "line 12" in str(caught.value)
    pocket.unlink()
    with pytest.raises(BadInputError, match="1abc has no 1abc_pocket.pdb"):
        source[0]


def test_pdbbind_split_has_the_sizes_of_the_paper() -> None:
    class Sized:
        def __len__(self) -> int:
            return 193

    parts = split_pdbbind(Sized())  # type: ignore[arg-type]
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (154, 19, 20)
