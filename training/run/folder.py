"""The folder of a run: the one way into it, and whether the run in it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import UsageError
from jmp_calc.io.outdir import Claim, HeldFolder, held, refuse_both
from jmp_calc.io.progress import Say
from jmp_calc.io.summary import SUMMARY_FILE

from ..distributed.world import World
from .job import STATE_FILE
from .log import LOG_FILE, RunLog, silent

BEGUN_FILES = (LOG_FILE, "config.yaml", "recipe.yaml")
"""Written before the first step: the log before the data are read, then the settings of a fine-tuning or of a
pre-training."""
RESUME_HINT = "--resume goes on with it"


@dataclass(frozen=True)
class Restart:
    """What is done with an earlier run in the folder; without any of them it is an error."""

    resume: bool = False
    """Go on with it (from the start, if it was killed before its first saved state)."""
    override: bool = False
    """Resume although settings or data have changed."""
    overwrite: bool = False
    """Replace it."""

    def __post_init__(self) -> None:
        refuse_both(self.resume, self.overwrite)
        if self.override and not self.resume:
            raise UsageError(
                "--override has no meaning without --resume.", hint="add --resume or leave it out"
            )


@dataclass(frozen=True)
class OpenedRun:
    """The folder of a run as one of its processes sees it; only the first one writes."""

    folder: Path
    world: World
    resume: bool
    """Whether there is a state to go on from."""
    override: bool
    say: Say
    """Takes lines for the user and for train.log."""


@contextmanager
def opened_run(
    out: Path | HeldFolder,
    outputs: Sequence[str],
    world: World,
    restart: Restart,
    *,
    inputs: Sequence[Path] = (),
    say: Say,
) -> Iterator[OpenedRun]:
    """The folder of a run, locked, cleared and with its log open while the block lasts.

    Args:
        out: the folder; what is held already (by the command line) is not locked or cleared again.
        outputs: names of the files of the run.
        world: the processes of the run; all of them call this, the first one writes.
        restart: what is done with an earlier run.
        inputs: files that the run reads: ``overwrite`` removes none of them.
        say: takes lines for the user.

    UsageError if the folder cannot be used, holds an earlier run, or none to resume.
    """
    resume, log, path = restart.resume, silent, out.path if isinstance(out, HeldFolder) else out
    with ExitStack() as stack:
        if world.is_first:
            if not isinstance(out, HeldFolder):
                names = (*outputs, SUMMARY_FILE)
                claim = Claim(
                    path, names, SUMMARY_FILE, resume, restart.overwrite, inputs, resume_hint=RESUME_HINT
                )
                stack.enter_context(held(claim))
            resume = resume and has_state(path, say)
            log = stack.enter_context(RunLog(path, say, resumed=resume))
        yield OpenedRun(path, world, world.from_first(resume), restart.override, log)


def has_state(folder: Path, say: Say) -> bool:
    """Whether a run can go on here; False, with a line for the user, if it was ended before its first saved
    state.

    UsageError if no run has begun here. To be asked before the log is opened.
    """
    if (folder / STATE_FILE).is_file():
        return True
    if any((folder / name).is_file() for name in BEGUN_FILES):
        say("the earlier run was ended before its first saved state: this one starts at the beginning")
        return False
    raise UsageError("There is no run to resume here.", where=str(folder), hint="start it without --resume")
