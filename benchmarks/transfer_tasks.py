"""The unseen tasks of benchmarks/transfer.py: files, split, and a budget in steps that was fixed before the first
run.

A task trains on ``train`` and is tested on ``test``. What no file gives is split off by rule: blocks of every
config_type (trajectories), or every n-th frame (each frame is another material), so that a fifth of ``train`` is
the test part, and of the rest a tenth validates. Validation and test frames are thinned evenly to ``n_valid`` and
``n_test``, because they cost time in every run. Frames of more than ``max_atoms`` atoms are left out of all parts.
None of the files may be trained on by a jmp-xs (training/pretraining/holdout.toml).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jmp_calc.training.data.frame import Frame

Domain = Literal["molecules", "crystals", "scalars"]
TEST_SHARE, VALID_SHARE = 0.2, 0.1
FEW = 50
"""Training frames of the second row of every task."""
SPREAD = ("bpa3", "aspirin", "si-random", "qm9")
"""Tasks that are run with ``SEEDS``."""
SEEDS = (0, 1, 2)
SCRATCH_RATES = (1e-3, 2e-3, 4e-3)
SCRATCH_STEPS = 3
"""Steps from scratch over those of a pre-trained start."""
VALIDATIONS = 16
"""Of every run, at equal distances: the validation error of a pre-trained start is known to 1/48 of the steps from
scratch."""


@dataclass(frozen=True)
class Task:
    """One target of transfer; names are those of files without .xyz.gz."""

    domain: Domain
    """The table that it belongs to; a liquid of molecules counts as molecules."""
    train: str
    steps: int
    """Of a pre-trained start, of ``batch`` structures each; from scratch ``SCRATCH_STEPS`` times as many."""
    batch: int
    valid: str | None = None
    test: str | None = None
    split: Literal["blocks", "every"] = "blocks"
    target: str | None = None
    """Key of a scalar; None: energies, forces and, where there are any, stresses."""
    unit: str = "meV/Å"
    max_atoms: int | None = None
    n_valid: int = 40
    n_test: int = 200

    @property
    def rule(self) -> str:
        """How the frames are divided, in words; rows with another rule are computed anew."""
        test = self.test or f"{self.split}, {TEST_SHARE:g}"
        valid = self.valid or f"{self.split}, {VALID_SHARE:g}"
        largest = "" if self.max_atoms is None else f"; up to {self.max_atoms} atoms"
        return f"test: {test}, at most {self.n_test}; validation: {valid}, at most {self.n_valid}{largest}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files."""
        return tuple(name for name in (self.train, self.valid, self.test) if name is not None)


TASKS = {
    "bpa3": Task("molecules", "bpa3_train", 600, 4, test="bpa3_test"),
    "aspirin": Task("molecules", "aspirin_rmd17", 600, 4),
    "ethanol": Task("molecules", "ethanol_pbe_train", 800, 4, test="ethanol_pbe_test"),
    "dipeptides": Task(
        "molecules", "spice_dipeptides_train", 300, 4, valid="spice_dipeptides_val", test="spice_dipeptides_test",
        n_valid=25,
    ),
    "da-reaction": Task("molecules", "da_reaction", 600, 4),
    "c60": Task("molecules", "c60_pbe0_train", 250, 4, test="c60_pbe0_test", n_valid=20, n_test=80),
    "water": Task("molecules", "water_pbe0_train", 200, 1, test="water_pbe0_test", n_valid=5, n_test=20),
    "si-random": Task("crystals", "si_random", 600, 8, n_test=400),
    "tio2": Task("crystals", "tio2_aenet", 400, 4, n_test=150),
    "gst": Task("crystals", "gst", 300, 2, n_valid=12, n_test=40),
    "hea": Task("crystals", "hea25_sample", 300, 2, n_valid=8, n_test=20),
    "gaas": Task("crystals", "gaas", 250, 1, n_valid=7, n_test=20),
    "nifeooh": Task("crystals", "nifeooh_oer", 300, 2, n_valid=12, n_test=60),
    "batio3": Task("crystals", "batio3", 300, 2, n_valid=12, n_test=60),
    "qm9": Task(
        "scalars", "qm9_sub_train", 800, 16, test="qm9_sub_test", split="every", target="atomization_energy",
        unit="eV", n_valid=100, n_test=500,
    ),
    "dielectric": Task(
        "scalars", "dielectric_mp", 800, 8, split="every", target="n", unit="-", n_valid=80, n_test=250
    ),
    "bulk-modulus": Task(
        "scalars", "mp_elastic", 800, 8, split="every", target="bulk_modulus_vrh", unit="GPa", n_valid=80, n_test=400
    ),
    "shear-modulus": Task(
        "scalars", "mp_elastic", 800, 8, split="every", target="shear_modulus_vrh", unit="GPa", n_valid=80,
        n_test=400,
    ),
    "piezo": Task(
        "scalars", "piezo_mp", 800, 8, split="every", target="eij_max", unit="C/m²", n_valid=80, n_test=200
    ),
}  # fmt: skip
"""In the order in which they are run. Steps: about three minutes of one core from a pre-trained start, by edges per
frame and 8000 edges per second."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The frames of a task, by use."""

    train: tuple[Frame, ...]
    valid: tuple[Frame, ...]
    test: tuple[Frame, ...]


