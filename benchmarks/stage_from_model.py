"""Where a chain of pre-training goes on whose last stage left a model and no stage file.

    python benchmarks/stage_from_model.py MODEL.safetensors --stage benchmarks/stages/jmp_xs_stage.pt \
        --curve benchmarks/results/jmp_xs_curve_v3.csv --steps 22263 -o runs/jmp_xs_stage.pt

Weights are those of the model; heads that it was written without have those of the earlier stage, in weights and averages.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jmp_calc.training.pretraining.chain import errors_in, read_stage
from jmp_calc.training.run.checkpoint import load_checkpoint, save_checkpoint
from jmp_calc.zoo.container import load_model


def main() -> None:
    """Write the file of the stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--stage", type=Path, required=True, help="the last stage file before the model")
    parser.add_argument(
        "--curve", type=Path, required=True, help="curve.csv of the stage that left the model"
    )
    parser.add_argument("--steps", type=int, required=True, help="of the whole chain up to the model")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()

    before, model = read_stage(given.stage), load_model(given.model).potential.state_dict()
    foreign = {name for name, value in model.items() if before.weights[name].shape != value.shape}
    assert not foreign, f"weights of another network: {sorted(foreign)}"
    weights = {
        **before.weights,
        **{name: value.to(before.weights[name].dtype) for name, value in model.items()},
    }
    averages = {name: weights[name].to(value.dtype) for name, value in before.averages.items()}
    chain = {
        "recipe": before.recipe,
        "stages": before.stages + 1,
        "steps": given.steps,
        "sets": [asdict(item) for item in before.sets],
        "curve": [*before.curve, *read_curve(given.curve, before.stages + 1)],
    }
    state = load_checkpoint(given.stage)
    save_checkpoint(given.out, replace(state, weights=weights, ema=averages, data={"chain": chain}))
    print(f"{given.out}: {len(model)} of {len(weights)} weights are the model's")


def read_curve(path: Path, stage: int) -> list[dict[str, Any]]:
    """The rows of one stage, as a stage file holds them."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["stage"]) == stage]
    numbers = ("stage", "steps", "frames")
    return [{**row, **{name: int(row[name]) for name in numbers}, **errors_in(row)} for row in rows]


if __name__ == "__main__":
    main()
