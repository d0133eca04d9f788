"""The forgetting meter: errors on earlier data under old heads, before and after fine-tuning; and few-shot
subsets."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from ase.io import read, write

from jmp_calc import JMPCalculator, finetune
from jmp_calc.errors import BadInputError, JMPError, UsageError
from jmp_calc.training import DataOptions, TrainResult
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.data.keys import LabelKeys
from jmp_calc.training.distributed.world import World
from jmp_calc.training.finetuning.earlier import EarlierTask
from jmp_calc.training.finetuning.forgetting import retained
from jmp_calc.training.finetuning.options import ModelOptions
from jmp_calc.training.finetuning.prepare import prepare
from jmp_calc.units import ENERGY_UNITS
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, emt_file, emt_frames, tiny_model, tiny_potential

HARTREE = ENERGY_UNITS["hartree"]
CONFIG = TrainConfig(
    max_steps=3, validate_every=1, batch_size=4, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=0)
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.safetensors", "old", "other")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return emt_file(tmp_path / "train.extxyz", 8)


@pytest.fixture
def known(tmp_path: Path, model: Path) -> Path:
    """Frames with the forces of the old head ``other``, and its energies plus 3 eV per atom."""
    images = emt_atoms(5, seed=7)
    for atoms in images:
        atoms.calc = JMPCalculator(str(model), head="other", dtype="float64")
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy + 3.0 * len(atoms), forces
    path = tmp_path / "known.extxyz"
    write(path, images, format="extxyz")
    return path


def run(data: Path, model: Path, config: TrainConfig = CONFIG, **options: object) -> TrainResult:
    return finetune(
        data,
        model=str(model),
        out=data.parent / "run",
        config=config,
        say=lambda line: None,
        data=DataOptions(data, **options),
    )  # type: ignore[arg-type]


def test_files_of_one_name_have_rows_of_their_own_and_a_file_given_twice_is_refused(
    data: Path, model: Path
) -> None:
    files = []
    for number, folder in enumerate(("a", "b")):
        (data.parent / folder).mkdir()
        files.append(f"{emt_file(data.parent / folder / 'known.extxyz', 2, seed=3 + number)}:old")
    result = run(data, model, replace(CONFIG, max_steps=1), retain=tuple(files))
    with open(result.out / "tasks.csv", newline="") as file:
        assert [row["task"] for row in csv.DictReader(file)] == 2 * files
    assert [item.title for item in result.forgetting] == files
    with pytest.raises(UsageError, match="known.extxyz:old is given twice"):
        finetune(
            data,
            model=str(model),
            out=data.parent / "twice",
            config=CONFIG,
            say=lambda line: None,
            data=DataOptions(data, retain=(files[0], files[0])),
        )


def test_what_a_head_knows_has_no_error_before_and_one_after(data: Path, model: Path, known: Path) -> None:
    """The head is found by its forces, and the zero of the energies does not count."""
    result = run(data, model, retain=(str(known),))
    (found,) = result.forgetting
    assert found.head == "other"
    assert found.before.forces_mae_mev_per_a == pytest.approx(0.0, abs=0.05)
    assert found.before.energy_mae_mev_per_atom == pytest.approx(0.0, abs=0.05)
    assert found.after.forces_mae_mev_per_a > 1.0  # type: ignore[operator]
    assert [
        head.name for path in (result.best, result.last) for head in load_model(path).potential.config.heads
    ] == ["finetuned", "finetuned"]
    with open(result.out / "tasks.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["task"]) for row in rows] == [(str(i), "known.extxyz:other") for i in range(4)]
    best = max((row for row in result.history if row.best), key=lambda row: row.step).step
    assert float(rows[best]["forces_mae_mev_per_a"]) == pytest.approx(
        found.after.forces_mae_mev_per_a, rel=1e-3
    )
    report = yaml.safe_load((result.out / "report.yaml").read_text())["forgetting"]
    assert report[0]["after"]["forces_mae_mev_per_a"] == pytest.approx(
        found.after.forces_mae_mev_per_a, rel=1e-4
    )


@pytest.mark.parametrize("replayed", [False, True])
def test_a_complete_run_can_be_resumed_and_has_the_same_errors(
    data: Path, model: Path, known: Path, replayed: bool
) -> None:
    """Its best model is published without the old heads; one that was trained too is not known any more."""
    earlier = (f"{emt_file(data.parent / 'earlier.extxyz', 3, seed=8)}:other",) if replayed else ()
    settings = DataOptions(data, retain=(str(known), f"{known}:old"), replay=earlier)
    results = [
        finetune(
            model=str(model),
            out=data.parent / "run",
            config=CONFIG,
            data=settings,
            resume=resume,
            say=lambda line: None,
        )
        for resume in (False, True)
    ]
    first, second = (
        {item.head: item.after.forces_mae_mev_per_a for item in result.forgetting} for result in results
    )
    assert set(first) == {"old", "other"}
    assert set(second) == ({"old"} if replayed else {"old", "other"})
    assert second == pytest.approx({name: first[name] for name in second})


@pytest.mark.parametrize("few", [True, False])
def test_processes_share_the_frames(few: bool) -> None:
    """Every frame is evaluated by one of them."""
    tasks = (EarlierTask(emt_frames(7), Task("old"), direct=False),)
    shares = [
        [frame for part in item.batches.all() for frame in part.frames]
        for rank in range(2)
        for item in retained(
            tasks,
            tiny_potential().config,
            TrainConfig(batch_size=1),
            torch.device("cpu"),
            World(rank, 2),
            few=few,
        )
    ]
    assert sorted([*shares[0], *shares[1]]) == list(range(7))
    assert min(map(len, shares)) >= 3


@pytest.mark.parametrize("use", ["retain", "replay"])
def test_a_label_that_is_not_finite_is_refused_with_its_file_and_frame(
    data: Path, model: Path, known: Path, use: str
) -> None:
    images = read(known, ":")
    images[2].info["REF_energy"] = float("nan")
    write(known, images, format="extxyz")
    with pytest.raises(BadInputError, match="an energy that is not finite") as refused:
        prepare(
            DataOptions(data, **{use: (f"{known}:old",)}), ModelOptions(str(model)), CONFIG, lambda line: None
        )
    assert refused.value.where == "known.extxyz frames 2"


def test_frames_that_judge_the_new_head_are_not_replayed(tmp_path: Path, data: Path, model: Path) -> None:
    """They would be trained on, under another head but with the same backbone."""
    valid = tmp_path / "valid.extxyz", emt_atoms(3, seed=1)
    test = tmp_path / "test.extxyz", emt_atoms(2, seed=2)
    both = tmp_path / "earlier.extxyz", [*valid[1], *test[1], *emt_atoms(4, seed=3)]
    for path, images in (valid, test, both):
        write(path, images, format="extxyz")
    options, said = DataOptions(data, valid=valid[0], test=test[0]), list[str]()
    start = ModelOptions(str(model))
    (found,) = prepare(replace(options, replay=(f"{both[0]}:old",)), start, CONFIG, said.append).replayed
    assert [frame.index for frame in found.frames] == [5, 6, 7, 8]
    assert "earlier.extxyz: 5 frames are validation or test frames too and are left out" in said
    with pytest.raises(BadInputError, match="All 3 frames to replay are validation or test frames"):
        prepare(replace(options, replay=(f"{valid[0]}:old",)), start, CONFIG, said.append)


def test_earlier_data_are_read_with_the_keys_and_units_of_the_training_frames(
    tmp_path: Path, model: Path
) -> None:
    for name, seed in (("new", 0), ("earlier", 7)):
        images = emt_atoms(6, seed=seed)
        for atoms in images:
            results, atoms.calc = atoms.calc.results, None
            atoms.info["E"], atoms.arrays["F"] = results["energy"] / HARTREE, results["forces"] / HARTREE
        write(tmp_path / f"{name}.extxyz", images, format="extxyz")
    said: list[str] = []
    options = DataOptions(
        tmp_path / "new.extxyz",
        keys=LabelKeys("E", "F"),
        energy_unit="hartree",
        retain=(f"{tmp_path / 'earlier.extxyz'}:old",),
    )
    (found,) = prepare(options, ModelOptions(str(model)), CONFIG, said.append).retained
    for frame, expected in zip(found.frames, emt_frames(6, seed=7)):
        assert frame.energy == pytest.approx(expected.energy) and frame.forces == pytest.approx(
            expected.forces, abs=1e-6
        )
    assert "earlier.extxyz: 6 frames are retained, converted from hartree as the training frames" in said
    assert "earlier.extxyz: energy: key 'E' in 6 of 6 frames." in said


def test_a_frozen_backbone_forgets_nothing(data: Path, model: Path) -> None:
    held = emt_file(data.parent / "held.extxyz", 3, seed=7)
    result = run(
        data, model, TrainConfig(max_steps=2, freeze="backbone", optim=CONFIG.optim), retain=(f"{held}:old",)
    )
    (found,) = result.forgetting
    assert found.after == found.before
    assert found.to_dict()["forces_ratio"] == found.to_dict()["energy_ratio"] == 1.0
    assert result.valid != result.before


def test_retained_frames_that_are_trained_on_are_refused(data: Path, model: Path, known: Path) -> None:
    with pytest.raises(BadInputError, match="5 retained frames are trained on as well: known.extxyz"):
        run(data, model, retain=(f"{known}:other",), replay=(str(known),))


@pytest.mark.parametrize(
    ("head", "problem"), [("new", "'new' does not exist"), ("copper", "does not know all the elements")]
)
def test_a_head_that_cannot_be_meant_is_refused(data: Path, tmp_path: Path, head: str, problem: str) -> None:
    import dataclasses

    from jmp_calc.zoo.container import ModelCard, save_model
    from tests.training.helpers.tiny import tiny_potential

    potential = tiny_potential("old", "copper")
    old, copper = potential.config.heads
    config = dataclasses.replace(potential.config, heads=(old, dataclasses.replace(copper, elements=(29,))))
    save_model(tmp_path / "two.safetensors", potential.with_config(config), ModelCard(name="two"))
    held = emt_file(tmp_path / "held.extxyz", 2, seed=7)
    with pytest.raises(UsageError, match=problem) as refused:
        run(data, tmp_path / "two.safetensors", retain=(f"{held}:{head}",))
    assert "choose one of old" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("options", "start", "problem"),
    [
        (
            {"retain": ("held.extxyz",)},
            ModelOptions(model="scratch:jmp-xs"),
            "--from-scratch and --retain contradict",
        ),
        (
            {"replay": ("held.extxyz",), "replay_share": 1.5},
            ModelOptions(),
            "share of replayed structures cannot be 1.5",
        ),
        ({"n_train": 9}, ModelOptions(), "9 of 7 training frames"),
        ({"retain": ("missing.extxyz:old",)}, ModelOptions(), "missing.extxyz"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    data: Path, options: dict[str, object], start: ModelOptions, problem: str
) -> None:
    with pytest.raises(JMPError, match=problem):
        prepare(DataOptions(data, **options), start, CONFIG, lambda line: None)  # type: ignore[arg-type]


def test_an_old_head_with_the_name_of_the_new_one_is_refused(data: Path, model: Path) -> None:
    held = emt_file(data.parent / "held.extxyz", 2, seed=7)
    with pytest.raises(UsageError, match="'old' of the earlier data has the name of the new one"):
        finetune(
            data,
            model=str(model),
            head_name="old",
            out=data.parent / "run",
            config=CONFIG,
            say=lambda line: None,
            data=DataOptions(data, retain=(f"{held}:old",)),
        )


def test_few_shots_are_a_subset_that_the_seed_decides(data: Path) -> None:
    def chosen(seed: int) -> list[int]:
        found = prepare(DataOptions(data, n_train=3, seed=seed), ModelOptions(), CONFIG, lambda line: None)
        assert len(found.valid) == 1
        assert any("3 of 7 frames" in message for message in found.messages)
        return [frame.index for frame in found.train]

    assert chosen(0) == chosen(0) == sorted(chosen(0))
    assert len({tuple(chosen(seed)) for seed in range(4)}) > 1
