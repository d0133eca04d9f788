"""Silicon: fine-tune with stress, then compare lattice constant, bulk modulus, C11, C12 and phonons with the
same DFT.

    python benchmarks/mlearn_si.py                 fine-tune (10 minutes on two idle cores), then the properties
    python benchmarks/mlearn_si.py --seed 1        another row

STEPS are those of 10 minutes on two idle cores of our machine; a run that was stopped goes on where it was.

Data: the silicon part of mlearn_train (PBE), test errors on mlearn_test. The reference numbers come from the
    file's own uniaxially strained 64-atom cells: with strain e along one axis the mean stress is B e +
    O(e^2), sigma_1 = C11 e and sigma_2 = C12 e; the lattice constant is where the mean stress vanishes. The
    model is evaluated on the same cells, and also by an isotropic equation of state of the relaxed crystal.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fixed_steps import in_steps, start_identity
from row_programs import compute_missing, draw, training_parser, with_draws
from rows import read_rows

from jmp_calc.units import GPA_PER_EV_A3

GPA = GPA_PER_EV_A3
WHAT = "silicon after fine-tuning with stress in a fixed number of steps; benchmarks/mlearn_si.py"
STEPS = 900
AIM = {"lattice_constant_percent": 0.5, "bulk_modulus_percent": 10.0, "lowest_phonon_thz": -0.1}
YARDSTICK = {"MACE from scratch, 10 min": {"test_forces_mae_mev_per_a": 64.0, "test_stress_mae_gpa": 0.36}}


@dataclass(frozen=True)
class Elastic:
    """Elastic behaviour of the cubic crystal, from stresses of strained cells."""

    lattice_constant: float
    """Å"""
    bulk_modulus_gpa: float
    c11_gpa: float
    c12_gpa: float

    def to_dict(self) -> dict[str, float]:
        """Rounded numbers."""
        return {name: round(value, 4) for name, value in vars(self).items()}


def main() -> None:
    """Run what is missing, then print."""
    parser = with_draws(training_parser(__doc__, "mlearn_si"))
    parser.add_argument("--model", default="jmp-xs", help="name or file")
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    path, name = args.results / "mlearn_si.yaml", Path(args.model).stem
    compute_missing(
        path,
        [] if args.table else [draw(name, args.seed, args.n_train)],
        lambda row: run_row(row, args),
        what=WHAT,
        order=[name],
        same={
            "steps": args.steps,
            "processes": args.processes,
            "start_sha256": start_identity(args.model),
        },
        threads=args.processes,
    )
    print(yaml.safe_dump({"yardstick": YARDSTICK, "aim": AIM, **read_rows(path)}, sort_keys=False))


def run_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part), then compute the properties."""
    from jmp_calc.training import DataOptions, ModelOptions, TrainConfig

    train = args.data / "mlearn_train.xyz.gz"
    out = args.work / f"{name.replace('/', '-')}-{args.steps}steps-{args.processes}processes"
    data = DataOptions(
        train, test=args.data / "mlearn_test.xyz.gz", groups=("Si",), n_train=args.n_train, seed=args.seed
    )
    config = TrainConfig(max_steps=args.steps, processes=args.processes, seed=args.seed)
    result, numbers = in_steps(name, out, data, ModelOptions(model=args.model), config)
    return {**numbers, **properties(train, result.best, out)}


