"""A file of records holds what was put into it, whole or not at all, and only for the run that it is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.records import RecordFile

BELONGS = {"model": "a", "numbers": np.arange(3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "computed.state"


def filled(path: Path) -> RecordFile:
    records = RecordFile.fresh(path, BELONGS)
    records.put({"one": {"forces": np.eye(3), "energy": 1.5}, "two": {"forces": np.zeros((2, 3))}})
    return records


def test_arrays_come_back_bit_for_bit(path: Path) -> None:
    filled(path).put({"three": {"x": np.array([np.pi])}})
    again = RecordFile.resumed(path, BELONGS)
    assert len(again) == 3
    one = again.get("one")
    assert one is not None
    assert one["energy"].shape == () and float(one["energy"]) == 1.5
    assert one["forces"].tobytes() == np.eye(3).tobytes()
    assert again.get("four") is None


def test_every_cut_loses_whole_records_only(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1
    counts = set()
    for end in range(header, len(whole) + 1, 97):
        path.write_bytes(whole[:end])
        records = RecordFile.resumed(path, BELONGS)
        counts.add(len(records))
        records.put({"new": {"x": np.ones(2)}})
        assert len(RecordFile.resumed(path, BELONGS)) == len(records)
    assert {0, 1} <= counts


def test_a_spoilt_record_is_not_taken(path: Path) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert RecordFile.resumed(path, BELONGS).get("two") is None
    assert RecordFile.resumed(path, BELONGS).get("one") is not None


def test_another_run_is_named(path: Path) -> None:
    filled(path)
    with pytest.raises(UsageError, match="belongs to another run: other model"):
        RecordFile.resumed(path, {**BELONGS, "model": "b"})


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"format": "x"}\n'])
def test_what_is_no_such_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="no sound state"):
        RecordFile.resumed(path, BELONGS)


def test_a_fresh_file_replaces_an_old_one(path: Path) -> None:
    filled(path)
    assert len(RecordFile.fresh(path, BELONGS)) == 0
    assert len(RecordFile.resumed(path, BELONGS)) == 0
