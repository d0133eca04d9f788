"""Damaged and hostile data sets are refused by a sentence; numpy neither reads nor allocates beyond them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jmp_calc.errors import BadInputError, JMPError
from jmp_calc.training.datasets.formats.graph_pickles import load_old_torch, load_plain, load_record
from jmp_calc.training.datasets.formats.npz import read_members
from jmp_calc.training.datasets.registry import family
from jmp_calc.training.records.record_set import RecordSet
from jmp_calc.training.records.writer import RecordWriter
from tests.training.helpers.md_frames import molecule_md


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def old_storage(count: int = 4, stated: int | None = None, key: str = "0") -> bytes:
    """torch.save's old form of a storage of float32 ones."""
    pid = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + integer(count)
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {})]
    stated = count if stated is None else stated
    numbers = np.ones(count, "<f4").tobytes()
    tail = pickle.dumps([key], 2) + stated.to_bytes(8, "little") + numbers
    return b"".join([*parts, b"\x80\x02", pid, b"NtQ.", tail])


def record(shape: int = 4, stride: int = 1, offset: int = 0, state: bytes = b"", times: int = 1) -> bytes:
    """A pickled graph object whose positions are a tensor, changed by ``state`` after it was made."""
    data = old_storage()
    tensor = named("torch._utils", "_rebuild_tensor_v2") + b"(" + named("torch.storage", "_load_from_bytes")
    tensor += b"B" + struct.pack("<I", len(data)) + data + b"\x85R" + integer(offset)
    tensor += b"(" + integer(shape) + b"t(" + integer(stride) + b"t\x89"
    tensor += named("collections", "OrderedDict") + b")RtR" + state
    value = b"(" + tensor + b"2" * (times - 1) + b"l" if times > 1 else tensor
    graph = b"\x80\x03" + named("torch_geometric.data.data", "Data") + b")\x81}("
    return graph + text("pos") + value + b"ub."


def changed(name: str, value: bytes) -> bytes:
    return b"}" + b"(" + text(name) + value + b"ub"


def test_a_sound_record_is_read() -> None:
    assert load_record(record(), "x")["pos"].tolist() == [1.0] * 4
    assert load_record(record(shape=2, stride=2, offset=1), "x")["pos"].tolist() == [1.0] * 2