def properties(train: Path, model: Path, out: Path) -> dict[str, Any]:
    """DFT and model numbers of the crystal, with deviations."""
    from jmp_calc import JMPCalculator, phonons, relax
    from jmp_calc.training.data.labels import read_labelled

    calculator = JMPCalculator(str(model), dtype="float64")
    frames = strained_cells(read_labelled(train).frames)
    dft = elastic(*zip(*[(f.cell, f.stress) for f in frames]))
    predicted = elastic(*zip(*[(f.cell, stress_of(f, calculator)) for f in frames]))
    start = conventional_cell(5.5)
    start.calc = calculator
    relaxed = relax(start, cell="full", fmax=1e-4)
    lattice = float(np.cbrt(relaxed.atoms.get_volume()))
    eos_bulk = equation_of_state(relaxed.atoms, calculator)
    primitive = conventional_cell(lattice, cubic=False)
    primitive.calc = calculator
    bands = phonons(primitive, min_length=15.0)
    bands.write(out / "phonons")
    return {
        "dft_strained_cells": dft.to_dict(),
        "model_strained_cells": predicted.to_dict(),
        "model_relaxed_lattice_constant": round(lattice, 4),
        "model_eos_bulk_modulus_gpa": round(eos_bulk, 2),
        "lowest_phonon_thz": round(bands.lowest_thz, 4),
        "deviation": {
            "lattice_constant_percent": round(100.0 * (lattice / dft.lattice_constant - 1.0), 3),
            "bulk_modulus_percent": round(100.0 * (eos_bulk / dft.bulk_modulus_gpa - 1.0), 2),
            "bulk_modulus_same_cells_percent": round(
                100.0 * (predicted.bulk_modulus_gpa / dft.bulk_modulus_gpa - 1.0), 2
            ),
        },
    }


def conventional_cell(lattice: float, *, cubic: bool = True) -> Any:
    """Diamond silicon."""
    from ase.build import bulk

    return bulk("Si", "diamond", a=lattice, cubic=cubic)


def strained_cells(frames: Any) -> list[Any]:
    """The 64-atom cells of perfect silicon, unstrained or strained along one axis."""
    chosen = []
    for frame in frames:
        perfect = (
            frame.n_atoms == 64 and set(frame.numbers.tolist()) == {14} and np.abs(frame.forces).max() < 1e-3
        )
        diagonal = np.abs(frame.cell - np.diag(np.diag(frame.cell))).max() < 1e-6
        if perfect and diagonal and frame.stress is not None:
            chosen.append(frame)
    return chosen


def stress_of(frame: Any, calculator: Any) -> np.ndarray:
    """Predicted stress (3, 3), eV/Å³."""
    from ase import Atoms

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc, calculator=calculator)
    return np.asarray(atoms.get_stress(voigt=False))


def elastic(cells: Any, stresses: Any) -> Elastic:
    """Fit cubic polynomials to the stress of cells strained along one axis (|strain| <= 0.06)."""
    lengths = np.array([np.diag(cell) for cell in cells])
    side = float(np.median(lengths))
    strains = lengths / side - 1.0
    rows = []
    for strain, stress in zip(strains, np.asarray(stresses)):
        axis = int(np.argmax(np.abs(strain)))
        others = [i for i in range(3) if i != axis]
        if abs(strain[axis]) <= 0.06:
            rows.append((strain[axis], stress[axis, axis] * GPA, stress[others, others].mean() * GPA))
    strain, along, across = np.array(rows).T
    mean = np.polynomial.Polynomial.fit(strain, (along + 2.0 * across) / 3.0, 3).convert()
    c11 = np.polynomial.Polynomial.fit(strain, along, 3).convert().coef[1]
    c12 = np.polynomial.Polynomial.fit(strain, across, 3).convert().coef[1]
    # A uniform strain e changes the mean stress by 3 B e; the uniaxial one by B e.
    uniform = -mean.coef[0] / (3.0 * mean.coef[1])
    return Elastic(side / 2.0 * (1.0 + float(uniform)), float(mean.coef[1]), float(c11), float(c12))


def equation_of_state(atoms: Any, calculator: Any) -> float:
    """Bulk modulus in GPa from energies of seven volumes within 3 % (Birch-Murnaghan)."""
    from ase.eos import EquationOfState

    volumes, energies = [], []
    for scale in np.linspace(0.97, 1.03, 7):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * scale ** (1.0 / 3.0), scale_atoms=True)
        scaled.calc = calculator
        volumes.append(scaled.get_volume())
        energies.append(scaled.get_potential_energy())
    return float(EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)[2] * GPA)


if __name__ == "__main__":
    main()
