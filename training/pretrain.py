"""Pre-train a small network on a packed mixture, in stages that each end well before a time limit.

``python -m jmp_calc.training.pretrain --recipe jmp-xs --pack FILE -o OUT --max-time S --total-time T [--resume DIR]``:
one stage of at most S seconds out of T seconds of optimisation; the schedule runs over T. Files in OUT: ``state.pt``
and ``optimizer.pt`` (resumable), ``metrics.csv`` (errors per set), ``losses.csv``, ``jmp_xs.safetensors`` (averaged weights).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jmp_calc.errors import JMPError, NotConvergedError, OutOfMemoryError, UsageError, error_lines
from jmp_calc.model.config import JMP_XS, JMP_XS_POLICY, HeadConfig, ModelConfig, model_config_from_dict, to_dict
from jmp_calc.model.potential import Potential

from .checkpoint import Checkpoint, Progress, load_checkpoint, rng_state, save_checkpoint, set_rng_state
from .ema import EMA
from .loop import without_weight_gradients
from .mixture import Mixture, load_mixture, read_recipe
from .optim import Schedule, clip_gradients, divide_shared_gradients
from .packed import Packed, load_packed
from .parallel import GradientPool
from .pretrain_log import LossLog, Say, write_metrics
from .pretrain_loss import PretrainConfig, ShareGradients, backward, errors, force_scale, step_shares
from .publish import publish
from .stream import DENSE_DEGREE, PackedBatch, PackedGraphs, Step, StreamConfig, loader, steps

EV_PER_A3_IN_GPA = 160.21766
HEAD_WIDTH, HEAD_LAYERS = 32, 3
SCALE_FIT_STEPS = 6
MAX_TOO_LARGE = 30


@dataclass(frozen=True)
class Limits:
    """Where and how long a stage runs."""

    device: torch.device
    workers: int
    """Processes that prepare batches for a GPU."""
    max_time: float
    """Seconds of this stage, start and validation included."""
    total_time: float
    """Seconds of optimisation over all stages; the schedule ends there."""
    processes: int = 1
    """Processes that share each step on a CPU."""
    max_steps: int | None = None
    """Optimizer steps of this stage."""
    cache_bytes: int = 4 << 30
    """Memory for graphs per worker."""
    validation_frames: int | None = None
    """Validation frames per set; None: all. A few suffice between stages."""


# ---- network ----------------------------------------------------------------------------------------------------------


def training_model(mixture: Mixture, packed: Packed) -> ModelConfig:
    """The network with all heads of the mixture and without energy references, which training subtracts per set."""
    heads = []
    for head in mixture.heads:
        sets = [item for item in packed.sets if item.head == head.name]
        heads.append(HeadConfig(
            name=head.name, hidden=HEAD_WIDTH, num_layers=HEAD_LAYERS, level_of_theory=head.level_of_theory,
            energy_scale=float(np.mean([force_scale(item.force_rms) for item in sets])),
            elements=tuple(sorted({z for item in sets for z in item.references})),
        ))
    return ModelConfig(
        backbone=JMP_XS, policy=JMP_XS_POLICY, heads=tuple(heads), default_head=mixture.default_head,
        subtract_lone_atom=True, pair_repulsion=True,
    )


# ---- one stage --------------------------------------------------------------------------------------------------------


class Stage:
    """State of a run and one stretch of it."""

    def __init__(
        self, mixture: Mixture, config: PretrainConfig, packed: Packed, potential: Potential, limits: Limits, say: Say
    ) -> None:
        self.began = time.monotonic()
        self.stream = StreamConfig(
            config.max_edges_per_batch, config.max_structures_per_batch, config.max_frame_edges, mixture.temperature,
            mixture.seed,
        )
        self.config, self.packed, self.limits, self.say = config, packed, limits, say
        self.potential = potential.to(limits.device)
        scales = np.array([force_scale(item.force_rms) for item in packed.sets])
        self.data = PackedGraphs(packed, potential.config.policy, scales, limits.cache_bytes)
        parameters = list(self.potential.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters, lr=config.lr, betas=config.optim.betas, weight_decay=config.weight_decay,
            fused=limits.device.type == "cuda",
        )
        self.ema = EMA(self.potential, config.ema_decay)
        self.progress = Progress()
        self.n_too_large = 0

    def spent(self) -> float:
        """Seconds of this stage so far."""
        return time.monotonic() - self.began

    def fit_scale_factors(self) -> None:
        """Fit the scale factors of a fresh network on the first steps of the stream."""
        small = StreamConfig(max_edges=min(20_000, self.config.max_edges_per_batch), max_structures=60, seed=1)
        plan = (step for _, step in zip(range(SCALE_FIT_STEPS), steps(self.packed, small)))
        parts = [part.to(self.limits.device) for made in loader(self.data, plan, 0, False) for part in made]
        self.potential.fit_scale_factors([part.target.batch for part in parts])
        self.say(f"scale factors fitted on {len(parts)} batches, {self.spent():.0f} s")

    def train(self, folder: Path) -> None:
        """Optimise until the stage's time or steps are used up, keeping time for validation and saving."""
        config, limits, progress = self.config, self.limits, self.progress
        plan = steps(self.packed, self.stream, skip=progress.step)
        schedule = Schedule(config.optim, None, limits.total_time)
        shared = self.potential.shared_parameters()
        reserve = 0.06 * limits.max_time + 5.0
        log = LossLog(folder / "losses.csv", self.say)
        first, before, start = progress.step, progress.elapsed, time.monotonic()
        for numbers, frames in self.evaluated(plan):
            for group in self.optimizer.param_groups:
                group["lr"] = config.lr * schedule.factor(progress.step, progress.elapsed)
            divide_shared_gradients(shared)
            norm = clip_gradients(list(self.potential.parameters()), config.clip_norm)
            # The only wait for the device in a step; before the update, so that NaN never reaches the weights.
            numbers = torch.cat([numbers, norm.reshape(1).to(numbers)]).cpu()
            if not torch.isfinite(numbers).all():
                raise self.not_finite(frames, numbers)
            self.optimizer.step()
            self.ema.update()
            progress.step += 1
            progress.elapsed = before + time.monotonic() - start
            log.add(progress, self.optimizer.param_groups[0]["lr"], numbers, len(frames),
                    int(self.packed.n_edges[frames].sum()))
            done = limits.max_steps is not None and progress.step - first >= limits.max_steps
            if done or self.spent() > limits.max_time - reserve or progress.elapsed >= limits.total_time:
                break

    def evaluated(self, plan: Iterator[Step]) -> Iterator[tuple[Tensor, list[int]]]:
        """Loss terms and frames of one step after the other, the gradients left in the weights."""
        limits = self.limits
        if limits.processes > 1:
            with GradientPool(self.potential, ShareGradients(self.data, self.config), limits.processes) as pool:
                for step in plan:
                    numbers = pool.gradients(step_shares(step, self.packed, limits.processes))
                    yield numbers, [frame for part in step for frame in part]
            return
        for made in loader(self.data, plan, limits.workers, limits.device.type == "cuda"):
            parts = [part.to(limits.device) for part in made]
            terms = self.gradients(parts)
            if terms is not None:
                yield terms, [frame for part in parts for frame in part.target.frames]

    def gradients(self, parts: list[PackedBatch]) -> Tensor | None:
        """Gradients of all parts of a step, added; the loss terms, or None for a step that does not fit the device."""
        self.optimizer.zero_grad(set_to_none=True)
        try:
            return torch.stack([backward(self.potential, part, self.config) for part in parts]).sum(dim=0)
        except torch.OutOfMemoryError:
            sizes = [(part.target.batch.n_atoms, tuple(part.target.batch.triangle.shape)) for part in parts]
        self.n_too_large += 1
        self.say(f"step {self.progress.step}: parts {sizes} do not fit into memory and are left out")
        if self.n_too_large > MAX_TOO_LARGE:
            raise OutOfMemoryError(f"{self.n_too_large} steps did not fit into memory.", hint="smaller max_edges_per_batch")
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return None

    def not_finite(self, frames: list[int], numbers: Tensor) -> NotConvergedError:
        """The error of a loss or gradient that is NaN or infinite, naming the frames of the step."""
        names = [f"{self.packed.sets[self.packed.set_index[frame]].name} (packed frame {frame})" for frame in frames]
        what = "gradient" if torch.isfinite(numbers[0]) else "loss"
        return NotConvergedError(
            f"The {what} is not finite at step {self.progress.step}.", where=", ".join(names[:8]),
            hint="the state before this step is saved; lower lr, or leave the frame out of the recipe and pack again",
        )

    def validate(self) -> list[dict[str, Any]]:
        """Errors of the averaged weights on the validation frames of every set."""
        frames = np.flatnonzero(self.packed.valid)
        if self.limits.validation_frames is not None:
            sets = self.packed.set_index[frames]
            frames = np.concatenate([frames[sets == i][: self.limits.validation_frames] for i in np.unique(sets)])
        frames = frames[np.argsort(self.packed.degree[frames], kind="stable")]
        budget = max(self.config.max_edges_per_batch, int(self.packed.n_edges.max()))
        sums = np.zeros((len(self.packed.sets), 6))
        plan = iter([[part] for part in in_budget(frames.tolist(), self.packed, budget)])
        pieces: list[tuple[Tensor, ...]] = []
        with self.ema.swapped(), without_weight_gradients(self.potential):
            for (part,) in loader(self.data, plan, min(self.limits.workers, 8), False):
                moved = part.to(self.limits.device)
                prediction = self.potential(moved.target.batch, heads=moved.target.heads, stress=moved.has_stress)
                pieces.append((torch.tensor(part.target.frames), errors(prediction, moved).cpu()))
        for indices, values in pieces:
            np.add.at(sums, self.packed.set_index[indices.numpy()], values.numpy())
        return [
            {"step": self.progress.step, "seconds": round(self.progress.elapsed, 1), "set": item.name,
             "head": item.head, "frames": item.n_valid,
             "energy_mae_meV_per_atom": rounded(1e3 * row[0], row[1]), "forces_mae_meV_per_A": rounded(1e3 * row[2], row[3]),
             "stress_mae_GPa": rounded(EV_PER_A3_IN_GPA * row[4], row[5], 4)}
            for item, row in zip(self.packed.sets, sums)
        ]

    def save(self, folder: Path, recipe: dict[str, Any]) -> None:
        """Write the resumable state: weights and averages in one file, the optimizer in another."""
        common = {"config": recipe, "model_config": to_dict(self.potential.config), "rng": rng_state(),
                  "data": {"frames": len(self.packed), "atoms": len(self.packed.numbers)}, "totals": {}}
        weights: dict[str, Any] = {"weights": self.potential.state_dict(), "ema": self.ema.state_dict(), "optimizer": {}}
        save_checkpoint(folder / "state.pt", Checkpoint(progress=self.progress, **common, **weights))
        optimizer: dict[str, Any] = {"weights": {}, "ema": {}, "optimizer": self.optimizer.state_dict()}
        save_checkpoint(folder / "optimizer.pt", Checkpoint(progress=self.progress, **common, **optimizer))

    def load(self, folder: Path) -> None:
        """Go on from a saved state; the pack must be the same."""
        state = load_checkpoint(folder / "state.pt", self.limits.device)
        optimizer = load_checkpoint(folder / "optimizer.pt", self.limits.device)
        data = {"frames": len(self.packed), "atoms": len(self.packed.numbers)}
        if state.data != data:
            raise UsageError(f"The run was started with another pack: {state.data}, not {data}.", where=str(folder))
        self.potential.load_state_dict(state.weights)
        self.ema.load_state_dict(state.ema)
        self.optimizer.load_state_dict(optimizer.optimizer)
        set_rng_state(state.rng)
        self.progress = state.progress


