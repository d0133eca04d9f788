"""docs/transfer.md and the programs behind it: tasks, splits, reductions, and the recipes of the ablation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from jmp_calc.training.data.frame import Frame
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.mixture import holdout_reason, load_mixture
from jmp_calc.training.pretraining.recipe import recipe_of
from tests.training.helpers.mixture_data import write_mixture

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
OWN = (
    *("rows", "row_programs", "fixed_steps", "task_runs", "transfer_tasks", "transfer_tables", "transfer"),
    *("ablation", "finetune_defaults", "tables", "paper_tables", "ten_minutes", "bpa3", "rmd17", "mlearn_si"),
    *("folders", "curves"),
)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of benchmarks, which are no part of the package, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def module(name: str) -> ModuleType:
        return __import__(name)

    return module


def frames(count: int, group: str = "md", n_atoms: int = 3) -> list[Frame]:
    """Frames that differ, of one group."""
    rng = np.random.default_rng(len(group) + count)
    return [
        Frame(
            numbers=np.full(n_atoms, 6),
            positions=rng.normal(size=(n_atoms, 3)) + 2.0 * np.arange(n_atoms)[:, None],
            cell=np.zeros((3, 3)),
            pbc=np.zeros(3, dtype=bool),
            energy=float(i),
            forces=np.zeros((n_atoms, 3)),
            stress=None,
            group=group,
            source="made up",
            index=i,
        )
        for i in range(count)
    ]


def row(test: float, valid: float, curve: list[float], steps: int, lr: float = 1e-3) -> dict[str, Any]:
    """Numbers of a run that was validated at equal distances."""
    return {
        "test": {"forces_mae_mev_per_a": test},
        "valid": {"forces_mae_mev_per_a": valid},
        "curve_step": np.linspace(0, steps, len(curve)).astype(int).tolist(),
        "curve_valid_forces_mae_mev_per_a": curve,
        "steps": steps,
        "lr": lr,
        "train_frames": 50,
    }


def test_no_jmp_xs_may_be_trained_on_a_file_of_a_task(programs: Any) -> None:
    tasks = programs("transfer_tasks").TASKS
    assert len(tasks) == 19 and {task.domain for task in tasks.values()} == {
        "molecules",
        "crystals",
        "scalars",
    }
    seen = [
        file for task in tasks.values() for file in task.files if holdout_reason(f"{file}.xyz.gz") is None
    ]
    assert not seen


@pytest.mark.parametrize("split", ["blocks", "every"])
def test_parts_of_a_task_share_no_frame_and_have_the_sizes_of_the_rule(programs: Any, split: str) -> None:
    module = programs("transfer_tasks")
    task = module.Task("crystals", "all", 10, 1, split=split, n_valid=6, n_test=15)
    parts = module.divided(task, frames(100), None, None)
    numbers = [[frame.index for frame in part] for part in (parts.train, parts.valid, parts.test)]
    assert [len(part) for part in numbers] == [72, 6, 15]
    assert len(set().union(*numbers)) == 72 + 6 + 15


def test_a_test_file_keeps_its_frames_and_large_ones_are_left_out_everywhere(programs: Any) -> None:
    module = programs("transfer_tasks")
    task = module.Task("molecules", "a", 10, 1, test="b", max_atoms=3)
    parts = module.divided(task, frames(20) + frames(5, "large", 4), None, frames(4) + frames(3, "large", 5))
    assert [frame.index for frame in parts.test] == [0, 1, 2, 3]
    assert len(parts.train) == 18 and len(parts.valid) == 2
    assert all(frame.n_atoms <= 3 for part in vars(parts).values() for frame in part)


def test_scratch_is_the_best_rate_by_validation_and_a_missing_one_leaves_the_task_open(programs: Any) -> None:
    tables = programs("transfer_tables")
    rows = {
        "bpa3/50/pre-trained/seed-0": row(20.0, 18.0, [90.0, 40.0, 25.0, 18.0], 300),
        "bpa3/50/scratch-lr-0.001/seed-0": row(30.0, 31.0, [99.0, 50.0, 31.0], 900),
        "bpa3/50/scratch-lr-0.002/seed-0": row(50.0, 25.0, [99.0, 40.0, 25.0], 900, 2e-3),
    }
    assert tables.best_scratch(rows, "bpa3", "50", 0) is None
    assert "–" in next(line for line in tables.table(rows, "molecules") if line[:2] == ["bpa3", "50"])
    rows["bpa3/50/scratch-lr-0.004/seed-0"] = row(10.0, 60.0, [99.0, 70.0, 60.0], 900, 4e-3)
    best = tables.best_scratch(rows, "bpa3", "50", 0)
    assert best["lr"] == 2e-3
    pre = rows["bpa3/50/pre-trained/seed-0"]
    assert tables.reduction(pre, best) == pytest.approx(0.6)  # 1 - 20 / 50
    assert tables.share_of_steps(pre, best) == pytest.approx(200 / 900)
    lines = tables.table(rows, "molecules")
    done = next(line for line in lines if line[:2] == ["bpa3", "50"])
    assert done[4:] == ["20", "50 (0.002)", "60 %", "1/4.5"]
    means = [line for line in lines if line[0].startswith("**mean")]
    assert "(0 of 7 tasks)" in means[0][0] and means[0][-2:] == ["–", "–"]
    assert "(1 of 7 tasks)" in means[1][0] and means[1][-2:] == ["**60 %**", "**1/4.5**"]


def test_a_start_that_never_reaches_scratch_says_so(programs: Any) -> None:
    tables = programs("transfer_tables")
    pre, scratch = row(40.0, 39.0, [90.0, 39.0], 300), row(20.0, 19.0, [99.0, 19.0], 900)
    assert tables.reduction(pre, scratch) == pytest.approx(-1.0)
    assert tables.fraction(tables.share_of_steps(pre, scratch)) == "never"


def test_later_seeds_take_the_rate_of_the_first_and_only_on_the_tasks_with_a_spread(
    programs: Any, tmp_path: Path
) -> None:
    transfer, tables = programs("transfer"), programs("transfer_tables")
    args = argparse.Namespace(
        seeds=[0, 1], tasks=["aspirin", "gst"], frames=["all"], starts=["pre-trained", "scratch"]
    )
    names = [item.name for item in transfer.plan(args, tmp_path / "none.yaml")]
    assert len(names) == 9 and names[-1] == "aspirin/all/pre-trained/seed-1"
    rows = {
        f"aspirin/all/scratch-lr-{lr:g}/seed-0": row(1.0, valid, [1.0], 1, lr)
        for lr, valid in ((1e-3, 3.0), (2e-3, 2.0), (4e-3, 1.0))
    }
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(transfer, "read_rows", lambda path: rows)
        names = [item.name for item in transfer.plan(args, tmp_path)]
    assert names[-1] == "aspirin/all/scratch-lr-0.004/seed-1"
    assert set(names) <= set(transfer.order()) and len(set(transfer.order())) == len(transfer.order())
    assert tables.best_scratch(rows, "aspirin", "all", 1) is None


def test_decay_by_layer_falls_from_the_last_block_to_the_embedding(programs: Any) -> None:
    settings = programs("finetune_defaults").Settings(lr=1e-3, layer_decay=0.5, ema_decay=0.995)
    optim = settings.optim(2)
    assert optim.layer_rates == (0.25, 0.5, 1.0) and optim.lr == 1e-3 and optim.ema_decay == 0.995


def test_every_row_of_the_ablation_is_a_recipe_that_differs_in_one_thing(programs: Any) -> None:
    ablation = programs("ablation")
    args = argparse.Namespace(recipe="jmp-xs", processes=1, compile="off", steps=7)
    recipes = {
        name: recipe_of(ablation.content(variant, 3, args), name) for name, variant in ablation.ROWS.items()
    }
    kinds = {
        name: {"files" if item.made is None else item.made.sample for item in recipe.mixture.sets}
        for name, recipe in recipes.items()
    }
    assert kinds["full"] == {"molecules", "crystals", "files"}
    assert kinds["no-made-molecules"] == {"crystals", "files"}
    assert kinds["no-made-crystals"] == {"molecules", "files"}
    assert kinds["no-dft"] == {"molecules", "crystals"}
    assert [head.name for head in recipes["one-head"].mixture.heads] == [ablation.ONE_HEAD]
    assert [recipes[name].mixture.temperature for name in ("T1", "full", "Tinf")] == [1.0, 2.0, float("inf")]
    assert (
        not recipes["atom-wise-loss"].train.loss.structure_wise and recipes["full"].train.loss.structure_wise
    )
    assert all(recipe.train.seed == recipe.mixture.seed == 3 for recipe in recipes.values())


def test_under_one_head_every_set_has_energies_above_its_own_references(
    programs: Any, tmp_path: Path
) -> None:
    """Two sets of copper, 7 eV per atom apart, and molecules: all have a mean of zero then."""
    write_mixture(tmp_path)
    packed = build(load_mixture(tmp_path / "tiny.toml"), tmp_path, say=lambda text: None)
    own = programs("ablation").with_own_references(packed)
    for number, item in enumerate(own.sets):
        members = (own.set_index == number) & ~own.valid
        assert abs(np.mean(own.energy[members])) < 0.2, item.name
        assert item.isolated == {} and set(item.references.values()) == {0.0}
    assert np.ptp([packed.energy[packed.set_index == number].mean() for number in range(2)]) > 20.0
