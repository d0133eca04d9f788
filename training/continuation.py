"""What may differ between a run and its continuation (``--resume``), and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jmp_calc.errors import UsageError

from .checkpoint import Checkpoint
from .config import config_diff

_FREE = ("save_every_s", "patience", "processes")
"""Settings that decide when a run ends or how it computes, and nothing of what the next step does."""
_LENGTH = ("epochs", "max_steps", "max_time")
"""Settings of the length, which decide the learning rates of some schedules."""


def refuse_changes(checkpoint: Checkpoint, config: dict[str, Any], data: dict[str, Any], path: Path) -> None:
    """UsageError with the list of differences if the settings or the data are not those of the saved run.

    Free are: the patience, the number of processes, how often the state is saved, and the length where the learning rates
    do not follow it (stages by epoch).
    """
    free = (*_FREE, *(name for name in _LENGTH if name not in _deciding_rates(config)))
    before, now = ({key: value for key, value in c.items() if key not in free} for c in (checkpoint.config, config))
    settings, facts = config_diff(before, now), config_diff(checkpoint.data, data, "data.")
    if not settings and not facts:
        return
    old = f"--config {saved} --resume" if (saved := path.with_name("config.yaml")).is_file() else "the old settings"
    hint = f"go on with {old}, or with --override and the new ones"
    if not facts and all(line.split(":")[0] in _LENGTH for line in settings):
        hint = (f"the learning rates follow the length of a run: --override goes on along those of the new length, "
                f"{old} along the old ones")
    raise UsageError(f"The run was started with other settings or data: {'; '.join([*settings, *facts])}.",
                     where=str(path), hint=hint)


def _deciding_rates(config: dict[str, Any]) -> tuple[str, ...]:
    """Settings of the length that the learning rates, or the change from direct to conservative forces, depend on."""
    stages = config.get("optim", {}).get("stages")
    if stages is None or config.get("conservative_after") is not None:
        return _LENGTH
    return ("max_time",) if stages["limit"] == "time" else ()
