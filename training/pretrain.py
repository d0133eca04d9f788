"""Pre-train a small network on a packed mixture, in stages that each end well before a time limit.

``python -m jmp_calc.training.pretrain --recipe jmp-xs --pack FILE -o OUT --max-time S --total-time T [--resume DIR]``:
one stage of at most S seconds out of T seconds of optimisation; the schedule runs over T. Files in OUT: ``state.pt``
and ``optimizer.pt`` (resumable), ``metrics.csv`` (errors per set), ``losses.csv``, ``jmp_xs.safetensors`` (averaged weights).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jmp_calc.errors import JMPError, OutOfMemoryError, UsageError
from jmp_calc.model.config import JMP_XS, JMP_XS_POLICY, HeadConfig, ModelConfig, model_config_from_dict, to_dict
from jmp_calc.model.potential import Potential, Prediction

from .checkpoint import Checkpoint, Progress, load_checkpoint, rng_state, save_checkpoint, set_rng_state
from .config import OptimConfig
from .ema import EMA
from .loop import without_weight_gradients
from .loss import NORM_EPS, elementwise, masked_mean
from .mixture import Mixture, load_mixture, read_recipe
from .optim import Schedule, divide_shared_gradients
from .packed import Packed, load_packed
from .parallel import GradientPool, balanced
from .publish import publish
from .stream import DENSE_DEGREE, PackedBatch, PackedGraphs, Step, StreamConfig, loader, steps

Say = Callable[[str], None]
ENERGY_LENGTH = 0.1
"""Å: energy errors per atom count in units of this times the force scale of the set."""
HUBER_DELTA = 0.01
FORCE_SCALE_RANGE = (0.3, 2.0)
"""eV/Å: bounds of the force scale of a set (else nearly relaxed sets would be fitted below their noise)."""
EV_PER_A3_IN_GPA = 160.21766
HEAD_WIDTH, HEAD_LAYERS = 32, 3
SCALE_FIT_STEPS = 6
MAX_TOO_LARGE = 30


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a run, from the ``[train]`` table of a recipe."""

    lr: float = 2e-3
    final_lr: float = 0.01
    warmup_steps: int = 300
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 5.0
    max_edges_per_batch: int = 80_000
    max_structures_per_batch: int = 160
    max_frame_edges: int = 1_000_000
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 0.2

    @property
    def optim(self) -> OptimConfig:
        """The part that the shared optimizer code reads."""
        return OptimConfig(
            lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay, warmup_steps=self.warmup_steps,
            warmup_start=0.05, final_lr=self.final_lr, clip_norm=self.clip_norm, ema_decay=self.ema_decay,
        )


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


def force_scale(force_rms: float) -> float:
    """Unit of force errors of a set, eV/Å."""
    return float(np.clip(force_rms, *FORCE_SCALE_RANGE))


# ---- loss -------------------------------------------------------------------------------------------------------------


def part_loss(prediction: Prediction, part: PackedBatch, config: PretrainConfig) -> Tensor:
    """(4,) total, energy, forces, stress of one part, as its share of the mean over the structures of the step.

    All errors are divided by the scale of the set, so that no level of theory or temperature dominates.
    """
    target, scale = part.target, part.force_scale
    share = part.target.batch.n_structures / part.step_structures
    wanted = target.energy - target.reference_energy
    error = ((prediction.energy - wanted) / part.atoms).float() / (ENERGY_LENGTH * scale)
    energy = masked_mean(elementwise(error, "huber", HUBER_DELTA), target.energy_mask)
    assert prediction.forces is not None
    difference = (prediction.forces - target.forces).float()
    per_atom = torch.sqrt(difference.square().sum(dim=1) + NORM_EPS**2)
    sums = per_atom.new_zeros(len(scale)).index_add(0, target.batch.structure, per_atom)
    forces = (sums / part.atoms.float() / scale).mean()
    stress = energy.new_zeros(())
    if prediction.stress is not None:
        strain_error = elementwise((prediction.stress - target.stress).float(), "huber", 1e-3).mean(dim=(1, 2))
        stress = masked_mean(strain_error * part.volume / part.atoms.float() / scale, target.stress_mask)
    weighted = (config.energy_weight * energy, config.forces_weight * forces, config.stress_weight * stress)
    return share * torch.stack((weighted[0] + weighted[1] + weighted[2], *weighted))


@dataclass(frozen=True)
class StepShare:
    """Frame numbers that one process evaluates, in parts of similar density, and the structures of the whole step."""

    parts: Step
    step_structures: int


