"""``finetune --target``, scalar recipes from the layouts of their data sets, and ``evaluate`` of what they
give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ase.build import molecule
from ase.io import read, write
from click.testing import Result

from jmp_calc.training.finetuning.recipes import finetune_recipe
from jmp_calc.zoo.container import load_model
from tests.training.helpers import scalar_layouts

Run = Callable[..., Result]


@pytest.fixture
def gaps(tmp_path: Path) -> Path:
    """Twelve molecules with a made-up gap."""
    images = []
    for i in range(12):
        atoms = molecule(("H2O", "CH3OH")[i % 2])
        atoms.rattle(0.05, seed=i)
        atoms.info["gap"] = 5.0 + 2.0 * (i % 2) + 0.1 * i
        images.append(atoms)
    write(tmp_path / "gaps.extxyz", images, format="extxyz")
    return tmp_path / "gaps.extxyz"


def test_a_target_of_a_file_is_trained_and_evaluated(
    run: Run, tmp_path: Path, gaps: Path, model: str
) -> None:
    out = tmp_path / "run"
    words = (
        "finetune",
        gaps,
        "--target",
        "gap",
        "--target-unit",
        "eV",
        "--target-loss",
        "huber",
        "-m",
        model,
        "-o",
        out,
        "--valid-every",
        4,
        "--epochs",
        2,
        "--allow",
        "near_duplicates",
    )
    dry = run(*words, "--dry-run")
    assert dry.exit_code == 0 and "target: gap: mean" in dry.output, dry.output
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "constant predictor: MAE" in done.output and "next: jmp_calc.predict(" in done.output
    head = load_model(out / "best.safetensors").potential.config.heads[0]
    assert (head.kind, head.reduction, head.target, head.unit) == ("scalar", "mean", "gap", "eV")
    loss = yaml.safe_load((out / "config.yaml").read_text())["training"]["loss"]
    assert loss["scalar"] == "huber" and loss["scalar_unit"] == pytest.approx(head.energy_scale)
    done = run("evaluate", gaps, "-m", out / "best.safetensors", "-o", tmp_path / "errors")
    assert done.exit_code == 0, done.output
    assert yaml.safe_load((tmp_path / "errors" / "errors.yaml").read_text())["errors"]["scalar_mae"] > 0
    done = run("singlepoint", gaps, "-m", out / "best.safetensors", "-o", tmp_path / "single")
    assert done.exit_code == 0 and "gap [eV]" in done.output, done.output
    refused = run("relax", gaps, "-m", out / "best.safetensors", "-o", tmp_path / "relax")
    assert refused.exit_code == 5 and "jmp_calc.predict" in refused.output


def test_classes_of_a_file_are_trained_and_evaluated(
    run: Run, tmp_path: Path, gaps: Path, model: str
) -> None:
    images = read(gaps, ":")
    for i, atoms in enumerate(images):
        atoms.info["kind"] = ("water", "alcohol")[i % 2]
    write(gaps, images, format="extxyz")
    out = tmp_path / "run"
    words = (
        "finetune",
        gaps,
        "--target",
        "kind",
        "--class-weights",
        "balanced",
        "-m",
        model,
        "-o",
        out,
        "--valid-every",
        3,
        "--epochs",
        1,
        "--allow",
        "near_duplicates",
    )
    dry = run(*words, "--dry-run")
    assert dry.exit_code == 0 and "2 classes in 8 training frames (alcohol 4, water 4)" in dry.output, (
        dry.output
    )
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "constant predictor: accuracy" in done.output and "next: jmp_calc.predict_classes(" in done.output
    head = load_model(out / "best.safetensors").potential.config.heads[0]
    assert (head.kind, head.classes, head.target) == ("multiclass", ("alcohol", "water"), "kind")
    done = run("evaluate", gaps, "-m", out / "best.safetensors", "-o", tmp_path / "errors")
    assert done.exit_code == 0 and "true, predicted" in done.output, done.output
    table = yaml.safe_load((tmp_path / "errors" / "errors.yaml").read_text())["confusion"]
    assert sum(table["alcohol"].values()) == sum(table["water"].values()) == 6
    settings = yaml.safe_load((out / "config.yaml").read_text())
    target = settings["data"].pop("target")
    settings["data"]["scalar"] = {
        **target,
        "target": target.pop("key"),
    }  # as the first version of the file had it
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(settings))
    for config in (out / "config.yaml", tmp_path / "first.yaml"):
        again = run("finetune", "--config", config, "-o", tmp_path / "again", "--dry-run")
        assert again.exit_code == 0 and "weighted to count equally" in again.output, again.output
    images[0].info["kind"] = "ether"
    write(gaps, images, format="extxyz")
    done = run("evaluate", gaps, "-m", out / "best.safetensors", "-o", tmp_path / "unknown")
    assert done.exit_code == 4 and "ether" in done.output


def test_recipes_run_from_the_files_of_their_data_sets(run: Run, tmp_path: Path, model: str) -> None:
    """The fold of MatBench, a split of QMOF and complexes of PDBBind; units, pooling and errors of the
    recipe."""
    (tmp_path / "m").mkdir()
    scalar_layouts.write_matbench(
        tmp_path / "m", "jdft2d", "exfoliation_en", 636, [10.0 + i % 3 for i in range(636)]
    )
    scalar_layouts.write_qmof(tmp_path / "q", 20)
    (tmp_path / "p").mkdir()
    scalar_layouts.write_pdbbind(tmp_path / "p", [f"{i}abc" for i in range(10, 30)])
    cases = {
        "matbench-jdft2d": (tmp_path / "m", ("--fold", 1, "--batch-size", 64)),
        "qmof-bandgap": (tmp_path / "q", ("--split", "code")),
        "gn-oc-pdbbind-core": (tmp_path / "p", ()),
    }
    for name, (data, options) in cases.items():
        done = run(
            "finetune",
            "--recipe",
            name,
            "--data",
            data,
            "-m",
            model,
            "-o",
            tmp_path / name,
            "--epochs",
            1,
            "--lr",
            "1e-3",
            "--test-frames",
            8,
            *options,
        )
        assert done.exit_code == 0, (name, done.output)
        recipe = finetune_recipe(name)
        head = load_model(tmp_path / name / "best.safetensors").potential.config.heads[0]
        assert (head.target, head.unit, head.reduction) == (recipe.target, recipe.unit, recipe.pooling)
        report = yaml.safe_load((tmp_path / name / "report.yaml").read_text())
        assert set(report["constant_predictor_mae"]) == {"valid", "test"}
        assert report["test"]["scalar_mae"] > 0 and report["test"]["n_structures"] <= 8
    assert "fold 1 of KFold" in json.dumps(
        yaml.safe_load((tmp_path / "matbench-jdft2d" / "report.yaml").read_text())
    )


def test_options_of_energies_and_of_scalars_are_told_apart(
    run: Run, tmp_path: Path, gaps: Path, model: str
) -> None:
    cases = [
        ((gaps, "--target", "gap", "--forces-weight", 1),
        "--forces-weight has no meaning here: --target trains on a scalar"),
        ((gaps, "--target", "gap", "--E0s", "isolated"), "--E0s has no meaning here"),
        ((gaps, "--pooling", "max"), "--pooling has no meaning here: it is about --target"),
        ((gaps, "--target-kind", "class"), "--target-kind has no meaning here: it is about --target"),
        ((gaps, "--target", "gap", "--target-kind", "class", "--target-loss", "l2"),
        "--target-loss has no meaning here"),
        ((gaps, "--target", "gap", "--target-kind", "vector", "--class-weights", "balanced"),
        "trains on a vector"),
        ((gaps, "--fold", 1), "--fold has no meaning without --recipe"),
        (("--recipe", "qm9-mu", "--data", tmp_path, "--forces", "direct"), "qm9-mu trains on a scalar"),
        (("--recipe", "qm9-mu", "--data", tmp_path, "--target", "gap"), "--target contradict each other"),
        (("--recipe", "matbench-jdft2d", "--data", tmp_path, "--fold", 1, "--split", "fold-2"),
        "--split and --fold"),
    ]  # fmt: skip
    for words, text in cases:
        done = run("finetune", *words, "-m", model, "-o", tmp_path / "run")
        assert done.exit_code == 2, (words, done.output)
        assert text in done.output, (words, done.output)
    done = run("finetune", gaps, "--target", "band_gap", "-m", model, "-o", tmp_path / "run")
    assert done.exit_code == 4 and "keys of the file: gap" in done.output
