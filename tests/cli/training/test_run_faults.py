"""Faults of a training run as users meet them: what is refused, stopped or resumed, with which words and exit
code."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import Result
from filelock import FileLock

from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.training.validation.history import read_history
from jmp_calc.zoo.container import load_model
from tests.programs import JMP_CALC, environment
from tests.programs import run as run_program

Run = Callable[..., Result]
FAST = ("--epochs", 1, "--batch-size", 4, "--lr", "1e-3")


def copper(count: int, seed: int = 0) -> list[Atoms]:
    """Shaken copper cells of two atoms with EMT labels."""
    rng, images = np.random.default_rng(seed), []
    for i in range(count):
        atoms = bulk("Cu", a=3.6 + 0.02 * i) * (1, 1, 2)
        atoms.positions += rng.normal(scale=0.1, size=(2, 3))
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces()
        images.append(atoms)
    return images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return saved(tmp_path / "train.extxyz", copper(10))


def saved(path: Path, images: list[Atoms]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, images, format="extxyz")
    return path


@dataclass(frozen=True)
class Done:
    """How a process ended, with the names of click's Result."""

    exit_code: int
    output: str
    stderr: str


def fails(done: Result | Done, code: int, *words: str) -> None:
    """The exit code, the words, a three-part message and no traceback."""
    assert done.exit_code == code, done.output
    assert "error: " in done.stderr
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.stderr, done.stderr


def program(*words: object, limit: int | None = None, **variables: str | None) -> Done:
    """The command line in a process of its own, perhaps with a largest file size; a variable None is taken
    away."""
    set_limit = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    done = run_program([*JMP_CALC, *words], env=environment(**variables), limit=set_limit)
    return Done(done.returncode, done.stdout + done.stderr, done.stderr)