@pytest.mark.parametrize(
    "data",
    [
        record(state=changed("shape", b"(" + integer(4096) + b"t")),
        record(state=changed("stride", b"(" + integer(1 << 20) + b"t")),
        record(state=changed("offset", integer(1 << 20))),
        record(state=changed("storage", b"N")),
        record(shape=5),
        record(stride=2),
        record(offset=1),
        record(shape=-1),
        record(stride=-1),
        record(shape=1 << 30, stride=0),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        load_record(data, "x")


@pytest.mark.parametrize("data", [old_storage(key="1"), old_storage(stated=5), old_storage()[:-4], b"", b"."])
def test_storages_that_are_not_there_are_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        load_old_torch(data, "x")


def test_containers_that_hold_themselves_or_double_are_refused() -> None:
    doubling = b"]" + b"".join(
        b"q" + bytes([i]) + b"0]h" + bytes([i]) + b"ah" + bytes([i]) + b"a" for i in range(60)
    )
    graph = b"\x80\x03" + named("torch_geometric.data.data", "Data") + b")\x81}("
    with pytest.raises(BadInputError, match="hold each other so often"):
        load_record(graph + text("pos") + doubling + b"ub.", "x")
    with pytest.raises(BadInputError, match="holds itself"):
        load_record(graph + text("pos") + b"]q\x00h\x00a" + b"ub.", "x")


def doubled(first: bytes, step: bytes, times: int = 60) -> bytes:
    """``first``, and ``times`` again ``step`` with the last object (memo entry 1) twice on the stack."""
    return first + b"q\x01" + (b"0h\x01h\x01" + step + b"q\x01") * times


@pytest.mark.parametrize("last", [b"Ns", b"0(h\x01Nu"], ids=["SETITEM", "SETITEMS"])
def test_keys_that_double_are_refused_at_once(last: bytes) -> None:
    """A key's hash visits all parts of a tuple as often as they occur."""
    data = b"\x80\x02}" + doubled(b")", b"\x86") + last + b"."
    for read in (load_plain, load_record, load_old_torch):
        with pytest.raises(BadInputError):
            read(data, "x")


def test_long_numbers_and_copies_do_not_multiply() -> None:
    number = b"\x8b" + struct.pack("<i", 100_000) + b"\x01" * 100_000 + b"q\x000"
    with pytest.raises(BadInputError, match="share their parts"):
        load_plain(b"\x80\x02" + number + b"}(" + b"h\x00N" * 100_000 + b"u.", "x")
    copies = named("collections", "OrderedDict") + b"](" + (text("k") + b"N\x86") * 2 + b"e\x85R."
    with pytest.raises(BadInputError, match="damaged"):
        load_plain(b"\x80\x02" + copies, "x")


def test_plain_keys_and_shared_parts_are_read() -> None:
    shared = (1, (2, 3), "x")
    value = {shared: [shared] * 50, (shared, shared): {"a": frozenset([shared])}}
    assert load_plain(pickle.dumps(value, 4), "x") == value


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_array_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("coords.npy", header.getvalue())
    with pytest.raises(BadInputError, match="plain numpy archive"):
        read_members(path, ["coords"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("coords.npy", bytes(200 << 20))
    with pytest.raises(BadInputError, match="unpacks to"):
        read_members(path, ["coords"])


def test_links_out_of_an_hdf5_file_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from jmp_calc.training.datasets.formats.hdf5 import array, opened

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(3)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/right"] = np.arange(3)
        file["g/inside"] = h5py.SoftLink("/g/right")
        file["g/outside"] = h5py.ExternalLink("other.h5", "/secret")
        file["g/nowhere"] = h5py.SoftLink("/none")
        file["g/circle"] = h5py.SoftLink("/g/circle")
        file["far"] = h5py.ExternalLink("other.h5", "/")
        file["g/through"] = h5py.SoftLink("/far/secret")
    with opened(path) as file:
        assert array(file["g"], "inside", path).tolist() == [0, 1, 2]
        for name in ("outside", "nowhere", "circle", "through", "missing"):
            with pytest.raises(BadInputError):
                array(file["g"], name, path)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes flipped, a stretch of zeros, or the end cut off."""
    place, kind = int(rng.integers(len(data))), int(rng.integers(3))
    if kind == 0:
        return data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]
    if kind == 1:
        return data[:place] + bytes(min(16, len(data) - place)) + data[place + 16 :]
    return data[:place]


def test_any_damage_of_small_files_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    """Bytes flipped, zeroed and cut with listed seeds: nothing but an error of ours, ever."""
    path = npz(tmp_path / "a.npz", coords=np.arange(12.0).reshape(2, 2, 3), z=np.array([1, 8]))
    archive, graph, plain = path.read_bytes(), record(), pickle.dumps({"random1": -1.5, "random2": 2.0})
    for seed in range(150):
        rng = np.random.default_rng(seed)
        path.write_bytes(damaged(archive, rng))
        for attempt in (
            lambda: read_members(path, ["coords", "z"]),
            lambda: load_record(damaged(graph, rng), "x"),  # noqa: B023
            lambda: load_plain(damaged(plain, rng), "x"),  # noqa: B023
            lambda: load_old_torch(damaged(old_storage(), rng), "x"),  # noqa: B023
        ):
            with suppress(JMPError):
                attempt()


def test_damage_of_a_record_set_is_a_sentence(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "set") as writer:
        for frame in molecule_md(3, "H2O"):
            writer.add(frame)
        writer.finish()
    for name in ("set.json", "sizes.npy"):
        path = tmp_path / "set" / name
        whole = path.read_bytes()
        for seed in range(40):
            path.write_bytes(damaged(whole, np.random.default_rng(seed)))
            with suppress(JMPError, IndexError):
                RecordSet(tmp_path / "set")[0]
        path.write_bytes(whole)
    content = json.loads((tmp_path / "set" / "set.json").read_text())
    for value in (None, "x", -1, 10**400, [], {}):
        for key in content:
            (tmp_path / "set" / "set.json").write_text(json.dumps({**content, key: value}))
            with suppress(JMPError, IndexError):
                RecordSet(tmp_path / "set")[0]
    (tmp_path / "set" / "set.json").write_text(json.dumps(content))
    assert len(RecordSet(tmp_path / "set")) == 3


SITE = '{"species": [{"element": "Si"}], "xyz": [0, 0, 0]}'
ROW = '[{"lattice": {"matrix": [[3, 0, 0], [0, 3, 0], [0, 0, 3]]}, "sites": [' + SITE + "]}, 1.0]"
TABLE = '{"columns": ["structure", "exfoliation_en"], "data": [' + ROW + "]}"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (TABLE, "[" * 100_000),
        (ROW, '{"a": ' * 100_000),
        ('["structure", "exfoliation_en"]', "5"),
        ('["structure", "exfoliation_en"]', "[[], {}]"),
        ("1.0]", "1" + "0" * 400 + "]"),
        ("1.0]", "9" * 5000 + "]"),
        ("[" + SITE + "]", "5"),
        ("[3, 0, 0]", "[1" + "0" * 400 + ", 0, 0]"),
        ('"Si"}', '"Si", "occu": 1' + "0" * 400 + "}"),
        ("structure", "\x00"),
        ("structure", "\xff"),
    ],
)
def test_any_value_of_a_table_of_crystals_is_a_sentence(tmp_path: Path, right: str, wrong: str) -> None:
    path = tmp_path / "matbench_jdft2d.json"
    path.write_text(TABLE.replace(right, wrong, 1), encoding="latin-1")
    with pytest.raises(BadInputError) as error:
        list(family("matbench").open(tmp_path, "jdft2d"))
    assert path.name in str(error.value.where) or tmp_path.name in str(error.value.where)


def test_a_value_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    (tmp_path / "matbench_jdft2d.json.gz").write_bytes(gzip.compress(b'{"columns": "' + b"a" * (70 << 20), 1))
    with pytest.raises(BadInputError, match="a value is longer than 64 MB"):
        family("matbench").open(tmp_path, "jdft2d")


@pytest.mark.parametrize(
    "table",
    [
        b"label,pdb_id\n5.0\n",
        b"pdb_id,label\n" + b"a" * 300 + b",5\n",
        b"pdb_id,label\n" + b"a" * 200_000 + b",5\n",
        b"pdb_id,label\n\xff,5\n",
        b"pdb_id,label\n\0,5\n",
        b'pdb_id,label\n"1abc,5\n',
    ],
    ids=["short row", "long name", "long field", "no UTF-8", "zero byte", "open quote"],
)
def test_any_damage_of_a_csv_table_is_a_sentence(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "pdbbind_v2013_core.csv").write_bytes(table)
    with pytest.raises(BadInputError):
        list(family("pdbbind").open(tmp_path, "core"))
