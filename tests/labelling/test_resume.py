"""A run that is killed at any moment goes on: the same frames in the same order with the same labels."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import ase.io
import pytest
from ase import Atoms

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.labelling.label import label
from tests.labelling.test_label import EMT_NAME, MINE, pool
from tests.programs import JMP_CALC, run, started


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    whole = label(pool(24), EMT_NAME, out=tmp_path / "whole")
    ase.io.write(tmp_path / "pool.extxyz", pool(24))
    words = [
        "label",
        tmp_path / "pool.extxyz",
        "--calculator",
        f"{MINE}:slow",
        "--kwargs",
        '{"seconds": 0.25}',
    ]
    command = [*JMP_CALC, *words, "--processes", 2, "-o", tmp_path / "out", "--resume"]
    for _ in range(2):
        with started(command) as process:
            wait_for_part(tmp_path / "out" / "parts", process)
            process.kill()
    done = run(command)
    assert done.returncode == 0 and "24 frames labelled" in done.stderr, done.stderr
    for one, other in zip(frames(whole.path), frames(tmp_path / "out" / "labelled.extxyz"), strict=True):
        assert one.info.get("sample_id") == other.info.get("sample_id")
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-8)


def frames(path: Path) -> list[Atoms]:
    return ase.io.read(path, ":")


def wait_for_part(folder: Path, run: subprocess.Popen[str]) -> None:
    """Until one more part is there than before, or the run is done."""
    before = len(list(folder.glob("part-*.npz")))
    for _ in range(600):
        if len(list(folder.glob("part-*.npz"))) > before or run.poll() is not None:
            return
        time.sleep(0.05)
    raise AssertionError("no part was written")


def test_only_what_is_new_is_computed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = {
        "calculator": f"{MINE}:counting",
        "kwargs": {"file": str(log)},
        "out": tmp_path,
        "isolated": False,
    }
    label(pool(6), **given)
    result = label(pool(9), resume=True, **given)
    assert len(log.read_text()) == 9 and result.n_computed == 3 and result.n_frames == 9
    changed = pool(9)
    changed[4].positions[0, 0] += 0.1
    assert label(changed, resume=True, max_force=1e3, **given).n_computed == 1


def test_frames_that_are_gone_from_the_file_are_told(tmp_path: Path) -> None:
    label(pool(6), EMT_NAME, out=tmp_path, isolated=False)
    with pytest.warns(JMPWarning, match="had 6 frames before, and has 2 now"):
        label(pool(2), EMT_NAME, out=tmp_path, isolated=False, resume=True)


def test_failures_are_asked_again_on_request(tmp_path: Path) -> None:
    from ase.build import bulk

    given = {"calculator": f"{MINE}:Moody", "out": tmp_path, "isolated": False}
    frames = [bulk("Cu"), bulk("Pt")]
    assert label(frames, **given).n_computed == 2
    assert label(frames, resume=True, **given).n_computed == 0
    assert label(frames, resume=True, retry=True, **given).n_computed == 1


def test_labels_of_two_teachers_are_not_mixed(tmp_path: Path) -> None:
    label(pool(2), EMT_NAME, out=tmp_path)
    with pytest.raises(UsageError, match="another teacher: .*method"):
        label(pool(2), EMT_NAME, method="other", out=tmp_path, resume=True)
    with pytest.raises(UsageError, match="exists already"):
        label(pool(2), EMT_NAME, out=tmp_path)


def test_a_damaged_part_is_computed_again(tmp_path: Path) -> None:
    whole = label(pool(4), EMT_NAME, out=tmp_path)
    energies = [atoms.get_potential_energy() for atoms in frames(whole.path)]
    (part,) = (tmp_path / "parts").glob("part-*.npz")
    part.write_bytes(part.read_bytes()[:200])
    again = label(pool(4), EMT_NAME, out=tmp_path, resume=True)
    assert again.n_computed == 6
    assert [atoms.get_potential_energy() for atoms in frames(again.path)] == pytest.approx(
        energies, abs=1e-12
    )
