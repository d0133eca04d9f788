"""Hostile and damaged .pt files are refused before anything in them runs (faults 70, 71)."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jmp_calc.errors import ModelError
from jmp_calc.zoo.official import official_state
from tests.zoo import synthetic


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


CALLS: dict[str, Callable[[str], Call]] = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "eval": lambda mark: Call(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Call(builtins.open, mark, "w"),
    "getattr": lambda mark: Call(getattr, "os", "system"),
    "Popen": lambda mark: Call(subprocess.Popen, ["touch", mark]),
    "Path.touch": lambda mark: Call(Path.touch, Path(mark)),
    "__import__": lambda mark: Call(__import__, "antigravity"),
    "torch.load": lambda mark: Call(torch.load, mark),
    "torch.hub": lambda mark: Call(torch.hub.load, "a/b", "c"),
    "pickle.loads": lambda mark: Call(pickle.loads, pickle.dumps(1)),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", CALLS)
def test_code_in_the_pickle_is_refused_and_never_runs(tmp_path: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "executed"
    data = synthetic.checkpoint()
    data["callbacks"]["payload"] = CALLS[name](str(mark))
    torch.save(data, tmp_path / "evil.pt", pickle_protocol=protocol)
    with pytest.raises(ModelError, match="names code") as caught:
        official_state(tmp_path / "evil.pt")
    assert "nothing was executed" in str(caught.value)
    assert not mark.exists()


class TrainerConfig:
    """Stands for a class of a training framework."""

    def __init__(self) -> None:
        self.steps = 3


def test_classes_of_a_framework_are_tolerated_but_inert(tmp_path: Path) -> None:
    TrainerConfig.__module__ = "some_framework.config"
    import sys
    import types

    module = types.ModuleType("some_framework.config")
    module.TrainerConfig = TrainerConfig  # type: ignore[attr-defined]
    sys.modules["some_framework"], sys.modules["some_framework.config"] = (
        types.ModuleType("some_framework"),
        module,
    )
    try:
        path = synthetic.write(
            tmp_path / "s.pt", lambda c: c["hyper_parameters"].update(trainer=TrainerConfig())
        )
    finally:
        del sys.modules["some_framework"], sys.modules["some_framework.config"]
    assert official_state(path)[0].default_head == "ani1x"
    assert "some_framework.config" not in sys.modules


def raw_zip(path: Path, pickled: bytes, *, compression: int = zipfile.ZIP_STORED, **extra: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, data in extra.items():
            archive.writestr(f"a/data/{name.removeprefix('s')}", data)
    return path


PICKLES = {
    "INST": b"(S'touch x'\nios\nsystem\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "huge memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "cut off": b"\x80\x02}q\x00(X\x05\x00",
    "empty": b"",
    "no dict": pickle.dumps([1, 2], 2),
    "persistent text": b"Pabc\n.",
    "not pickled": b"hello world",
    "key of doubled tuples": b"\x80\x02})q\x01" + b"0h\x01h\x01\x86q\x01" * 60 + b"Ns.",
    "element of doubled frozen sets": b"\x80\x04\x8f()q\x01" + b"0h\x01h\x01\x86q\x01" * 60 + b"\x90.",
    "tuples in tuples": b"\x80\x02})" + b"\x85" * 200 + b"22\x86" * 60 + b"Ns.",
    "deep key": b"\x80\x02})" + b"\x85" * 2_000_000 + b"Ns.",
    "doubled path": b"\x80\x02cpathlib\nPurePath\nq\x00X\x04\0\0\0abcd"
    + b"q\x010h\x00h\x01h\x01\x86R" * 60
    + b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_strange_pickles_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError):
        official_state(raw_zip(tmp_path / "x.pt", PICKLES[name]))


def tensor_pickle(
    numel: int, shape: tuple[int, ...], stride: tuple[int, ...], *, key: str = "0", offset: int = 0
) -> bytes:
    """A state dict with one float32 tensor, assembled by hand as torch.save would write it."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", numel) if obj is storage else None

    out, storage = io.BytesIO(), object()
    call = Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})
    Pickler(out, 2).dump({"state_dict": {"x": call}})
    return out.getvalue()


LIES = {
    "storage missing": (tensor_pickle(4, (4,), (1,), key="7"), "is missing"),
    "storage shorter than stated": (tensor_pickle(400, (400,), (1,)), "has not the 400"),
    "tensor beyond its storage": (tensor_pickle(4, (4,), (1,), offset=1), "larger than its storage"),
    "expanded tensor": (tensor_pickle(4, (10**12,), (0,)), "larger than its storage"),
    "negative shape": (tensor_pickle(4, (-1,), (1,)), "broken tensor"),
    "path as key": (tensor_pickle(4, (4,), (1,), key="../../etc/passwd"), "is missing"),
}


@pytest.mark.parametrize("lie", LIES)
def test_tensors_that_lie_about_their_size_are_refused(tmp_path: Path, lie: str) -> None:
    pickled, message = LIES[lie]
    with pytest.raises(ModelError, match=message):
        official_state(raw_zip(tmp_path / "x.pt", pickled, s0=bytes(16)))


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    """A deflated archive may unpack to any size; torch.save never writes one."""
    pickled = tensor_pickle(4, (4,), (1,))
    path = raw_zip(tmp_path / "bomb.pt", pickled, compression=zipfile.ZIP_DEFLATED, s0=bytes(10**6))
    with pytest.raises(ModelError, match="compressed"):
        official_state(path)


def patched(path: Path, find: bytes, offset: int, value: bytes, *, last: bool = True) -> Path:
    """Overwrite bytes at ``offset`` from the last (or first) place where ``find`` stands."""
    data = bytearray(path.read_bytes())
    place = (data.rindex(find) if last else data.index(find)) + offset
    data[place : place + len(value)] = value
    path.write_bytes(data)
    return path


def test_entries_that_lie_about_size_or_place_are_refused(tmp_path: Path) -> None:
    size, where = 24, 42  # fields of a central directory record
    for offset, value in (
        (size, struct.pack("<I", 10**9)),
        (where, struct.pack("<I", 3)),
        (20, struct.pack("<I", 5)),
    ):
        path = raw_zip(tmp_path / "x.pt", tensor_pickle(4, (4,), (1,)), s0=bytes(16))
        with pytest.raises(ModelError, match=r"two different sizes|overlaps|outside|broken"):
            official_state(patched(path, b"PK\x01\x02", offset, value))


def test_damaged_and_truncated_files(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path / "s.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="broken zip archive"):
        official_state(path)
    path.write_bytes(whole)
    weight = synthetic.state_dict(synthetic.SMALL)["embedding.atom_embedding.weight"] * 0.5
    patched(path, weight.numpy().tobytes(), 0, b"\x01\x02")
    with pytest.raises(ModelError, match="checksum"):
        official_state(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\x80\x02}q\x00.", "bare pickle"),
        (b"\x00\x01garbage", "unknown"),
        (b'3\nLattice="3 0 0 0 3 0 0 0 3"\nO 0 0 0', "a file of text.*argument STRUCT"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        official_state(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(ModelError, match="Cannot open"):
            official_state(path)
