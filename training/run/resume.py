"""What may differ between a run and its continuation (``--resume``), and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.errors import UsageError
from jmp_calc.model.config import model_config_from_dict

from ..config import TrainConfig, config_diff, config_to_dict
from ..optim.lora import without_updates
from .checkpoint import Checkpoint, load_checkpoint
from .job import STATE_FILE

if TYPE_CHECKING:
    import torch

    from jmp_calc.model.potential import Potential

_FREE = ("save_every_s", "patience", "processes", "compile")
"""Settings that decide when a run ends or how it computes, and nothing of what the next step does."""
_LENGTH = ("epochs", "max_steps", "max_time")
"""Settings of the length, which decide the learning rates of some schedules."""


def resumed(
    folder: Path,
    config: TrainConfig,
    data: dict[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
    override: bool = False,
) -> tuple[Potential, Checkpoint]:
    """The network and the state of the run in ``folder``: the one place where a run reads its state.

    The state names its own network, so that a start model that has changed since cannot slip in.

    Args:
        folder: of the run.
        config: settings of now.
        data: identity of the data of now.
        dtype: of the network.
        device: of the network; the state stays on the CPU.
        override: go on although settings or data have changed.

    UsageError if there is no state or ``refuse_changes`` finds a difference, BadInputError if it is damaged.
    """
    from jmp_calc.model.potential import Potential

    path = folder / STATE_FILE
    checkpoint = load_checkpoint(path)
    refuse_changes(checkpoint, config_to_dict(config), data, path, override=override)
    network = model_config_from_dict(checkpoint.model_config)
    potential = Potential.from_state(network, without_updates(checkpoint.weights))
    return potential.to(dtype=dtype, device=device), checkpoint


def refuse_changes(
    checkpoint: Checkpoint,
    config: dict[str, Any],
    data: dict[str, Any],
    path: Path,
    *,
    override: bool = False,
) -> None:
    """UsageError with the list of differences if the settings or the data are not those of the saved run.

    Free are: the patience, the number of processes, whether steps are compiled, how often the state is saved,
    and the length where the learning rates do not follow it (stages by epoch). With
    ``override`` everything that the saved weights, averages and optimizer can follow.
    """
    if override:
        _refuse_unfit(checkpoint, config, data, path)
        return
    free = (*_FREE, *(name for name in _LENGTH if name not in _deciding_rates(config)))
    before, now = (
        {key: value for key, value in c.items() if key not in free} for c in (checkpoint.config, config)
    )
    settings, facts = config_diff(before, now), config_diff(checkpoint.data, data, "data.")
    if not settings and not facts:
        return
    old = (
        f"--config {saved} --resume"
        if (saved := path.with_name("config.yaml")).is_file()
        else "the old settings"
    )
    hint = f"go on with {old}, or with --override and the new ones"
    if not facts and all(line.split(":")[0] in _LENGTH for line in settings):
        new = "--override goes on along those of the new length"
        hint = f"the learning rates follow the length of a run: {new}, {old} along the old ones"
    raise UsageError(
        f"The run was started with other settings or data: {'; '.join([*settings, *facts])}.",
        where=str(path),
        hint=hint,
    )


def is_measured_otherwise(checkpoint: Checkpoint, config: dict[str, Any], data: dict[str, Any]) -> bool:
    """Whether validation errors from now on cannot be compared with the saved ones: another loss, metric or
    data for it."""
    old, new = (
        {key: value for key, value in facts.items() if key != "train"} for facts in (checkpoint.data, data)
    )
    return old != new or any(
        checkpoint.config.get(key) != config.get(key) for key in ("loss", "metric", "forces")
    )


def has_other_rates(checkpoint: Checkpoint, config: dict[str, Any]) -> bool:
    """Whether learning rates that a plateau has reduced have lost their meaning."""
    return any(
        checkpoint.config["optim"].get(key) != config["optim"].get(key)
        for key in ("lr", "layer_rates", "stages")
    )


def _refuse_unfit(checkpoint: Checkpoint, config: dict[str, Any], data: dict[str, Any], path: Path) -> None:
    changes = config_diff(_shape(checkpoint.config, checkpoint.data), _shape(config, data))
    if changes:
        raise UsageError(
            f"The saved state cannot go on with another setting here: {'; '.join(changes)}.",
            where=str(path),
            hint="leave it as it was, or start another run with -o DIR (-m FILE of this one)",
        )


def _shape(config: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What decides which weights are trained, averaged and grouped."""
    optim = config.get("optim", {})
    return {
        **{name: config.get(name) for name in ("freeze", "lora_rank", "lora_alpha")},
        "optim.ema_decay": "none" if optim.get("ema_decay") is None else "averaged",
        "optim.method": str(optim.get("method", "adamw")),
        "optim.layer_rates": f"{len(optim.get('layer_rates', ()))} rates",
        "head": data.get("start", {}).get("head"),
    }


def _deciding_rates(config: dict[str, Any]) -> tuple[str, ...]:
    """Settings of the length that the learning rates, or the change from direct to conservative forces,
    depend on."""
    stages = config.get("optim", {}).get("stages")
    if stages is None or config.get("conservative_after") is not None:
        return _LENGTH
    return ("max_time",) if stages["limit"] == "time" else ()
