"""The one door to the folder of a run: who may enter, what is removed, whether a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.io.outdir import LOCK_NAME, Claim, held, locked
from jmp_calc.training.distributed.world import World
from jmp_calc.training.run.folder import OpenedRun, Restart, opened_run

OUTPUTS = ("best.safetensors", "state.pt", "config.yaml")


def entered(out: object, restart: Restart = Restart(), inputs: tuple[Path, ...] = ()) -> OpenedRun:
    with opened_run(out, OUTPUTS, World(), restart, inputs=inputs, say=lambda line: None) as opened:  # type: ignore[arg-type]
        return opened


def test_a_new_folder_is_made_and_has_a_log(tmp_path: Path) -> None:
    opened = entered(tmp_path / "runs" / "a")
    assert not opened.resume
    assert (opened.folder / "train.log").read_text().splitlines()[-1].endswith("ended")


def test_another_job_in_the_folder_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="Another jmp-calc job"):
        entered(tmp_path)


def test_what_is_held_already_is_neither_locked_nor_cleared_again(tmp_path: Path) -> None:
    """The command line holds the folder and writes its summary before the run begins."""
    with held(Claim(tmp_path, OUTPUTS)) as folder:
        (tmp_path / "config.yaml").write_text("of the caller")
        assert not entered(folder).resume
        assert (tmp_path / "config.yaml").read_text() == "of the caller"


def test_earlier_outputs_are_kept_until_they_are_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_text("weights")
    (tmp_path / "summary.yaml").write_text("status: ok\n")
    (tmp_path / ".state.pt.x1.tmp").write_text("half")
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        entered(tmp_path)
    entered(tmp_path, Restart(overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_NAME, "notes.md", "train.log"]


def test_overwrite_never_removes_what_the_run_reads(tmp_path: Path) -> None:
    """Such as the best model of the earlier run, to start from."""
    start = tmp_path / "best.safetensors"
    start.write_text("weights")
    with pytest.raises(UsageError, match="would remove a file that this run reads"):
        entered(tmp_path, Restart(overwrite=True), inputs=(start,))
    assert start.exists()


@pytest.mark.parametrize("name", ["train.log", "config.yaml", "recipe.yaml"])
def test_a_run_that_was_ended_before_its_first_state_starts_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert not entered(tmp_path, Restart(resume=True)).resume
    (tmp_path / "state.pt").write_text("state")
    assert entered(tmp_path, Restart(resume=True)).resume


def test_nothing_to_resume_and_contradictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        entered(tmp_path, Restart(resume=True))
    with pytest.raises(UsageError, match="--resume and --overwrite contradict"):
        Restart(resume=True, overwrite=True)
    with pytest.raises(UsageError, match="--override has no meaning without --resume"):
        Restart(override=True)


def test_processes_beside_the_first_write_nothing(tmp_path: Path) -> None:
    second = World(rank=1, size=1)
    with opened_run(tmp_path / "run", OUTPUTS, second, Restart(), say=print) as opened:
        opened.say("not heard")
    assert not (tmp_path / "run").exists()
