"""QM9 in its public forms: the same molecules, units and order from each."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.datasets.formats.graph_pickles import load_old_torch
from jmp_calc.training.datasets.qm9 import UNITS, FrameSource, open_qm9, split_qm9
from jmp_calc.training.datasets.qm9_frames import TARGETS
from tests.training.helpers import qm9_layouts

FORMS = ("xyz", "tar", "sdf", "pt", "old pt", "zip")


def write(folder: Path, form: str) -> None:
    """One of the forms, with the list of uncharacterised molecules where it needs one."""
    if form in ("xyz", "tar", "sdf"):
        qm9_layouts.write_uncharacterised(folder)
    if form in ("xyz", "tar"):
        qm9_layouts.write_qm9_xyz(folder, packed=form == "tar")
    elif form == "sdf":
        qm9_layouts.write_qm9_sdf(folder)
    else:
        qm9_layouts.write_qm9_graphs(folder / "qm9_v3.pt", old_form=form == "old pt")
    if form == "zip":
        with zipfile.ZipFile(folder / "qm9_v3.zip", "w") as archive:
            archive.write(folder / "qm9_v3.pt", "qm9_v3.pt")
        (folder / "qm9_v3.pt").unlink()


def small(folder: Path, form: str) -> FrameSource:
    write(folder, form)
    return open_qm9(folder, complete=False)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_molecules_in_the_same_units(tmp_path: Path, form: str) -> None:
    source = small(tmp_path, form)
    rows = [row for row in qm9_layouts.qm9_rows() if row.index != 4]
    assert [frame.identifier for frame in source] == [f"gdb_{row.index}" for row in rows]
    assert source.n_atoms.tolist() == [5, 3, 3, 8]  # molecules of three atoms stay
    rounding = 1e-6 if "pt" in form or form == "zip" else 1e-12
    for frame, row in zip(source, rows):
        wanted = dict(zip(TARGETS, qm9_layouts.qm9_converted(row).tolist()))
        if form in ("xyz", "tar"):
            wanted = {name: value for name, value in wanted.items() if not name.endswith("_ATOM")}
        assert frame.targets == pytest.approx(wanted, rel=rounding, abs=rounding)
        assert np.allclose(frame.positions, row.positions, atol=1e-6)
        assert frame.energy is None and frame.forces is None  # a property at 0 K is no potential energy


def test_nineteen_properties_twelve_of_them_the_benchmark() -> None:
    assert len(TARGETS) == len(UNITS) == 19
    assert TARGETS[:12] == (
        "mu",
        "alpha",
        "eps_HOMO",
        "eps_LUMO",
        "delta_eps",
        "R_2_Abs",
        "ZPVE",
        "U_0",
        "U",
        "H",
        "G",
        "c_v",
    )
    assert TARGETS[-3:] == ("A", "B", "C")


def test_an_incomplete_set_is_refused_because_the_split_would_be_another(tmp_path: Path) -> None:
    write(tmp_path, "pt")
    with pytest.raises(BadInputError, match="4 characterised molecules, not 130831"):
        open_qm9(tmp_path)
    with pytest.raises(BadInputError, match="too few"):
        split_qm9(open_qm9(tmp_path, complete=False))
    parts = split_qm9(open_qm9(tmp_path, complete=False), n_train=2, n_valid=1, n_test=1)
    assert sorted([*parts.train, *parts.valid, *parts.test]) == [0, 1, 2, 3]


def test_the_list_of_uncharacterised_molecules_must_be_complete(tmp_path: Path) -> None:
    qm9_layouts.write_qm9_xyz(tmp_path)
    with pytest.raises(BadInputError, match="list of uncharacterised molecules is missing"):
        open_qm9(tmp_path)
    qm9_layouts.write_uncharacterised(tmp_path, count=3000)
    with pytest.raises(BadInputError, match="lists 3000 molecules, not 3054"):
        open_qm9(tmp_path)


def test_bad_text_files_are_named(tmp_path: Path) -> None:
    qm9_layouts.write_uncharacterised(tmp_path)
    qm9_layouts.write_qm9_sdf(tmp_path)
    csv = tmp_path / "gdb9.sdf.csv"
    good = csv.read_text()
    csv.write_text("\n".join(line for line in good.splitlines() if not line.startswith("gdb_5")))
    with pytest.raises(BadInputError, match="gdb_5 is in gdb9.sdf but not in its csv"):
        open_qm9(tmp_path)
    csv.write_text(good + "gdb_99," + ",".join(["1.0"] * 19) + "\n")
    with pytest.raises(BadInputError, match=r"1 molecules of the csv are not in gdb9.sdf, such as gdb_99"):
        open_qm9(tmp_path)
    csv.write_text(good.replace("\ngdb_1,", "\ngdb_1,nan,", 1).replace("mol_id,A", "mol_id,A"))
    with pytest.raises(BadInputError, match="not finite"):
        open_qm9(tmp_path)
    (tmp_path / "gdb9.sdf").unlink()
    qm9_layouts.write_qm9_xyz(tmp_path)
    (tmp_path / "dsgdb9nsd_000003.xyz").write_text("3\ngdb 3 1.0\n")
    with pytest.raises(BadInputError, match="not a QM9 xyz file") as caught:
        open_qm9(tmp_path)
    assert "dsgdb9nsd_000003.xyz" in str(caught.value)


def test_nothing_there_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No form of QM9"):
        open_qm9(tmp_path)
    with pytest.raises(UsageError, match="no QM9 property 'homo'"):
        open_qm9(tmp_path, "homo")


class Evil:
    """Runs a command when a pickle of it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("old_form", [False, True])
