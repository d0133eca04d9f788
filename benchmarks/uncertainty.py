"""Are errors on 3BPA as large as the model says? Calibration of energies and forces at 300, 600 and 1200 K.

    python benchmarks/uncertainty.py                    fine-tune jmp-xs with a committee of 4, then measure
    python benchmarks/uncertainty.py --steps 2350       as long as benchmarks/bpa3.py
    python benchmarks/uncertainty.py --table            only print what is there

450 frames of bpa3_train (300 K) to train on, every tenth of the file for validation, by which both uncertainties
are scaled: last layer and committee. Test: bpa3_test, frames at 300, 600 and 1200 K, all in one file that does not
say which: each is given the temperature whose harmonic mean energy, 3N/2 - 3 kT above the minimum, is nearest.

Miscalibration area: mean distance between the share of errors that lie inside a central interval and the share
that should, over all shares (0: right; 0.5: all errors inside or all outside). Coverage: share within one and two
standard deviations (0.683 and 0.954 of a normal distribution). Rows: benchmarks/results/uncertainty.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fixed_steps import in_steps
from row_programs import training_parser
from rows import read_rows, write_row
from scipy.stats import norm, spearmanr

if TYPE_CHECKING:
    from ase import Atoms

KINDS = ("last-layer", "committee")
COMMITTEE = 4
TEMPERATURES = (300, 600, 1200)
LEVELS = np.arange(1, 100) / 100
K_EV = 8.617333e-5
WHAT = (
    "calibration of uncertainties on 3BPA after a fine-tuning of jmp-xs at 300 K; benchmarks/uncertainty.py"
)


def main() -> None:
    """Train where no model is there, measure, write and draw."""
    parser = training_parser(__doc__, "uncertainty")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--forces-every", type=int, default=4, help="frames of which the forces are measured")
    parser.add_argument("--pictures", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    args = parser.parse_args()
    path = args.results / "uncertainty.yaml"
    if not args.table:
        measure(trained(args), args, path)
    for name, row in read_rows(path).items():
        print(
            f"{name}: area {row['miscalibration_area']:.3f}, 1σ {row['within_1_std']:.3f}, 2σ "
            f"{row['within_2_std']:.3f}, {row['n']} errors, RMSE {row['rmse']:.4g}, std {row['rms_std']:.4g}, "
            f"rank correlation {row['rank_correlation']:.2f}"
        )


def trained(args: argparse.Namespace) -> Path:
    """The best model of a fine-tuning with a committee, gone on with if it was stopped."""
    from jmp_calc.training import DataOptions, ModelOptions, TrainConfig

    data = DataOptions(args.data / "bpa3_train.xyz.gz", valid_every=10)
    out = args.work / f"uncertainty-{args.steps}steps"
    best = out / "best.safetensors"
    if (out / "report.yaml").exists():
        return best
    config = TrainConfig(max_steps=args.steps, processes=args.processes)
    in_steps("uncertainty", out, data, ModelOptions(model="jmp-xs", committee=COMMITTEE), config)
    return best


def measure(model: Path, args: argparse.Namespace, path: Path) -> None:
    """Rows for energies by temperature, and for the forces of every n-th frame."""
    import ase.io

    from jmp_calc import JMPCalculator
    from jmp_calc.io.uncertainty_plots import plot_calibration

    frames = ase.io.read(args.data / "bpa3_test.xyz.gz", index=":")
    train = ase.io.read(args.data / "bpa3_train.xyz.gz", index=":")
    temperatures = estimated_temperatures(frames, train)
    for kind in KINDS:
        calc = JMPCalculator(model, uncertainty=kind, device="cpu")
        found = calc.batch(frames, ("energy",))
        errors = np.array([one["energy"] - a.get_potential_energy() for one, a in zip(found, frames)])
        stds = np.array([one["energy_std"] for one in found])
        few = frames[:: args.forces_every]
        forces = calc.batch(few, ("forces", "forces_std"))
        of_forces = (
            np.concatenate([(one["forces"] - a.get_forces()).ravel() for one, a in zip(forces, few)]),
            np.concatenate([one["forces_std"].ravel() for one in forces]),
        )
        hot = np.repeat(temperatures[:: args.forces_every], [3 * len(a) for a in few])
        ratios = {}
        for kelvin in TEMPERATURES:
            own = temperatures == kelvin
            ratios[f"{kelvin} K"] = record(path, f"{kind}, energy, {kelvin} K", errors[own], stds[own], args)
            record(
                path,
                f"{kind}, forces, {kelvin} K",
                of_forces[0][hot == kelvin],
                of_forces[1][hot == kelvin],
                args,
            )
        record(path, f"{kind}, energy, all", errors, stds, args)
        record(path, f"{kind}, forces, all", *of_forces, args)
        shares = {
            name: np.array([np.mean(np.abs(r) <= norm.ppf((1 + p) / 2)) for p in LEVELS])
            for name, r in ratios.items()
        }
        plot_calibration(ratios, shares, [args.pictures / f"uncertainty_{kind}.svg"])


def estimated_temperatures(frames: list[Atoms], train: list[Atoms]) -> np.ndarray:
    """(S,) K, of the three; the training frames are at 300 K."""
    modes = 3 * len(frames[0]) - 6
    lowest = np.mean([a.get_potential_energy() for a in train]) - 0.5 * modes * K_EV * 300
    above = np.array([a.get_potential_energy() for a in frames]) - lowest
    choices = 0.5 * modes * K_EV * np.array(TEMPERATURES)
    return np.array(TEMPERATURES)[np.abs(above[:, None] - choices).argmin(axis=1)]


def record(
    path: Path, name: str, errors: np.ndarray, stds: np.ndarray, args: argparse.Namespace
) -> np.ndarray:
    """Write one row; the ratios of errors to standard deviations."""
    ratios = errors / stds
    inside = np.array([np.mean(np.abs(ratios) <= norm.ppf((1 + p) / 2)) for p in LEVELS])
    row: dict[str, Any] = {
        "n": len(errors),
        "steps": args.steps,
        "miscalibration_area": float(np.mean(np.abs(inside - LEVELS))),
        "within_1_std": float(np.mean(np.abs(ratios) <= 1)),
        "within_2_std": float(np.mean(np.abs(ratios) <= 2)),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mean_error": float(errors.mean()),
        "rms_std": float(np.sqrt(np.mean(stds**2))),
        "rank_correlation": float(spearmanr(np.abs(errors), stds).statistic),
        "units": "eV or eV/Å",
    }
    write_row(path, name, row, what=WHAT, threads=1, order=[])
    return ratios


if __name__ == "__main__":
    main()
