"""The job of `make demo`: from a small model and 400 labelled frames to a potential you can use, in minutes.

Fine-tunes jmp-xs on the shipped 3BPA sample (wB97X/6-31G(d)), shows the errors on 50 unseen frames before and
after, relaxes the molecule, runs NVE dynamics with a verdict on energy conservation, and computes the phonons
of silicon.

    python examples/demo.py [--steps 300] [--model jmp-xs] [--out demo_results]
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import io
import os
import shutil
import time
from importlib import resources
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from matplotlib.figure import Figure

from jmp_calc import JMPCalculator, finetune, md, phonons, relax
from jmp_calc.training.config import TrainConfig

N_TEST = 50
DYNAMICS_SECONDS = 70.0
LONGEST_DYNAMICS = 4000


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    what: str
    value: str


def split_sample(folder: Path) -> tuple[Path, Path, list[Atoms]]:
    """Write the shipped sample as train.extxyz (isolated atoms included) and test.extxyz; returns the test
    frames."""
    packed = (resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz").read_bytes()
    frames = read(io.StringIO(gzip.decompress(packed).decode()), ":", format="extxyz")
    train, test = folder / "train.extxyz", folder / "test.extxyz"
    write(train, frames[:-N_TEST])
    write(test, frames[-N_TEST:])
    return train, test, frames[-N_TEST:]


def predicted(frames: list[Atoms], calc: JMPCalculator) -> tuple[np.ndarray, np.ndarray]:
    """Energies per atom, (n,) eV, and force components, (3N,) eV/Å, of the frames."""
    energies, forces = [], []
    for frame in frames:
        work = Atoms(frame.numbers, frame.positions, calculator=calc)
        energies.append(work.get_potential_energy() / len(work))
        forces.append(work.get_forces().ravel())
    return np.array(energies), np.concatenate(forces)


def plot_errors(path: Path, frames: list[Atoms], calculators: dict[str, JMPCalculator]) -> None:
    """Parity of energies (each about its mean) and forces of the unseen frames, one colour per calculator."""
    energies = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
    forces = np.concatenate([frame.get_forces().ravel() for frame in frames])
    figure = Figure(figsize=(9.0, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, calc) in zip(["#c98a2b", "#1f6f8b"], calculators.items()):
        e, f = predicted(frames, calc)
        left.plot(1000 * (energies - energies.mean()), 1000 * (e - e.mean()), ".", color=colour, label=name)
        label = f"{name}: MAE {1000 * np.abs(f - forces).mean():.0f} meV/Å"
        right.plot(forces, f, ".", ms=2, alpha=0.6, color=colour, label=label)
    for axes, unit in ((left, "energy about its mean (meV/atom)"), (right, "force component (eV/Å)")):
        axes.axline((0, 0), slope=1, color="black", lw=0.8)
        axes.set(xlabel=f"DFT {unit}", ylabel=f"model {unit}")
        axes.legend(frameon=False)
    figure.suptitle(f"3BPA, {len(frames)} frames that were not used for training")
    figure.savefig(path, dpi=150)


def plot_dynamics(
    path: Path, time_ps: np.ndarray, mev_per_atom: np.ndarray, temperature_k: np.ndarray
) -> None:
    """Total energy per atom about its mean, and temperature, against time."""
    figure = Figure(figsize=(7.5, 4.3), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(time_ps, mev_per_atom - mev_per_atom.mean(), color="#1f6f8b")
    top.set(ylabel="total energy\n(meV/atom)", title="NVE dynamics of 3BPA")
    bottom.plot(time_ps, temperature_k, color="#c98a2b")
    bottom.set(xlabel="time (ps)", ylabel="temperature (K)")
    figure.savefig(path, dpi=150)


def train(folder: Path, model: str, steps: int) -> tuple[Path, list[Row]]:
    """Fine-tune, plot the errors before and after; returns the best model file."""
    train_file, test_file, frames = split_sample(folder)
    result = finetune(
        train_file,
        test=test_file,
        model=model,
        out=folder / "finetune",
        head_name="wb97x-3bpa",
        config=TrainConfig(max_steps=steps, processes=min(2, os.cpu_count() or 1)),
    )
    before = JMPCalculator(model, head=result.init_head)
    plot_errors(folder / "errors.png", frames, {"before": before, "after": JMPCalculator(result.best)})
    assert result.test_before is not None
    assert result.test is not None
    return result.best, [
        Row(f"{N_TEST} unseen frames, before", str(result.test_before)),
        Row(f"{N_TEST} unseen frames, after {steps} steps", str(result.test)),
    ]


def simulate(folder: Path, best: Path) -> list[Row]:
    """Relax the molecule, then NVE dynamics from 300 K, as long as fits into DYNAMICS_SECONDS."""
    atoms = read(folder / "test.extxyz", index="0")
    atoms.calc = JMPCalculator(best)
    relaxed = relax(atoms, fmax=0.01, steps=500, out=folder / "relax")
    start = relaxed.atoms
    start.calc = JMPCalculator(best)
    began = time.perf_counter()
    md(start, ensemble="nve", temperature_k=300, timestep_fs=0.5, steps=20)
    step_s = (time.perf_counter() - began) / 20
    steps = int(min(LONGEST_DYNAMICS, DYNAMICS_SECONDS / step_s))
    run = md(start, ensemble="nve", temperature_k=300, timestep_fs=0.5, steps=steps, out=folder / "md")
    table = dict(zip(run.columns, run.stats.T))
    plot_dynamics(
        folder / "nve.png",
        table["time_fs"] / 1000,
        1000 * table["etot_eV"] / len(atoms),
        table["temperature_K"],
    )
    drift = run.drift
    slope = (
        ""
        if drift is None
        else f"{drift.drift_mev_per_atom_per_ps:+.3f} ± {drift.standard_error:.3f} meV/atom/ps"
    )
    return [
        Row(
            "3BPA relaxed",
            f"largest force {relaxed.fmax:.4f} eV/Å after {relaxed.n_steps} steps"
            + ("" if relaxed.converged else " (not converged)"),
        ),
        Row(
            f"NVE, {steps * 0.5 / 1000:.2f} ps, from 300 K",
            f"{slope}: {drift.verdict if drift else 'too short'}",
        ),
        Row("speed", f"{1000 * step_s:.0f} ms per MD step of {len(atoms)} atoms"),
    ]


def silicon(folder: Path, model: str) -> list[Row]:
    """Lattice constant, phonon bands and density of states of silicon with the model as shipped."""
    crystal = bulk("Si", "diamond", a=5.43)
    crystal.calc = JMPCalculator(model, dtype="float64")
    cell = relax(crystal, cell="full", fmax=1e-4, fix_symmetry=True)
    crystal.cell = cell.atoms.cell
    crystal.set_scaled_positions(cell.atoms.get_scaled_positions())
    result = phonons(crystal, supercell="4 4 4", out=folder / "silicon")
    constant = (4 * crystal.get_volume()) ** (1 / 3)
    at_gamma = result.frequencies_thz[np.abs(result.qpoints).max(axis=1) < 1e-8]
    return [
        Row("silicon, lattice constant", f"{constant:.3f} Å (experiment 5.431, PBE 5.47)"),
        Row("silicon, optical mode at Γ", f"{at_gamma.max():.2f} THz (experiment 15.5)"),
        Row(
            "silicon, lowest frequency",
            f"{result.lowest_thz:.3f} THz, {len(result.imaginary)} imaginary modes",
        ),
    ]


def main() -> None:
    """Run the four parts and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=300, help="training steps (default 300: 100 s on 2 cores)"
    )
    parser.add_argument("--model", default="jmp-xs", help="start model (default jmp-xs)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_results"), help="folder; an earlier demo is replaced"
    )
    options = parser.parse_args()
    folder, began = options.out, time.perf_counter()
    if (folder / "demo.txt").exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.txt").write_text("made by examples/demo.py; replaced by its next run\n", encoding="utf-8")

    print(f"1/3  fine-tuning {options.model} on 3BPA", flush=True)
    best, rows = train(folder, options.model, options.steps)
    print("2/3  relaxation and NVE dynamics", flush=True)
    rows += simulate(folder, best)
    print("3/3  phonons of silicon", flush=True)
    rows += silicon(folder, options.model)
    rows.append(Row("whole demo", f"{time.perf_counter() - began:.0f} s"))

    table = "\n".join(f"  {row.what:<34} {row.value}" for row in rows)
    (folder / "demo.txt").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n\nPictures:")
    for name in ("errors.png", "finetune/loss.svg", "nve.png", "silicon/band.png", "silicon/dos.png"):
        print(f"  {folder / name}")
    print(f'\nNext:\n  atoms.calc = JMPCalculator("{best}")')


if __name__ == "__main__":
    main()