def test_code_in_a_graph_file_never_runs(tmp_path: Path, old_form: bool) -> None:
    mark = tmp_path / "executed"
    torch.save([{"z": Evil(mark)}], tmp_path / "qm9_v3.pt", _use_new_zipfile_serialization=not old_form)
    with pytest.raises(BadInputError, match="names code"):
        open_qm9(tmp_path)
    assert not mark.exists()


def test_archives_that_unpack_to_more_than_molecules_are_refused(tmp_path: Path) -> None:
    qm9_layouts.write_uncharacterised(tmp_path)
    qm9_layouts.write_qm9_xyz(tmp_path, packed=True)
    (packed,) = tmp_path.glob("*.tar*")
    with tarfile.open(packed, "w:bz2") as archive:
        entry = tarfile.TarInfo("a.xyz")
        entry.size = 2 << 20
        archive.addfile(entry, io.BytesIO(bytes(2 << 20)))
    with pytest.raises(BadInputError, match="2097152 bytes"):
        open_qm9(tmp_path)


def test_a_damaged_packed_graph_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "qm9_v3.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("qm9_v3.pt", bytes(1000))
    whole = path.read_bytes()
    for place in range(0, len(whole), 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(BadInputError):
            open_qm9(tmp_path)


def test_damaged_graph_files_are_refused(tmp_path: Path) -> None:
    qm9_layouts.write_qm9_graphs(tmp_path / "qm9_v3.pt", old_form=True)
    content = (tmp_path / "qm9_v3.pt").read_bytes()
    for cut in (10, 200, len(content) // 2, len(content) - 5):
        with pytest.raises(BadInputError):
            load_old_torch(content[:cut], "cut")
    with pytest.raises(BadInputError, match="not written by torch.save"):
        load_old_torch(b"".join(pickle.dumps(i, 2) for i in (1, 2, {}, [], [])), "five numbers")


@pytest.mark.parametrize("old_form", [True, False])
def test_a_graph_file_cannot_make_more_of_its_numbers(tmp_path: Path, old_form: bool) -> None:
    """Many overlapping views of one storage would fill the memory from a small file."""
    numbers = torch.zeros(1 << 20)
    views = [{"pos": numbers[i:]} for i in range(60)]
    torch.save(views, tmp_path / "qm9_v3.pt", _use_new_zipfile_serialization=not old_form)
    with pytest.raises(BadInputError, match="many times larger than the file"):
        open_qm9(tmp_path)


def test_old_torch_files_keep_views_and_kinds() -> None:
    numbers = torch.arange(12, dtype=torch.int32)
    kept = {
        "view": numbers.view(3, 4).t()[1:],
        "half": torch.tensor([0.5], dtype=torch.float16),
        "flag": torch.tensor([True, False]),
        "list": [torch.zeros(0), 3, "text"],
    }
    buffer = io.BytesIO()
    torch.save(kept, buffer, _use_new_zipfile_serialization=False)
    read = load_old_torch(buffer.getvalue(), "test")
    assert read["view"].tolist() == kept["view"].tolist()  # type: ignore[union-attr]
    assert read["half"].dtype == np.float16 and read["half"].tolist() == [0.5]
    assert read["flag"].tolist() == [True, False]
    assert read["list"][0].shape == (0,) and read["list"][1:] == [3, "text"]
