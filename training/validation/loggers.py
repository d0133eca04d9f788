"""Where the rows of metrics.csv go besides: TensorBoard and Weights & Biases, if they are installed and asked
for."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jmp_calc.errors import UsageError

from .history import MetricLogger

if TYPE_CHECKING:
    from .history import Row

LoggerName = Literal["tensorboard", "wandb"]
LOGGERS: tuple[LoggerName, ...] = ("tensorboard", "wandb")
TENSORBOARD_FOLDER, WANDB_ID = "tensorboard", "wandb-id.txt"


def require_installed(names: Sequence[LoggerName]) -> None:
    """UsageError with the pip command if a package is missing; to be called before the data are read."""
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"There is no logger {name!r}.", hint=f"choose from {', '.join(LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"{name} is not installed.", where=f"--{name}", hint=f'pip install "jmp-calc[{name}]"'
            )


@contextmanager
def open_loggers(
    names: Sequence[LoggerName], folder: Path, settings: dict[str, Any], resume_step: int | None
) -> Iterator[tuple[MetricLogger, ...]]:
    """The loggers of a run in ``folder``, closed at the end; with ``resume_step``, rows after it are written
    again."""
    made: list[MetricLogger] = []
    with ExitStack() as stack:
        for name in names:
            made.append(
                TensorBoardLogger(folder / TENSORBOARD_FOLDER, resume_step)
                if name == "tensorboard"
                else WandbLogger(folder, settings)
            )
            stack.callback(made[-1].close)
        yield tuple(made)


def numbers(row: Row) -> dict[str, float]:
    """The columns of a row that have a number, except the step."""
    columns = {name: value for name, value in asdict(row).items() if name not in ("step", "weights")}
    return {name: float(value) for name, value in columns.items() if value is not None}


class TensorBoardLogger:
    """Scalars by optimizer step in an event file; ``tensorboard --logdir run/tensorboard`` shows them."""

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps from here on are hidden: a killed run may have written them already.
        self._writer = SummaryWriter(str(folder), purge_step=None if resume_step is None else resume_step + 1)

    def add(self, row: Row) -> None:
        """One validation."""
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandbLogger:
    """One Weights & Biases run per folder, also over restarts; project, key and offline mode by its own
    WANDB_* variables."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import wandb

        path = folder / WANDB_ID
        if not path.is_file():
            path.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = wandb.init(
            dir=str(folder),
            id=path.read_text(encoding="utf-8").strip(),
            resume="allow",
            config=settings,
            name=folder.absolute().name,
        )

    def add(self, row: Row) -> None:
        """One validation."""
        self._run.log({"step": row.step, **numbers(row)})

    def close(self) -> None:
        """End the run, with what is not yet sent."""
        self._run.finish()
