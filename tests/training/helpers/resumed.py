"""A training loop that goes on from the state in its folder, as the doors do it."""

from __future__ import annotations

from jmp_calc.training.config import TrainConfig
from jmp_calc.training.loop import Fitted, fit
from jmp_calc.training.run.job import Job
from jmp_calc.training.run.resume import resumed


def resumed_fit(job: Job, config: TrainConfig, *, override: bool = False) -> Fitted:
    """``fit`` from the saved state of the job; changed settings are refused unless overridden."""
    potential = job.potential
    device = potential.embedding.weight.device
    _, state = resumed(job.folder, config, job.data, dtype=potential.dtype, device=device, override=override)
    return fit(job, config, state)
