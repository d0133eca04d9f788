"""``jmp-calc preprocess`` from the command line: a record set, its report, refusals and interruption."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from jmp_calc.training.records.record_set import RecordSet
from tests.programs import JMP_CALC, started
from tests.training.helpers.tiny import emt_file


def test_file_becomes_a_record_set(run, tmp_path: Path) -> None:
    data = emt_file(tmp_path / "emt.extxyz", 6)
    done = run("preprocess", data, "-o", tmp_path / "set")
    assert done.exit_code == 0, done.output
    assert "6 frames, 4.0 atoms" in done.stdout
    assert "elements    Al Cu" in done.stdout
    assert "energy 6, forces 6, stress 6" in done.stdout
    assert len(RecordSet(tmp_path / "set")) == 6
    again = run("preprocess", data, "-o", tmp_path / "set")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert run("preprocess", data, "-o", tmp_path / "set", "--overwrite", "-q").exit_code == 0


def test_keys_and_skipping_of_bad_frames(run, tmp_path: Path) -> None:
    data = emt_file(tmp_path / "emt.extxyz", 4)
    before, last = data.read_text().replace(" energy=", " dft=").rsplit(" dft=", 1)
    data.write_text(f"{before} dft=nan was={last}")
    words = ("preprocess", data, "-o", tmp_path / "set")
    refused = run(*words)
    assert refused.exit_code == 4
    assert "--energy-key" in refused.stderr
    refused = run(*words, "--energy-key", "dft")
    assert refused.exit_code == 4
    assert "frame 3" in refused.stderr
    done = run(*words, "--energy-key", "dft", "--on-bad", "skip")
    assert done.exit_code == 0, done.output
    assert "1 frames left out: 1 energy not finite" in done.stderr
    assert not (tmp_path / "set.part").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("none.xyz",), 4, "No such file"),
        (("a.extxyz", "--part", "train"), 2, "--part has no meaning here"),
        (("a.extxyz", "--dataset", "rmd71"), 2, "did you mean rmd17"),
        (("a.extxyz", "--dataset", "rmd17"), 2, "--member"),
        (("a.extxyz", "--dataset", "oc20", "--energy-key", "e"), 2, "--energy-key has no meaning here"),
        (("a.extxyz", "a.extxyz", "--dataset", "oc20"), 2, "one folder"),
        (("a.extxyz", "a.extxyz"), 2, "twice"),
        (("a.lmdb",), 4, "--dataset oc20"),
    ],
)
def test_refusals(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    emt_file(tmp_path / "a.extxyz", 1)
    (tmp_path / "a.lmdb").write_bytes(b"nothing")
    done = run("preprocess", *words, "-o", "set")
    assert done.exit_code == code, done.output
    assert text in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_leaves_nothing_that_looks_finished(tmp_path: Path, kill: int) -> None:
    data = emt_file(tmp_path / "emt.extxyz", 20)
    data.write_text(data.read_text() * 500)
    with started([*JMP_CALC, "preprocess", data, "-o", tmp_path / "set"]) as process:
        deadline = time.monotonic() + 120.0
        while not (tmp_path / "set.part/records-0000.lmdb").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(kill)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[kill], stderr
    assert not (tmp_path / "set").exists()
    assert (tmp_path / "set.part").exists() == (kill == signal.SIGKILL)
