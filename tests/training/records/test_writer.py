"""Record sets are there whole or not at all: nothing half-written looks finished, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.lmdb import LmdbFile
from jmp_calc.training.records import writer as record_writer
from jmp_calc.training.records.record_set import RecordSet, record_key
from jmp_calc.training.records.writer import RecordWriter
from tests.training.helpers.record_frames import made, molecule
from tests.training.helpers.tiny import emt_frames


def test_set_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RecordWriter(tmp_path / "set") as writer:
        writer.add(emt_frames(1)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_killed_run_are_not_a_set_and_are_replaced(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "set")
    writer.__enter__()
    writer.add(emt_frames(1)[0])
    with pytest.raises(UsageError, match="Another jmp-calc job"):
        made(tmp_path / "set", emt_frames(1))
    writer._stack.close()  # as the system does for a process that is killed
    assert not (tmp_path / "set").exists()
    with pytest.raises(BadInputError, match="not a finished record set"):
        RecordSet(tmp_path / "set.part")
    assert len(made(tmp_path / "set", emt_frames(3))) == 3
    assert not (tmp_path / "set.part").exists()


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_set_that_is_not_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, when: str
) -> None:
    """Interrupted before or after one of the two renames: the old set is there, or the new one."""
    made(tmp_path / "set", emt_frames(2))
    calls = 0

    def replace_once(source: Path, target: Path) -> None:
        nonlocal calls
        if not Path(source).is_dir():
            Path(source).rename(target)
            return
        calls += 1
        if calls != call or when == "after":
            source.rename(target)
        if calls == call:
            raise KeyboardInterrupt

    monkeypatch.setattr(record_writer.os, "replace", replace_once)
    with pytest.raises(KeyboardInterrupt), RecordWriter(tmp_path / "set", overwrite=True) as writer:
        writer.add(emt_frames(1)[0])
        writer.finish()
    assert len(RecordSet(tmp_path / "set")) == (1 if (call, when) == (2, "after") else 2)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_working_directory_is_never_renamed_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for folder in (".", "..", "/", "", "below/..", tmp_path / "here"):
        with pytest.raises(UsageError, match="holds the working directory.*records/NAME"):
            RecordWriter(folder)
    assert len(made(tmp_path / "here" / "below" / ".", emt_frames(1))) == 1
    (tmp_path / "other" / "inside").mkdir(parents=True)
    assert (tmp_path / "other" / "inside" / "..").resolve().name == "other"
    with pytest.raises(UsageError, match="exists and is not a record set"):
        RecordWriter(tmp_path / "other" / "inside" / "..")


def test_only_record_sets_are_replaced(tmp_path: Path) -> None:
    made(tmp_path / "set", emt_frames(2))
    with pytest.raises(UsageError, match="exists already"):
        RecordWriter(tmp_path / "set")
    with RecordWriter(tmp_path / "set", overwrite=True) as writer:
        writer.add(emt_frames(1)[0])
        assert len(RecordSet(tmp_path / "set")) == 2  # until the new one is complete
        assert len(writer.finish()) == 1
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [
        "records-0000.lmdb",
        "set.json",
        "sizes.npy",
    ]
    (tmp_path / "set/thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="thesis.tex"):
        RecordWriter(tmp_path / "set", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a record set"):
        RecordWriter(tmp_path / "mine", overwrite=True)


def test_a_set_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No frame is left"), RecordWriter(tmp_path / "set") as writer:
        writer.finish(left_out={"few atoms": 3})
    assert not (tmp_path / "set").exists()


def test_the_file_grows_as_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_writer, "_FIRST_MAP", 1 << 16)
    frames = [molecule([6] * 1000, -1.0 * i, i) for i in range(40)]  # 1 MB
    records = made(tmp_path / "set", frames)
    assert [records[i].energy for i in range(40)] == [frame.energy for frame in frames]


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, share: float) -> None:
    made(tmp_path / "set", emt_frames(200))
    cut(tmp_path / "set/records-0000.lmdb", share)
    with pytest.raises(BadInputError, match=r"records-0000.lmdb has \d+ bytes instead of \d+"):
        RecordSet(tmp_path / "set")
    with pytest.raises(BadInputError, match="cut off|not a readable LMDB"):
        LmdbFile(tmp_path / "set/records-0000.lmdb").get(record_key(0))


def test_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "set"
    records = made(path, emt_frames(50))
    assert records.info.shards[0].count == 50
    good = (path / "records-0000.lmdb").read_bytes()
    (path / "records-0000.lmdb").write_bytes(bytes(len(good)))
    with pytest.raises(BadInputError, match="not a readable LMDB file"):
        RecordSet(path)[0]
    (path / "records-0000.lmdb").unlink()
    with pytest.raises(BadInputError, match="is missing"):
        RecordSet(path)
    (path / "records-0000.lmdb").write_bytes(good)
    (path / "sizes.npy").write_bytes(b"")
    with pytest.raises(BadInputError, match="sizes of the frames"):
        RecordSet(path)
    with pytest.raises(BadInputError, match="not a finished record set"):
        RecordSet(path / "records-0000.lmdb")


@pytest.mark.parametrize(
    "change", [{"version": 99}, {"format": "other"}, {"shards": 3}, {"statistics": {}}, {"more": 1}]
)
def test_a_changed_description_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    made(tmp_path / "set", emt_frames(1))
    path = tmp_path / "set/set.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BadInputError) as caught:
        RecordSet(tmp_path / "set")
    assert "set.json" in str(caught.value)
