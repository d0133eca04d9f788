"""What fine-tuning forgets: jmp-xs on 3BPA with freezing, low-rank updates and replay, and errors on earlier
data.

    python benchmarks/forgetting.py                      all rows that are missing
    python benchmarks/forgetting.py --rows plain replay
    python benchmarks/forgetting.py --table              only print what is there

All rows take the same number of steps on the same 450 frames of 3BPA (300 K), with the same settings, so that
a busy machine does not matter. Retained are frames of the test parts of mlearn (bulk, PBE; a few have twins
in its training part) and of a part of SPICE (molecules, wB97M-D3), under their old heads. Replayed are frames
that jmp-xs was pre-trained on, of the training parts of the same sets, without those twins. A row that was
stopped goes on where it was; only finished rows are recorded.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from row_programs import training_parser
from rows import read_rows, write_row

WHAT = (
    "errors after fine-tuning jmp-xs on 3BPA, and on earlier data under their old heads; "
    "benchmarks/forgetting.py"
)
STEPS = 500
TEST_EVERY = 10
RETAIN_EVERY = {"bulk": 7, "molecules": 3}
REPLAY_EVERY = {"bulk": 5, "molecules": 5}
START = "start model"


@dataclass(frozen=True)
class Row:
    """What differs from plain fine-tuning."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Of TrainConfig."""
    replay: bool = False


ROWS = {
    "plain": Row(),
    "replay": Row(replay=True),
    "freeze-backbone": Row({"freeze": "backbone"}),
    "lora-4": Row({"lora_rank": 4}),
    "freeze-1-block": Row({"freeze": "1"}),
    "lora-16": Row({"lora_rank": 16}),
}


def thinned(source: Path, target: Path, every: int, without: Path | None = None) -> Path:
    """Write every n-th neutral frame of a file with energy and forces alone, unless that was done before.

    Frames of which ``without`` has a copy are left out.
    """
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import read, write

    if not target.exists():
        images = []
        for atoms in [atoms for atoms in read(source, ":") if atoms.info.get("charge", 0) == 0][::every]:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            atoms.info = {"config_type": atoms.info.get("config_type", source.name)}
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            images.append(atoms)
        write(target, images, format="extxyz")
        if without is not None:
            copies = copied(target, without)
            write(target, [atoms for i, atoms in enumerate(images) if i not in copies], format="extxyz")
    return target


def copied(path: Path, other: Path) -> set[int]:
    """Numbers of the frames of ``path`` that ``other`` has too."""
    from jmp_calc.training.data.copies import EXACT, find_matches
    from jmp_calc.training.data.labels import read_labelled

    frames = read_labelled(path).frames
    return {frames[match.a].index for match in find_matches(frames, read_labelled(other).frames, EXACT)}


def run_row(name: str, row: Row, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Train (going on with an earlier part); the row, and that of the start model."""
    from jmp_calc import finetune
    from jmp_calc.training import DataOptions
    from jmp_calc.training.config import TrainConfig

    out, data, train = args.work / f"{name}-{args.steps}", args.data, args.data / "bpa3_train.xyz.gz"
    held = {
        "bulk": (data / "mlearn_test.xyz.gz", "pbe"),
        "molecules": (data / "spice_mini_test.xyz.gz", "wb97m-d3"),
    }
    known = {
        "bulk": (data / "mlearn_train.xyz.gz", "pbe"),
        "molecules": (data / "spice_mini_train.xyz.gz", "wb97m-d3"),
    }
    retain = {
        kind: thinned(path, args.work / f"retain-{kind}.extxyz", RETAIN_EVERY[kind])
        for kind, (path, _) in held.items()
    }
    replay = (
        {
            kind: thinned(path, args.work / f"replay-{kind}.extxyz", REPLAY_EVERY[kind], without=retain[kind])
            for kind, (path, _) in known.items()
        }
        if row.replay
        else {}
    )
    result = finetune(
        train,
        test=thinned(data / "bpa3_test.xyz.gz", args.work / "test.extxyz", TEST_EVERY),
        model="jmp-xs",
        out=out,
        device="cpu",
        resume=(out / "state.pt").exists(),
        config=TrainConfig(
            max_steps=args.steps, validate_every=args.steps, processes=args.processes, **row.settings
        ),
        data=DataOptions(
            train,
            valid_every=10,
            retain=tuple(f"{path}:{held[kind][1]}" for kind, path in retain.items()),
            replay=tuple(f"{path}:{known[kind][1]}" for kind, path in replay.items()),
        ),
    )
    assert result.test is not None
    columns = {
        "valid": (result.before, result.valid),
        "test": (result.test_before, result.test),
        **{kind: (item.before, item.after) for kind, item in zip(held, result.forgetting)},
    }

    def numbers(position: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for label, errors in ((label, pair[position]) for label, pair in columns.items()):
            if errors is not None:
                found[f"{label} F (meV/Å)"] = errors.forces_mae_mev_per_a
                found[f"{label} E (meV/atom)"] = errors.energy_mae_mev_per_atom
        return found

    return {
        START: {"steps": 0, "trained weights": 0, **numbers(0)},
        name: {"steps": result.n_steps, "trained weights": result.n_trained, **numbers(1)},
    }


def main() -> None:
    """Run what is missing, then print."""
    parser = training_parser(__doc__, "forgetting")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.results / "forgetting.yaml"
    for name in [] if args.table else args.rows:
        if read_rows(path).get(name, {}).get("steps") == args.steps:
            print(f"{name}: done before")
            continue
        for row, numbers in run_row(name, ROWS[name], args).items():
            if row != START or len(numbers) > len(read_rows(path).get(START, {})):
                write_row(path, row, numbers, what=WHAT, threads=args.processes, order=[START, *ROWS])
    for row, numbers in read_rows(path).items():
        print(f"{row:16s} " + "  ".join(f"{key} {value}" for key, value in numbers.items()))


if __name__ == "__main__":
    main()
