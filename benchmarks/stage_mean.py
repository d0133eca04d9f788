"""Weighted mean of the files of two stages of one chain, from which pre-training goes on (Wortsman et al., "Model
soups", arXiv:2203.05482): networks that one run leads from one to the other can be better in between.

    python benchmarks/stage_mean.py runs/stage9/jmp_xs_stage.pt benchmarks/stages/jmp_xs_stage.pt --share 0.7 \
        -o runs/jmp_xs_stage.pt
    python benchmarks/stage_mean.py runs/stage9/jmp_xs_stage.pt benchmarks/stages/jmp_xs_stage.pt \
        --share 0 0.7 1 --pack runs/stage9/mixture.npz --head pbe-u [--part train --most 100]

The second file is that of the stage before, which may be narrower (training/pretraining/widen.py). The result has the
steps and the curve of the first. With --pack, only the force errors of every share are printed, for every set of one
head, over held-out frames or those that it trains: ten seconds of one core for 100 crystals.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig
from jmp_calc.training.data.frame import Frame, each_of
from jmp_calc.training.pretraining.chain import StageFile, StageOptions, read_stage
from jmp_calc.training.pretraining.pack import load_packed
from jmp_calc.training.pretraining.recipe import PretrainRecipe, load_recipe, staged
from jmp_calc.training.pretraining.sets import packed_sets
from jmp_calc.training.pretraining.widen import widened
from jmp_calc.training.run.checkpoint import load_checkpoint, save_checkpoint
from jmp_calc.training.validation.judged import Judged, judged
from jmp_calc.training.validation.validate import validate

EDGES = 6000
"""Main edges of a batch, but for larger frames."""


def main() -> None:
    """Write the file of the mean, or say what means are worth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("later", type=Path, help="file of a stage")
    parser.add_argument("earlier", type=Path, help="file of the stage that it began with")
    parser.add_argument("--share", type=float, nargs="+", required=True, help="of the later one, 0 to 1")
    parser.add_argument("--pack", type=Path, help="mixture.npz of a run")
    parser.add_argument("--head", help="whose frames of the pack are computed")
    parser.add_argument("--part", choices=["valid", "train"], default="valid", help="of the frames")
    parser.add_argument("--most", type=int, default=1000, help="frames of a set")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()

    if given.pack and not given.head:
        parser.error("--pack needs --head")
    if not given.pack and (given.out is None or len(given.share) > 1):
        parser.error("one --share and -o make a file; --pack says what shares are worth")

    later = read_stage(given.later)
    # Copies of features must be those of the later stage: the shares of widening come from its seed.
    recipe = staged(load_recipe(later.recipe), StageOptions(given.earlier, steps=1))
    earlier = widened(read_stage(given.earlier), later.model, seed=recipe.train.seed)
    # The averages over steps of both; the weights of a last step are of no use here.
    means = {share: mean_of(later.averages, earlier.averages, share) for share in given.share}
    if given.pack:
        frames = frames_of(given, recipe)
        for share, mean in means.items():
            for name, found in force_errors(later, mean, frames, given.head).items():
                print(
                    f"{share:.2f} {name}: {1e3 * found.forces_mae:.1f} of {1e3 * found.mean_force:.1f} meV/Å, "
                    f"{found.frames} frames",
                    flush=True,
                )
        return
    ((share, mean),) = means.items()
    state = load_checkpoint(given.later)
    save_checkpoint(given.out, replace(state, weights={**later.weights, **mean}, ema=mean))
    print(f"{given.out}: {share:g} of {given.later} and {1 - share:g} of {given.earlier}")


def mean_of(later: Mapping[str, Tensor], earlier: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Of all weights that both have; those of heads that only the later one has are its own."""
    return {
        name: share * value + (1.0 - share) * earlier[name] if name in earlier else value
        for name, value in later.items()
    }


def frames_of(given: argparse.Namespace, recipe: PretrainRecipe) -> dict[str, list[Frame]]:
    """Frames of every set of the head, spread evenly where there are more than were asked for."""
    return {
        source.name: list(each_of(source.valid if given.part == "valid" else source.train, given.most))
        for source in packed_sets(load_packed(given.pack), recipe.mixture)
        if source.described.head == given.head
    }


def force_errors(
    stage: StageFile, weights: Mapping[str, Tensor], frames: Mapping[str, list[Frame]], head: str
) -> dict[str, Judged]:
    """Errors of every set, and of "all" frames."""
    potential = Potential(stage.model)
    potential.load_state_dict({**stage.weights, **weights}, strict=False)
    together = [frame for own in frames.values() for frame in own]
    graphs = FrameGraphs(together, stage.model.policy, Task(head))
    batches = Batches(graphs, Fixed(graphs.sizes, max_edges=EDGES), device=torch.device("cpu"))
    _, predictions = validate(potential, batches, LossConfig(), "conservative")
    names = [name for name, own in frames.items() for _ in own]
    return {**judged(predictions, names), **judged(predictions, ["all"] * len(together))}


if __name__ == "__main__":
    main()