@dataclass(frozen=True)
class ShareGradients:
    """Gradients of one share of a step on the CPU (called in every process of a GradientPool)."""

    data: PackedGraphs
    config: PretrainConfig

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Add the gradients; returns the loss terms (4,)."""
        parts = [self.data.part(indices, share.step_structures) for indices in share.parts]
        return torch.stack([backward(potential, part, self.config) for part in parts]).sum(dim=0)


def backward(potential: Potential, part: PackedBatch, config: PretrainConfig) -> Tensor:
    """Add the gradients of one part; returns the loss terms (4,)."""
    prediction = potential(part.target.batch, heads=part.target.heads, stress=part.has_stress, create_graph=True)
    terms = part_loss(prediction, part, config)
    terms[0].backward()
    return terms.detach()


def step_shares(step: Step, packed: Packed, processes: int) -> list[StepShare]:
    """The frames of a step in at most ``processes`` shares of about equal numbers of edges."""
    frames = [frame for part in step for frame in part]
    shares = []
    for group in balanced([float(packed.n_edges[frame]) for frame in frames], processes):
        dense = [packed.degree[frames[i]] > DENSE_DEGREE for i in group]
        parts = [[frames[i] for i, flag in zip(group, dense) if flag == wanted] for wanted in (False, True)]
        shares.append(StepShare([part for part in parts if part], len(frames)))
    return shares


# ---- one stage --------------------------------------------------------------------------------------------------------


class Stage:
    """State of a run and one stretch of it."""

    def __init__(self, config: PretrainConfig, packed: Packed, potential: Potential, limits: Limits, say: Say) -> None:
        self.began = time.monotonic()
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
        stream = StreamConfig(
            config.max_edges_per_batch, config.max_structures_per_batch, config.max_frame_edges, 2.0, 0
        )
        plan = steps(self.packed, stream, skip=progress.step)
        schedule = Schedule(config.optim, None, limits.total_time)
        shared = self.potential.shared_parameters()
        reserve = 0.06 * limits.max_time + 5.0
        log = LossLog(folder / "losses.csv", self.say)
        first, before, start = progress.step, progress.elapsed, time.monotonic()
        for numbers, n_structures, n_edges in self.evaluated(plan):
            for group in self.optimizer.param_groups:
                group["lr"] = config.lr * schedule.factor(progress.step, progress.elapsed)
            divide_shared_gradients(shared)
            norm = clip_and_clean(list(self.potential.parameters()), config.clip_norm)
            self.optimizer.step()
            self.ema.update()
            progress.step += 1
            progress.elapsed = before + time.monotonic() - start
            log.add(progress, self.optimizer.param_groups[0]["lr"], torch.cat([numbers, norm.reshape(1)]),
                    n_structures, n_edges)
            done = limits.max_steps is not None and progress.step - first >= limits.max_steps
            if done or self.spent() > limits.max_time - reserve or progress.elapsed >= limits.total_time:
                break

    def evaluated(self, plan: Iterator[Step]) -> Iterator[tuple[Tensor, int, int]]:
        """Loss terms, structures and edges of one step after the other, the gradients left in the weights."""
        limits = self.limits
        if limits.processes > 1:
            with GradientPool(self.potential, ShareGradients(self.data, self.config), limits.processes) as pool:
                for step in plan:
                    frames = [frame for part in step for frame in part]
                    numbers = pool.gradients(step_shares(step, self.packed, limits.processes))
                    yield numbers, len(frames), int(self.packed.n_edges[frames].sum())
            return
        for made in loader(self.data, plan, limits.workers, limits.device.type == "cuda"):
            parts = [part.to(limits.device) for part in made]
            terms = self.gradients(parts)
            if terms is not None:
                yield terms, parts[0].step_structures, sum(part.target.batch.main.count for part in parts)

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
        empty: dict[str, Any] = {"weights": {}, "ema": {}, "optimizer": {}}
        weights = {**empty, "weights": self.potential.state_dict(), "ema": self.ema.state_dict()}
        save_checkpoint(folder / "state.pt", make_checkpoint(self.progress, {**common, **weights}))
        optimizer = {**empty, "optimizer": self.optimizer.state_dict()}
        save_checkpoint(folder / "optimizer.pt", make_checkpoint(self.progress, {**common, **optimizer}))

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


def make_checkpoint(progress: Progress, content: dict[str, Any]) -> Checkpoint:
    """A checkpoint of the shared format from its parts."""
    return Checkpoint(progress=progress, **content)


def clip_and_clean(parameters: list[torch.nn.Parameter], clip_norm: float) -> Tensor:
    """Clip to a global norm; a gradient that is not finite becomes zero, without waiting for the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    factor = torch.clamp(clip_norm / (norm + 1e-6), max=1.0)
    torch._foreach_mul_(gradients, torch.where(torch.isfinite(norm), factor, torch.zeros_like(factor)))
    for gradient in gradients:
        gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    return norm


def errors(prediction: Prediction, part: PackedBatch) -> Tensor:
    """(S, 6) float64: sums of absolute errors and counts of energy per atom, force and stress components."""
    target, structure = part.target, part.target.batch.structure
    assert prediction.forces is not None
    energy = ((prediction.energy - target.energy + target.reference_energy) / part.atoms).abs()
    forces = part.atoms.new_zeros(len(part.atoms)).index_add(
        0, structure, (prediction.forces - target.forces).abs().sum(dim=1).double()
    )
    stress, stress_count = torch.zeros_like(energy), torch.zeros_like(energy)
    if prediction.stress is not None:
        difference = (prediction.stress - target.stress).abs().sum(dim=(1, 2)).double()
        stress = torch.where(target.stress_mask, difference, stress)
        stress_count = 9.0 * target.stress_mask
    mask = target.energy_mask
    return torch.stack(
        [torch.where(mask, energy, torch.zeros_like(energy)), mask.double(), forces, 3.0 * part.atoms, stress,
         stress_count.double()], dim=1,
    ).detach()


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
    stage = Stage(config, packed, potential, limits, say)
    backbone = sum(p.numel() for p in potential.backbone.parameters())
    say(f"backbone {backbone} weights, all {sum(p.numel() for p in potential.parameters())}; "
        f"{len(packed)} frames; {stage.spent():.0f} s")
    if resume is None:
        stage.fit_scale_factors()
    else:
        stage.load(resume)
    stage.train(folder)
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
        print(f"error: {error.fact}", f"where: {error.where}", f"hint: {error.hint}", sep="\n", file=sys.stderr)
        return error.exit_code
    for row in rows:
        print(*(row[name] for name in ("set", "energy_mae_meV_per_atom", "forces_mae_meV_per_A", "stress_mae_GPa")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
