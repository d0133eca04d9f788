"""Small sets labelled with effective medium theory, at shifted energies, and the recipe that mixes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

RECIPE = """
[mixture]
name = "tiny"
default_head = "metal"
default_for_molecules = "organic"
validation_fraction = 0.2
[model]
architecture = "jmp-xs"
[train]
max_edges_per_batch = 600
batch_size = 8
epochs = 2
[train.optim]
lr = 5e-3
warmup_steps = 2
ema_decay = 0.9
[heads.metal]
level_of_theory = "EMT"
theory = { functional = "EMT" }
[heads.organic]
level_of_theory = "EMT, shifted"
[heads.aside]
level_of_theory = "functional not documented"
keep = false
[sets.copper]
files = ["copper.xyz"]
head = "metal"
cap = 12
licence = "CC0"
source = "tests"
citation = "none"
[sets.copper-shifted]
files = ["shifted.xyz"]
head = "metal"
constant = true
cap = 6
stress = false
[sets.molecules]
files = ["molecules.xyz"]
head = "organic"
domain = "liquids"
cap = 12
weight = 2.0
[sets.aside]
files = ["aside.xyz"]
head = "aside"
cap = 4
"""


def labelled(atoms: Atoms, shift: float = 0.0) -> Atoms:
    """The structure with EMT energy (plus ``shift`` eV per atom), forces and, for cells, stress."""
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy() + shift * len(atoms), "forces": atoms.get_forces()}
    if atoms.pbc.any():
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystals(count: int, seed: int) -> list[Atoms]:
    """Rattled and strained copper cells."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array * rng.uniform(0.97, 1.04), scale_atoms=True)
        atoms.rattle(0.08, rng=rng)
        frames.append(atoms)
    return frames


def molecules(count: int, seed: int) -> list[Atoms]:
    """Rattled water and methanol, in turn."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(count):
        atoms = molecule("H2O" if i % 2 else "CH3OH")
        atoms.rattle(0.08, rng=rng)
        frames.append(atoms)
    return frames


def write_mixture(folder: Path) -> Path:
    """Write data and recipe to ``folder``; returns the recipe."""
    write(folder / "copper.xyz", [labelled(a) for a in crystals(12, 1)], format="extxyz")
    write(folder / "shifted.xyz", [labelled(a, 7.0) for a in crystals(6, 2)], format="extxyz")
    write(folder / "molecules.xyz", [labelled(a, -20.0) for a in molecules(16, 3)], format="extxyz")
    write(folder / "aside.xyz", [labelled(a, 1.0) for a in molecules(4, 4)], format="extxyz")
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE)
    return recipe


CHAIN = """
[mixture]
name = "links"
default_head = "metal"
validation_fraction = 0.2
normalisation = "absolute"
[train]
max_edges_per_batch = 600
batch_size = 4
validate_every = 3
[train.optim]
lr = 5e-3
warmup_steps = 2
final_lr = 0.01
[heads.metal]
level_of_theory = "EMT"
[heads.organic]
level_of_theory = "EMT, shifted"
[sets.copper]
files = ["copper.xyz"]
head = "metal"
[sets.fresh]
head = "organic"
[sets.fresh.made]
sample = "molecules"
calculator = "emt"
frames = 12
valid_frames = 4
"""


def write_shards(folder: Path, stages: int) -> None:
    """Write labelled molecules of some stages, with isolated atoms, and those that validate."""
    atoms = [labelled(Atoms(symbol), -20.0) for symbol in "HCO"]
    for name, kinds, seed in [
        ("valid", ("NH3", "CH3CH2OH"), 0),
        *((f"stage-{number:03d}", ("H2O", "CH3OH", "NH3"), number) for number in range(1, stages + 1)),
    ]:
        rng, frames = np.random.default_rng(seed), []
        for i in range(12):
            frame = molecule(kinds[i % len(kinds)])
            frame.rattle(0.08, rng=rng)
            frame = labelled(frame, -20.0)
            frame.info.update(graph=kinds[i % len(kinds)], sample_kind="rattled")
            frames.append(frame)
        nitrogen = labelled(Atoms("N"), -20.0)
        (folder / name / "fresh").mkdir(parents=True)
        write(folder / name / "fresh" / "labelled.extxyz", [*frames, *atoms, nitrogen], format="extxyz")
        (folder / name / "fresh" / "teacher.yaml").write_text("method: EMT\nmethod_version: of the tests\n")


def write_chain(folder: Path, stages: int = 2) -> Path:
    """Write data, shards and the recipe of a chain to ``folder``; returns the recipe."""
    write(folder / "copper.xyz", [labelled(a) for a in crystals(12, 1)], format="extxyz")
    write_shards(folder / "shards", stages)
    recipe = folder / "links.toml"
    recipe.write_text(CHAIN)
    return recipe
