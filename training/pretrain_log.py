"""What a pre-training writes while it runs: means of the loss terms, errors per set."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import Progress

Say = Callable[[str], None]


class LossLog:
    """Running means of the loss terms, read from the device once in a while."""

    EVERY = 100

    def __init__(self, path: Path, say: Say) -> None:
        self.path, self.say = path, say
        self.sums: Tensor | None = None
        self.count = self.structures = self.edges = 0
        self.since = time.monotonic()

    def add(self, progress: Progress, lr: float, numbers: Tensor, n_structures: int, n_edges: int) -> None:
        """Add the (total, energy, forces, stress, gradient norm) of one step."""
        self.sums = numbers.clone() if self.sums is None else self.sums + numbers
        self.count += 1
        self.structures += n_structures
        self.edges += n_edges
        if progress.step % self.EVERY and progress.step not in (1, 10, 30):
            return
        means = [float(f"{value:.5g}") for value in (self.sums / self.count).tolist()]
        seconds = time.monotonic() - self.since
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(["step", "seconds", "lr", "loss", "energy", "forces", "stress", "gradient_norm"])
            writer.writerow([progress.step, round(progress.elapsed, 1), f"{lr:.3g}", *means])
        self.say(
            f"step {progress.step} {progress.elapsed:.0f} s lr {lr:.2e} loss {means} "
            f"{seconds / self.count * 1e3:.0f} ms/step {self.edges / seconds / 1e3:.0f} k edges/s "
            f"{self.structures / seconds:.0f} structures/s{memory()}"
        )
        self.sums, self.count, self.structures, self.edges, self.since = None, 0, 0, 0, time.monotonic()


def memory() -> str:
    """Largest GPU memory so far."""
    return f" {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else ""


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append the errors per set to a CSV file."""
    fresh = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        if fresh:
            writer.writeheader()
        writer.writerows(rows)
