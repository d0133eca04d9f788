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

import numpy as np
from torch import Tensor

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.potential import Potential
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.pretraining.chain import StageFile, StageOptions, read_stage
from jmp_calc.training.pretraining.pack import load_packed
from jmp_calc.training.pretraining.recipe import load_recipe, staged
from jmp_calc.training.pretraining.widen import widened
from jmp_calc.training.run.checkpoint import load_checkpoint, save_checkpoint


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

    later = read_stage(given.later)
    # Copies of features must be those of the later stage: the shares of widening come from its seed.
    stage = staged(load_recipe(later.recipe), StageOptions(given.earlier, steps=1))
    earlier = widened(read_stage(given.earlier), later.model, seed=stage.train.seed)
    if given.pack:
        frames = frames_of(given.pack, given.head, given.part, given.most)
        together = [frame for own in frames.values() for frame in own]
        for share in given.share:
            weights = mean_of(later.averages, earlier.averages, share)
            for name, chosen in [*frames.items(), ("all", together)]:
                error, size = force_error(later, weights, chosen, given.head)
                print(
                    f"{share:.2f} {name}: {error:.1f} of {size:.1f} meV/Å, {len(chosen)} frames", flush=True
                )
        return
    (only,) = given.share
    # The averages over steps of both; the weights of a last step are of no use here.
    mean = mean_of(later.averages, earlier.averages, only)
    state = load_checkpoint(given.later)
    save_checkpoint(given.out, replace(state, weights={**later.weights, **mean}, ema=mean))
    print(f"{given.out}: {only:g} of {given.later} and {1 - only:g} of {given.earlier}")


def mean_of(later: Mapping[str, Tensor], earlier: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Of all weights that both have; those of heads that only the later one has are its own."""
    return {
        name: share * value + (1.0 - share) * earlier[name] if name in earlier else value
        for name, value in later.items()
    }


def frames_of(pack: Path, head: str, part: str, most: int) -> dict[str, list[Frame]]:
    """Frames of every set of a head, spread evenly where there are more than ``most``."""
    packed = load_packed(pack)
    wanted = packed.valid if part == "valid" else ~packed.valid
    found = {}
    for number, item in enumerate(packed.sets):
        indices = np.flatnonzero((packed.set_index == number) & wanted)
        if item.head == head and len(indices):
            chosen = indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)]
            found[item.name] = [packed.frame(int(index)) for index in chosen]
    return found


def force_error(
    stage: StageFile, weights: Mapping[str, Tensor], frames: list[Frame], head: str
) -> tuple[float, float]:
    """Mean absolute error and mean absolute value of the components of forces, meV/Å."""
    potential = Potential(stage.model)
    potential.load_state_dict({**stage.weights, **weights}, strict=False)
    potential.requires_grad_(False)
    errors, sizes, count = 0.0, 0.0, 0
    for begin in range(0, len(frames), 8):
        part = frames[begin : begin + 8]
        graphs = [build_graph(f.positions, f.numbers, f.cell, f.pbc, stage.model.policy) for f in part]
        found = potential(collate(graphs), heads=head).forces.numpy()
        wanted = np.concatenate([frame.forces for frame in part])
        errors += float(np.abs(found - wanted).sum())
        sizes += float(np.abs(wanted).sum())
        count += wanted.size
    return 1e3 * errors / count, 1e3 * sizes / count


if __name__ == "__main__":
    main()
