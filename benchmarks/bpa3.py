"""3BPA in a fixed time: force errors after fine-tuning jmp-xs and after training the same network from scratch.

    python benchmarks/bpa3.py                      all rows that are missing, 10 minutes each on 2 cores
    python benchmarks/bpa3.py --rows jmp-xs        one row
    python benchmarks/bpa3.py --table              only print and plot what is there

450 frames of bpa3_train (300 K) to train on, every tenth for validation; test: bpa3_test (300, 600, 1200 K). The time
covers reading, graphs, training and validation, not the test. A row that was stopped goes on where it was; only rows
that ran their full time are written to benchmarks/results/bpa3.yaml.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from curves import Yardstick, plot_curves

RESULTS = Path(__file__).parent / "results"
YARDSTICKS = [Yardstick("MACE 32x0e+1o, 5 Å, from scratch, 10 min", 32.0, 69.0), Yardstick("the same, 20 min", 23.0, 53.0)]
"""Validation and test force MAE in meV/Å, measured on such a machine (project issue 3)."""


@dataclass(frozen=True)
class Row:
    """One run."""

    model: str
    lr: float | None = None
    """None: the default of finetune for this network."""
    init_head: str = "auto"


ROWS = {
    "jmp-xs": Row("jmp-xs"),
    "jmp-xs-new-head": Row("jmp-xs", init_head="scratch"),
    "scratch-lr-0.001": Row("scratch:jmp-xs", 1e-3),
    "scratch-lr-0.002": Row("scratch:jmp-xs", 2e-3),
    "scratch-lr-0.004": Row("scratch:jmp-xs", 4e-3),
}


def main() -> None:
    """Run what is missing, then print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of bpa3_train.xyz.gz")
    parser.add_argument("--rows", nargs="*", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=2, help="CPU processes, one thread each")
    parser.add_argument("--work", type=Path, default=Path("runs/bpa3"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    args = parser.parse_args()
    for name in [] if args.table else args.rows:
        done = read_rows(args.results).get(name)
        if done and done["minutes"] == args.minutes and done["processes"] == args.processes:
            print(f"{name}: done before")
            continue
        write_row(args.results, name, run_row(name, ROWS[name], args))
    show(read_rows(args.results))
    plot_curves(args.results / "bpa3.svg", read_rows(args.results), YARDSTICKS, "3BPA, 450 training frames")


def run_row(name: str, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Train for the full time (going on with an earlier part) and return the numbers."""
    from jmp_calc import finetune
    from jmp_calc.training.config import OptimConfig, TrainConfig
    from jmp_calc.training.finetune import DataOptions
    from jmp_calc.training.start import ModelOptions
    from jmp_calc.zoo.names import resolve

    out = args.work / f"{name}-{args.minutes:g}min-{args.processes}processes"
    seconds = 60.0 * args.minutes
    train = args.data / "bpa3_train.xyz.gz"
    result = finetune(
        train, test=args.data / "bpa3_test.xyz.gz", model=row.model, out=out, device="cpu",
        config=TrainConfig(max_time=seconds, processes=args.processes, optim=OptimConfig(lr=row.lr)),
        resume=(out / "state.pt").exists(),
        data=DataOptions(train, valid_every=10), start=ModelOptions(init_head=row.init_head),
    )
    assert result.test is not None
    if result.train_s < 0.95 * seconds:
        raise SystemExit(f"{name}: stopped after {result.train_s:.0f} of {seconds:.0f} s, not recorded")
    settings = yaml.safe_load((out / "config.yaml").read_text())["training"]
    return {
        "model": row.model, "start_sha256": resolve(row.model.removeprefix("scratch:")).sha256,
        "init_head": result.init_head or "new weights", "lr": settings["optim"]["lr"], "minutes": args.minutes,
        "processes": args.processes, "n_cores": os.cpu_count(), "epochs": result.n_epochs, "steps": result.n_steps,
        "train_s": round(result.train_s, 1), "valid_before": result.before.to_dict(),
        "valid": result.valid.to_dict(), "test": result.test.to_dict(),
        "curve_s": [round(r.elapsed_s, 1) for r in result.history],
        "curve_valid_forces_mae_mev_per_a": [
            round(r.valid_forces_mae_mev_per_a or 0.0, 2) for r in result.history],
    }


def read_rows(folder: Path) -> dict[str, Any]:
    """Rows recorded so far."""
    path = folder / "bpa3.yaml"
    return (yaml.safe_load(path.read_text()) or {}).get("rows", {}) if path.exists() else {}


def write_row(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Add one row to bpa3.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {**read_rows(folder), name: numbers}
    content = {"what": "force and energy errors on 3BPA after a fixed time; benchmarks/bpa3.py",
               "yardstick_forces_mae_mev_per_a": {y.name: {"valid": y.valid, "test": y.test} for y in YARDSTICKS},
               "rows": {key: rows[key] for key in ROWS if key in rows}}
    (folder / "bpa3.yaml").write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110))


def show(rows: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'':44s} {'valid F':>8s} {'test F':>8s}  meV/Å  {'valid E':>8s} {'test E':>8s}  meV/atom")
    for yardstick in YARDSTICKS:
        print(f"{yardstick.name:44s} {yardstick.valid:8.1f} {yardstick.test:8.1f}")
    for name, row in rows.items():
        label = f"{name} (lr {row['lr']:g}, {row['minutes']:g} min, {row['epochs']} epochs)"
        numbers = [row[part][key] for key in ("forces_mae_mev_per_a", "energy_mae_mev_per_atom")
                   for part in ("valid", "test")]
        print(f"{label:44s} {numbers[0]:8.1f} {numbers[1]:8.1f}         {numbers[2]:8.2f} {numbers[3]:8.2f}")


if __name__ == "__main__":
    main()
