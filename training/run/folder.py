"""The folder of a run: whether it can be resumed, and its log.

``train.log`` holds every line that is printed, with the time, and goes on over restarts.
"""

from __future__ import annotations

from pathlib import Path

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import Say
from jmp_calc.io.summary import read_summary

from .job import STATE_FILE
from .log import LOG_FILE

BEGUN_FILES = (LOG_FILE, "config.yaml", "recipe.yaml")
"""Written before the first step: the log before the data are read, then the settings of a fine-tuning or of a
pre-training."""


def has_state(folder: Path, say: Say) -> bool:
    """Whether a run can go on here; False, with a line for the user, if it was ended before its first saved
    state.

    UsageError if no run has begun here. To be asked before anything is written into the folder.
    """
    if (folder / STATE_FILE).is_file():
        return True
    stopped = (read_summary(folder / "summary.yaml") or {}).get("status") in ("running", "interrupted")
    if stopped or any((folder / name).is_file() for name in BEGUN_FILES):
        say("the earlier run was ended before its first saved state: this one starts at the beginning")
        return False
    raise UsageError("There is no run to resume here.", where=str(folder), hint="start it without --resume")