def in_budget(frames: Sequence[int], packed: Packed, max_edges: int) -> Iterable[list[int]]:
    """Consecutive frames in parts of at most ``max_edges`` main edges, molecules and dense frames apart."""
    part: list[int] = []
    edges = 0
    for frame in frames:
        size = int(packed.n_edges[frame])
        other = bool(part) and (packed.degree[part[0]] > DENSE_DEGREE) != (packed.degree[frame] > DENSE_DEGREE)
        if part and (edges + size > max_edges or other):
            yield part
            part, edges = [], 0
        part.append(frame)
        edges += size
    if part:
        yield part


def rounded(total: float, count: float, digits: int = 2) -> float | None:
    """Mean, or None where nothing was counted."""
    return round(float(total / count), digits) if count else None


def run_stage(
    mixture: Mixture, recipe: dict[str, Any], packed: Packed, folder: Path, limits: Limits, *,
    resume: Path | None = None, model: ModelConfig | None = None, say: Say = print,
) -> list[dict[str, Any]]:
    """One stage: start or resume, optimise, validate, save the state and the model; returns the errors per set.

    ``model`` replaces the network of the recipe (to try things out); a resumed run keeps its own.
    """
    try:
        config = PretrainConfig(**recipe.get("train", {}))
    except TypeError as error:
        raise UsageError(f"The [train] table of the recipe has an unknown entry: {error}.") from error
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(mixture.seed)
    if resume is not None:
        for name in ("metrics.csv", "losses.csv"):
            if (resume / name).is_file() and resume.resolve() != folder.resolve():
                (folder / name).write_bytes((resume / name).read_bytes())
        model = model_config_from_dict(load_checkpoint(resume / "state.pt").model_config)
    potential = Potential(model or training_model(mixture, packed))
    stage = Stage(mixture, config, packed, potential, limits, say)
    backbone = sum(p.numel() for p in potential.backbone.parameters())
    say(f"backbone {backbone} weights, all {sum(p.numel() for p in potential.parameters())}; "
        f"{len(packed)} frames; {stage.spent():.0f} s")
    if resume is None:
        stage.fit_scale_factors()
    else:
        stage.load(resume)
    try:
        stage.train(folder)
    finally:
        stage.save(folder, recipe)
    rows = stage.validate()
    write_metrics(folder / "metrics.csv", rows)
    with stage.ema.swapped():
        publish(folder / f"{mixture.name.replace('-', '_')}.safetensors", stage.potential, mixture, packed, rows)
    say(f"stage ended at step {stage.progress.step} after {stage.spent():.0f} s")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="jmp-xs", help="name or path of a recipe")
    parser.add_argument("--pack", type=Path, required=True, help="packed mixture")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the state and the model")
    parser.add_argument("--resume", type=Path, help="folder of the stage before")
    parser.add_argument("--max-time", type=float, required=True, help="seconds of this stage")
    parser.add_argument("--total-time", type=float, required=True, help="seconds of optimisation over all stages")
    parser.add_argument("--max-steps", type=int, help="optimizer steps of this stage")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each step on a CPU")
    parser.add_argument("--validation-frames", type=int, help="frames per set in the validation (default: all)")
    parser.add_argument("--tf32", action="store_true", help="TensorFloat-32 products on the GPU")
    parser.add_argument("--train", action="append", default=[], metavar="KEY=VALUE", help="replace a [train] entry")
    options = parser.parse_args(arguments)
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    try:
        recipe = read_recipe(options.recipe)
        for entry in options.train:
            name, _, value = entry.partition("=")
            recipe.setdefault("train", {})[name] = float(value) if not value.isdigit() else int(value)
        limits = Limits(
            torch.device(options.device), options.workers, options.max_time, options.total_time,
            processes=options.processes, max_steps=options.max_steps, validation_frames=options.validation_frames,
        )
        rows = run_stage(
            load_mixture(options.recipe), recipe, load_packed(options.pack), options.output, limits,
            resume=options.resume, say=lambda text: print(text, flush=True),
        )
    except JMPError as error:
        print(*error_lines(error.fact, error.where, error.hint), sep="\n", file=sys.stderr)
        return error.exit_code
    for row in rows:
        print(*(row[name] for name in ("set", "energy_mae_meV_per_atom", "forces_mae_meV_per_A", "stress_mae_GPa")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
