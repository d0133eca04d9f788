"""``--dry-run`` of ``finetune`` and ``pretrain``: audit, what was found, schedule and cost; nothing is
written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read, write
from click.testing import Result

from tests.training.helpers import layouts
from tests.training.helpers.mixture_data import write_chain, write_mixture
from tests.training.helpers.tiny import emt_file, tiny_model

Run = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return emt_file(tmp_path / "train.extxyz", 20)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """One block, and an old head for Al and Cu."""
    return tiny_model(tmp_path / "tiny.safetensors")


def planned(run: Run, *words: object) -> dict[str, Any]:
    """The JSON of a dry run."""
    done = run(*words, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_finetune_says_what_it_found_what_it_does_and_what_it_costs(
    run: Run, tmp_path: Path, data: Path, tiny: Path
) -> None:
    done = run("finetune", data, "-m", tiny, "-o", tmp_path / "run", "--dry-run", "-q")
    assert done.exit_code == 0, done.output
    for words in (
        "energy: key 'energy' in 20 of 20 frames",
        "training frames: 18, 72 atoms of Al, Cu; energy in 18",
        "groups",
        "units: eV and Å",
        "references: least_squares, eV: Al",
        "0 errors, ",
        "steps: 500, 5 per epoch of 18 structures; limits: 100 epochs",
        "in 50 steps, then a cosine to",
        "weight decay 0.01",
        "decay 0.99 (EMA)",
        "no early stop",
        "training step: about",
        "memory: about",
        "in all: about",
    ):
        assert words in done.stdout, words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.safetensors", "train.extxyz"]


def test_json_adds_up(run: Run, tmp_path: Path, data: Path, tiny: Path) -> None:
    plan = planned(run, "finetune", data, "-m", tiny, "-o", tmp_path / "run", "--epochs", 8, "--patience", 3)
    schedule, cost = plan["schedule"], plan["cost"]
    assert (plan["found"]["training"]["frames"], plan["found"]["validation"]["frames"]) == (18, 2)
    assert plan["audit"]["errors"] == 0 and len(plan["audit"]["findings"]) == plan["audit"]["warnings"]
    assert schedule["total_steps"] == 8 * schedule["steps_per_epoch"] == cost["n_steps"] == 40
    assert schedule["patience"] == 3 and schedule["groups"][0]["peak_lr"] == schedule["optim"]["lr"]
    assert cost["total_s"] > 40 * cost["step_s"] > 0 and cost["memory_bytes"] > 0 and cost["fits"]
    timed = planned(run, "finetune", data, "-m", tiny, "--max-time", "1h")
    assert timed["schedule"]["total_steps"] is None and timed["cost"]["time_decides"]
    assert timed["cost"]["n_steps"] > 1000


def test_frozen_blocks_are_not_trained(run: Run, data: Path, tiny: Path) -> None:
    every, few = (
        planned(run, "finetune", data, "-m", tiny, "--freeze", what)["schedule"]
        for what in ("none", "backbone")
    )
    assert every["trained_weights"] == every["weights"] == few["weights"] > 5 * few["trained_weights"]
    low = planned(run, "finetune", data, "-m", tiny, "--lora-rank", 1)["schedule"]
    assert few["trained_weights"] < low["trained_weights"] < every["weights"]


def test_data_that_the_audit_refuses_have_findings_and_no_schedule(
    run: Run, tmp_path: Path, data: Path, tiny: Path
) -> None:
    images = read(data, ":")
    images[3].calc.results["forces"][1, 2] = np.nan
    write(tmp_path / "bad.extxyz", images)
    done = run("finetune", tmp_path / "bad.extxyz", "-m", tiny, "--dry-run")
    assert done.exit_code == 4
    assert "audit error not_finite: 1 of 20 frames have forces that are not finite" in done.stdout
    assert "schedule" not in done.stdout and "bad.extxyz frames 3" in done.stderr


@pytest.mark.parametrize(
    "words, code, text",
    [
        (("--head", "nohead"), 5, "no head 'nohead' to start from"),
        (("--processes", 99), 2, "99 processes cannot share"),
        (("--dtype", "float64", "--precision", "bf16-mixed"), 2, "is for weights in float32"),
        (("--forces", "direct"), 5, "no branch for direct forces"),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    run: Run, data: Path, tiny: Path, words: tuple[object, ...], code: int, text: str
) -> None:
    done = run("finetune", data, "-m", tiny, *words, "--dry-run")
    assert done.exit_code == code and text in done.output, done.output


def test_pretrain_says_the_same_of_every_set_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    recipe, out = write_mixture(tmp_path), tmp_path / "run"
    before = sorted(tmp_path.iterdir())
    plan = planned(run, "pretrain", recipe, "--data", tmp_path, "-o", out)
    assert list(plan["found"]) == ["copper", "copper-shifted", "molecules", "aside"]
    assert (
        plan["found"]["molecules"]["elements"] == ["H", "C", "O"]
        and plan["found"]["molecules"]["left_out"] == {}
    )
    assert (
        plan["schedule"]["epochs"] == 2
        and plan["schedule"]["total_steps"] == 2 * plan["schedule"]["steps_per_epoch"]
    )
    assert (
        plan["schedule"]["optim"]["lr"] == 5e-3
        and plan["cost"]["step_s"] > 0
        and plan["cost"]["edges"] <= 600
    )
    text = run("pretrain", recipe, "--data", tmp_path, "-o", out, "--dry-run").stdout
    for words in ("molecules: head organic", "decay 0.9 (EMA)", "training step: about"):
        assert words in text, words
    assert "unknown without --data FOLDER" in run("pretrain", recipe, "--dry-run").stdout
    assert sorted(tmp_path.iterdir()) == before


def made_recipe(folder: Path, calculator: str = "ase.calculators.emt:EMT") -> Path:
    """A recipe of copper and of alloys that are to be made, far more than a test could wait for."""
    recipe = write_chain(folder, stages=0)
    text = recipe.read_text().replace('sample = "molecules"', 'sample = "crystals"\nelements = ["Al", "Cu"]')
    text = text.replace('calculator = "emt"', f'calculator = "{calculator}"')
    recipe.write_text(text.replace("\nframes = 12", "\nframes = 1000000"))
    return recipe


def test_frames_that_a_run_would_make_are_named_and_not_made(run: Run, tmp_path: Path) -> None:
    recipe, shards = made_recipe(tmp_path), tmp_path / "made"
    before = sorted(tmp_path.rglob("*"))
    words = ("pretrain", recipe, "--data", tmp_path, "--shards", shards, "-o", tmp_path / "run")
    plan = planned(run, *words)
    assert sorted(tmp_path.rglob("*")) == before
    assert plan["to make"]["stage-001/fresh"] == {
        "frames": 1000000,
        "sample": "crystals",
        "calculator": "ase.calculators.emt:EMT",
        "is_sampled": False,
        "folder": str(shards / "stage-001" / "fresh"),
    }
    assert plan["to make"]["valid/fresh"]["frames"] == 4 and "schedule" not in plan
    text = run(*words, "--dry-run").stdout
    assert "4 crystals, to draw, to label with ase.calculators.emt:EMT" in text, text
    (tmp_path / "copper.xyz").unlink()
    gone = run(*words, "--dry-run")
    assert gone.exit_code == 4 and "No such file" in gone.stderr, gone.output


@pytest.mark.parametrize(
    "calculator, teacher, code, text",
    [
        ("nequix", "{}", 2, "brings no weights for nequix"),
        ("nequix", "{weights: none.nqx}", 2, "no weights at this path"),
        ("tblite", "{python: /no/python}", 2, "interpreter cannot be started"),
        ("tblte", "{}", 5, "Unknown model 'tblte'"),
        ("tblite", "{procesess: 2}", 2, "Unknown key 'procesess'"),
    ],
)
def test_teachers_that_could_not_label_are_known_before(
    run: Run, tmp_path: Path, calculator: str, teacher: str, code: int, text: str
) -> None:
    recipe, teachers = made_recipe(tmp_path, calculator), tmp_path / "teachers.yaml"
    teachers.write_text(f"teachers:\n  {calculator}: {teacher}\n")
    words = ("pretrain", recipe, "--data", tmp_path, "--shards", tmp_path / "made", "--teachers", teachers)
    done = run(*words, "--dry-run")
    assert done.exit_code == code and text in done.stderr, done.output


def test_a_recipe_with_a_time_limit_of_its_own_has_other_stages(run: Run, tmp_path: Path, tiny: Path) -> None:
    """With --max-time the stages end within it, and that is said; with --epochs what it cuts off is said."""
    layouts.write_rmd17(tmp_path, "aspirin", 1060, layouts.water())
    words = (
        "finetune",
        "--recipe",
        "rmd17-aspirin",
        "--data",
        tmp_path,
        "--split",
        "jmp-50",
        "-m",
        "jmp-xs",
        "--test-frames",
        4,
        "--from-scratch",
        "--batch-size",
        10,
    )
    plan = planned(run, *words, "--max-time", 60)
    assert plan["recipe"] == "rmd17-aspirin" and plan["schedule"]["optim"]["stages"]["limit"] == "time"
    assert plan["cost"]["test_s"] > 0
    done = run(*words, "--epochs", 5, "--dry-run")
    assert "stage 2, cosine: to epoch 128 (step 640), down to 8e-07" in done.stdout
    assert "ends at step 25, before the cosine: its last learning rate is 8e-05" in done.stdout