def divided(
    task: Task, train: Sequence[Frame], valid: Sequence[Frame] | None, test: Sequence[Frame] | None
) -> Parts:
    """The parts of a task from the frames of its files; None: the task has no such file."""
    from jmp_calc.training.data.frame import spread

    rest: Sequence[Frame] = train if task.max_atoms is None else smaller(train, task.max_atoms)
    if test is None:
        rest, test = split_off(task, rest, TEST_SHARE)
    if valid is None:
        rest, valid = split_off(task, rest, VALID_SHARE)
    if task.max_atoms is not None:
        valid, test = smaller(valid, task.max_atoms), smaller(test, task.max_atoms)
    return Parts(tuple(rest), tuple(spread(valid, task.n_valid)), tuple(spread(test, task.n_test)))


def smaller(frames: Sequence[Frame], max_atoms: int) -> tuple[Frame, ...]:
    """The frames of up to ``max_atoms`` atoms."""
    return tuple(frame for frame in frames if frame.n_atoms <= max_atoms)


def split_off(
    task: Task, frames: Sequence[Frame], share: float
) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    """The rest, and a share of the frames by the rule of the task."""
    from jmp_calc.training.data.split import every_nth, split_frames

    return every_nth(frames, round(1.0 / share)) if task.split == "every" else split_frames(frames, share)


@dataclass(frozen=True)
class Written:
    """The parts of a task as files."""

    train: Path
    valid: Path
    test: Path
    n_train: int

    @property
    def digest(self) -> str:
        """Short hash of the training frames."""
        return hashlib.sha256(self.train.read_bytes()).hexdigest()[:6]


def written(task: Task, data: Path, folder: Path) -> Written:
    """Write the frames of a task into ``folder``, once."""
    from jmp_calc.training.data.to_ase import write_frames

    paths = folder / "train.extxyz", folder / "valid.extxyz", folder / "test.extxyz"
    done = folder / "rule.json"  # written last
    known = json.loads(done.read_text(encoding="utf-8")) if done.exists() else {}
    if known.get("rule") != task.rule:
        valid, test = (None if file is None else read(task, data, file) for file in (task.valid, task.test))
        parts = divided(task, read(task, data, task.train), valid, test)
        folder.mkdir(parents=True, exist_ok=True)
        for path, frames in zip(paths, (parts.train, parts.valid, parts.test)):
            write_frames(path, frames)
        known = {"rule": task.rule, "train": len(parts.train)}
        done.write_text(json.dumps(known), encoding="utf-8")
    return Written(*paths, n_train=known["train"])


def read(task: Task, data: Path, file: str) -> tuple[Frame, ...]:
    """The frames of a file that have the labels of the task: the target, or energy and forces."""
    from jmp_calc.training.data.labels import read_labelled
    from jmp_calc.training.targets.fit import with_target

    frames = read_labelled(data / f"{file}.xyz.gz", target=task.target, require=()).frames
    if task.target is not None:
        return with_target(frames, task.target)
    return tuple(frame for frame in frames if frame.energy is not None and frame.forces is not None)