def test_fault_51_copies_between_training_and_validation(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    images = read(data, ":")
    twins = saved(tmp_path / "valid.extxyz", images[:3])
    fails(
        run("finetune", data, "--valid", twins, "-m", model, "-o", tmp_path / "a", *FAST),
        4,
        "also training frames",
        "--allow duplicates",
    )
    repeated = saved(tmp_path / "twice.extxyz", [*images[:8], images[0]])
    planned = run("finetune", repeated, "-m", model, "-o", tmp_path / "b", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "occur more than once" in planned.stdout


def test_fault_52_too_few_frames_or_none_to_validate(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    one = saved(tmp_path / "one.extxyz", copper(1))
    done = run("finetune", one, "-m", model, "-o", tmp_path / "a", *FAST)
    fails(done, 2, "1 frames to train on and 0 to validate on", "--valid")
    fails(
        run("finetune", data, "--valid-fraction", 0, "-m", model, "-o", tmp_path / "b", *FAST),
        2,
        "0 to validate on",
    )
    small = run(
        "finetune",
        saved(tmp_path / "three.extxyz", copper(3)),
        "-m",
        model,
        "-o",
        tmp_path / "c",
        "--epochs",
        1,
        "--batch-size",
        64,
    )
    assert small.exit_code == 0, small.output  # fewer frames than a batch holds
    assert "Training with 2 and validation with 1 frames says little" in small.stderr
    assert read_history(tmp_path / "c" / "metrics.csv")[-1].step == 1


def test_fault_53_all_energies_equal(run: Run, tmp_path: Path, model: str) -> None:
    images = copper(6)
    for atoms in images:
        atoms.calc.results["energy"] = atoms.calc.results["free_energy"] = -3.0
    path = saved(tmp_path / "same.extxyz", images)
    done = run("finetune", path, "-m", model, "-o", tmp_path / "a", *FAST)
    fails(done, 4, "--allow")
    assert "energies" in done.stderr


def test_fault_54_element_only_outside_the_training_set(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    foreign = copper(2, seed=9)
    for atoms in foreign:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.symbols[0] = "Al"
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    other = saved(tmp_path / "other.extxyz", foreign)
    for option in ("--valid", "--test"):
        done = run("finetune", data, option, other, "-m", model, "-o", tmp_path / option[2:], *FAST)
        fails(done, 4, "Al (2 frames)", "--allow unseen_element")


def test_fault_58_paths_with_spaces_and_letters_of_any_language(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    folder = tmp_path / "Läufe und Modelle 计算"
    inside = saved(folder / "données à apprendre.extxyz", read(data, ":"))
    network = folder / "mein Modell.safetensors"
    shutil.copy(model, network)
    done = program("finetune", inside, "-m", network, "-o", folder / "erster Lauf", *FAST, LC_ALL="C")
    assert done.exit_code == 0, done.stderr
    again = run("finetune", "--config", folder / "erster Lauf" / "config.yaml", "-o", folder / "zweiter Lauf")
    assert again.exit_code == 0, again.output
    assert load_model(folder / "zweiter Lauf" / "best.safetensors").card.name.endswith(
        "données à apprendre.extxyz"
    )


@pytest.mark.slow
def test_fault_58_no_home_directory(tmp_path: Path, data: Path, model: str) -> None:
    done = program(
        "finetune", data, "-m", model, "-o", tmp_path / "run", *FAST, HOME=None, XDG_CACHE_HOME=None
    )
    assert done.exit_code == 0, done.stderr


def test_fault_58_folder_that_cannot_be_written(run: Run, data: Path, model: str) -> None:
    fails(
        run("finetune", data, "-m", model, "-o", "/proc/run", *FAST),
        2,
        "Cannot write into the output folder",
        "-o DIR",
    )


@pytest.mark.slow
def test_fault_58_full_disk_while_the_state_is_written(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    """A limit of the file size stands for the full disk: models fit, the state does not; the run goes on
    later."""
    words = (
        "finetune",
        data,
        "-m",
        model,
        "-o",
        tmp_path / "run",
        "--epochs",
        2,
        "--batch-size",
        4,
        "--lr",
        "1e-3",
    )
    limit = Path(model).stat().st_size + 50_000
    done = program(*words, limit=limit)
    fails(done, 1, "The state of the run could not be written: File too large", "--resume")
    assert not list((tmp_path / "run").glob(".*.tmp"))
    resumed = run(*words, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert load_checkpoint(tmp_path / "run" / "state.pt").progress.epoch == 2


def test_fault_58_full_disk_while_the_log_is_written(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    assert run(*words).exit_code == 0
    (tmp_path / "run" / "train.log").unlink()
    (tmp_path / "run" / "train.log").symlink_to("/dev/full")
    fails(run(*words, "--resume"), 1, "No space is left on the disk", "free some space")


def test_fault_63_two_jobs_in_one_folder(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / LOCK_NAME):
        done = run("finetune", data, "-m", model, "-o", out, *FAST)
    fails(done, 2, "Another jmp-calc job is writing into this folder")
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []
    assert run("finetune", data, "-m", model, "-o", out, *FAST).exit_code == 0


def test_fault_64_another_folder_and_clock(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    """The folder, the data and the start model move, and the files come from the future; the run goes on."""
    words = ("--batch-size", 4, "--lr", "1e-3", "--max-time", "20m", "--patience", 1)
    assert run("finetune", data, "-m", model, "-o", tmp_path / "run", *words, "--epochs", 1).exit_code == 0
    there = tmp_path / "another node"
    shutil.copytree(tmp_path / "run", there / "run")
    moved = Path(shutil.copy(data, there / data.name))
    network = Path(shutil.copy(model, there / "start.safetensors"))
    for path in (there / "run").iterdir():
        os.utime(path, (4e9, 4e9))
    spent = load_checkpoint(there / "run" / "state.pt").progress.elapsed
    done = run("finetune", moved, "-m", network, "-o", there / "run", *words, "--epochs", 1, "--resume")
    assert done.exit_code == 0, done.output
    after = load_checkpoint(there / "run" / "state.pt").progress
    assert spent <= after.elapsed < 1200.0
    assert after.step == load_checkpoint(tmp_path / "run" / "state.pt").progress.step


def test_fault_76_nan_stops_the_run_and_saves_the_frames(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    done = run(
        "finetune",
        data,
        "-m",
        model,
        "-o",
        tmp_path / "run",
        "--epochs",
        3,
        "--batch-size",
        4,
        "--lr",
        "1e30",
        "--warmup-steps",
        0,
    )
    fails(done, 3, "is not finite at step", "train.extxyz frame", "nan-batch.extxyz")
    assert len(read(tmp_path / "run" / "nan-batch.extxyz", ":")) >= 1
    assert yaml.safe_load((tmp_path / "run" / "summary.yaml").read_text())["status"] == "not-converged"
    assert all(
        np.isfinite(value).all() for value in load_checkpoint(tmp_path / "run" / "state.pt").weights.values()
    )


def test_fault_77_clipped_steps_are_reported(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST, "--clip", "1e-9")
    assert done.exit_code == 0, done.output
    assert "gradients were clipped in 3 of 3 steps" in done.stderr
    assert yaml.safe_load((tmp_path / "run" / "report.yaml").read_text())["n_clipped_steps"] == 3


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--clip", 3), "optim.clip_norm: 10.0 -> 3.0"),
        (("--head-name", "other"), "data.start.head: finetuned -> other"),
        pytest.param(("--dtype", "float64"), "data.start.dtype: float32 -> float64", marks=pytest.mark.slow),
        (("--valid-every", 3), "data.train.frames: 9 -> 7"),
        pytest.param(("--from-scratch",), "data.start.from_scratch: False -> True", marks=pytest.mark.slow),
    ],
)
def test_fault_78_resume_with_something_changed(
    run: Run, tmp_path: Path, data: Path, model: str, options: tuple[object, ...], difference: str
) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    assert run(*words).exit_code == 0
    fails(run(*words, "--resume", *options), 2, difference, "--override")


def test_how_often_the_state_is_saved_may_change(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    assert run(*words).exit_code == 0
    assert run(*words, "--resume", "--save-every", "5s").exit_code == 0


def test_the_first_lines_of_the_documentation_go_on_with_a_run(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    block = (
        (Path(__file__).parents[3] / "docs" / "finetuning.md")
        .read_text()
        .split("```bash\n")[1]
        .split("```")[0]
    )
    lines = [line.split("#")[0].split()[1:] for line in block.splitlines()]
    assert len(lines) == 4
    places = {
        "train.extxyz": data,
        "valid.extxyz": saved(tmp_path / "valid.extxyz", copper(1, seed=9)),
        "jmp-xs": model,
        "test.extxyz": saved(tmp_path / "test.extxyz", copper(1, seed=10)),
        "run": tmp_path / "run",
        "150": 2,
        "2": 1,
        "run/config.yaml": tmp_path / "run" / "config.yaml",
    }
    for number, line in enumerate(lines):
        done = run(*(places.get(word, word) for word in line), *(FAST if number == 0 else ()))
        assert done.exit_code == 0, done.output
    assert [row.epoch for row in read_history(tmp_path / "run" / "metrics.csv")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("averaged", "words"), [(True, "(EMA, decay 0.99)"), (False, "weights as they are (not averaged) after")]
)
def test_fault_80_which_weights_are_saved_is_stated(
    run: Run, tmp_path: Path, data: Path, model: str, averaged: bool, words: str
) -> None:
    done = run(
        "finetune", data, "-m", model, "-o", tmp_path / "run", *FAST, *(() if averaged else ("--no-ema",))
    )
    assert done.exit_code == 0, done.output
    report = yaml.safe_load((tmp_path / "run" / "report.yaml").read_text())
    rows = read_history(tmp_path / "run" / "metrics.csv")
    best = max(row.step for row in rows if row.best)
    for name, step in (("best", best), ("last", 3)):
        (note,) = load_model(tmp_path / "run" / f"{name}.safetensors").card.notes
        assert words in note
        assert f"after {step} steps" in note
        assert report["saved_weights"][name] == note
    assert report["valid_last"]["forces_mae_mev_per_a"] == pytest.approx(
        rows[-1].valid_forces_mae_mev_per_a, rel=1e-3
    )
    assert ("valid_last_not_averaged" in report) == averaged


def test_fault_81_the_end_comes_before_the_first_epoch(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    """There is a best model in any case, because the start weights are validated first."""
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", "--batch-size", 1, "--max-time", "1s")
    assert done.exit_code in (0, 2), done.output
    if done.exit_code == 2:  # a slow machine
        assert "before the first step" in done.stderr
        return
    assert load_model(tmp_path / "run" / "best.safetensors").potential.config.default_head == "finetuned"


def test_fault_82_heads_that_collide_or_do_not_exist(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    words = ("finetune", data, "-m", model, *FAST)
    fails(run(*words, "-o", tmp_path / "a", "--head", "pbe"), 5, "no head 'pbe'", "choose one of any")
    collides = (*words, "-o", tmp_path / "b", "--keep-heads", "--head-name", "any")
    for asked in (collides, (*collides, "--dry-run")):
        fails(run(*asked), 2, "already has a head 'any'", "--head-name")
    fails(run(*words, "-o", tmp_path / "c", "--head-name", "a b"), 2, "not a name for a head")
