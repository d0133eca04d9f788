"""Fine-tuning a tiny network on EMT data, end to end, through the public function."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.calculators.emt import EMT
from ase.io import read, write

from jmp_calc import evaluate, finetune
from jmp_calc.errors import BadInputError, JMPWarning, ModelError, UsageError
from jmp_calc.training import DataOptions
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.training.finetuning.options import ModelOptions
from jmp_calc.training.finetuning.prepare import prepare
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, emt_file, tiny_model

SHORT = TrainConfig(epochs=2, batch_size=4, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=2))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.safetensors", "old", "other")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return emt_file(tmp_path / "train.extxyz", 12)


def test_from_scratch_it_learns_and_leaves_a_report(tmp_path: Path, model: Path, data: Path) -> None:
    test = emt_file(tmp_path / "test.extxyz", 4, seed=5)
    result = finetune(
        data,
        test=test,
        model=f"scratch:{model}",
        out=tmp_path / "run",
        config=dataclasses.replace(SHORT, epochs=12),
        say=lambda line: None,
    )
    assert result.test is not None
    assert result.test_before is not None
    assert result.test.forces_mae_mev_per_a < 0.7 * result.test_before.forces_mae_mev_per_a  # type: ignore[operator]
    out = tmp_path / "run"
    for name in (
        "best.safetensors",
        "last.safetensors",
        "metrics.csv",
        "config.yaml",
        "data-report.yaml",
        "predictions-valid.extxyz",
        "predictions-test.extxyz",
        "parity.svg",
        "loss.svg",
        "state.pt",
    ):
        assert (out / name).stat().st_size > 0, name
    text = (out / "report.yaml").read_text()
    assert text.splitlines()[-1].strip() == f'atoms.calc = JMPCalculator("{out / "best.safetensors"}")'
    report = yaml.safe_load(text)
    assert report["test"]["forces_mae_mev_per_a"] == pytest.approx(result.test.forces_mae_mev_per_a, rel=1e-4)
    assert set(report["test_by_group"]) == {"Cu", "CuAl"}


def test_the_written_file_has_the_new_head_only_with_references_and_elements(
    tmp_path: Path, model: Path, data: Path
) -> None:
    result = finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None)
    loaded = load_model(result.best)
    assert [head.name for head in loaded.potential.config.heads] == ["finetuned"]
    assert loaded.potential.config.default_head == "finetuned"
    head = loaded.potential.config.head("finetuned")
    assert head.elements == (13, 29)
    assert head.reference_kind == "least_squares"
    assert set(head.references) == {13, 29}
    assert set(head.pairs or {}) >= {"Al-Cu", "Cu-Cu"}
    assert head.domain == ("crystals",)
    (errors,) = head.errors
    assert (errors.domain, errors.frames) == ("crystals", loaded.card.metrics["valid"]["n_structures"])
    assert errors.forces_mae_mev_per_a == loaded.card.metrics["valid"]["forces_mae_mev_per_a"]
    assert errors.mean_force_mev_per_a > 0
    assert set(loaded.knowledge.heads) == {"finetuned"}
    assert loaded.knowledge.elements is not None
    assert loaded.knowledge.elements.numbers.tolist() == [13, 29]
    assert loaded.card.metrics["valid"]["forces_mae_mev_per_a"] > 0
    assert loaded.card.training_data[0]["frames"] == 11
    assert "tiny" in loaded.card.source


def test_the_result_is_what_the_calculator_gives(tmp_path: Path, model: Path, data: Path) -> None:
    from jmp_calc import JMPCalculator

    result = finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None)
    atoms = read(tmp_path / "run" / "predictions-valid.extxyz")
    energy, forces = atoms.info["jmp_energy"], atoms.arrays["jmp_forces"]
    label = atoms.get_potential_energy()
    atoms.calc = JMPCalculator(str(result.best))
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)
    assert np.abs(atoms.get_forces() - forces).max() < 1e-4
    atoms.calc = EMT()
    assert label == pytest.approx(atoms.get_potential_energy(), abs=1e-5)  # labels are untouched


def test_a_head_can_be_kept_chosen_or_new(tmp_path: Path, model: Path, data: Path) -> None:
    kept = finetune(
        data,
        model=str(model),
        out=tmp_path / "kept",
        config=SHORT,
        say=lambda line: None,
        start=ModelOptions(keep_heads=True, head="other"),
        head_name="emt",
    )
    config = load_model(kept.best).potential.config
    assert [head.name for head in config.heads] == ["old", "other", "emt"]
    assert config.default_head == "emt"
    assert kept.init_head == "other"
    new = finetune(
        data,
        model=str(model),
        out=tmp_path / "new",
        config=SHORT,
        say=lambda line: None,
        start=ModelOptions(head="scratch"),
    )
    assert new.init_head is None


def test_head_names_must_not_collide_or_be_unknown(tmp_path: Path, model: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="already has a head"):
        finetune(
            data,
            model=str(model),
            out=tmp_path / "a",
            config=SHORT,
            head_name="old",
            say=lambda line: None,
            start=ModelOptions(keep_heads=True),
        )
    with pytest.raises(ModelError, match="no head 'pbe'"):
        finetune(
            data,
            model=str(model),
            out=tmp_path / "b",
            config=SHORT,
            say=lambda line: None,
            start=ModelOptions(head="pbe"),
        )


def test_the_most_similar_head_is_the_one_with_the_smallest_force_error(
    tmp_path: Path, model: Path, data: Path
) -> None:
    """A model that has already learned EMT under one of two heads is continued from that head."""
    learned = finetune(
        data,
        model=f"scratch:{model}",
        out=tmp_path / "first",
        say=lambda line: None,
        config=dataclasses.replace(SHORT, epochs=8),
        head_name="emt",
    )
    loaded = load_model(learned.best)
    potential = loaded.potential.with_new_head(
        dataclasses.replace(loaded.potential.config.heads[0], name="noise"), ["emt"]
    )
    with torch.no_grad():
        for name, weight in potential.named_parameters():
            if name.startswith("heads.noise"):
                weight.mul_(3.0)
    from jmp_calc.zoo.container import save_model

    save_model(tmp_path / "two.safetensors", potential, loaded.card)
    again = finetune(
        data,
        model=str(tmp_path / "two.safetensors"),
        out=tmp_path / "second",
        config=SHORT,
        say=lambda line: None,
    )
    assert again.init_head == "emt"
    assert again.probe["emt"] < again.probe["noise"]
    assert again.before.forces_mae_mev_per_a == pytest.approx(learned.valid.forces_mae_mev_per_a, rel=0.05)


def test_isolated_atoms_become_references_and_the_lone_atom_has_exactly_that_energy(
    tmp_path: Path, model: Path
) -> None:
    from ase import Atoms

    from jmp_calc import JMPCalculator

    atom = Atoms("Cu", info={"config_type": "IsolatedAtom", "energy": 3.51})
    images = [atoms for atoms in emt_atoms(12) if len(set(atoms.numbers)) == 1]
    write(tmp_path / "train.extxyz", [atom, *images], format="extxyz")
    result = finetune(
        tmp_path / "train.extxyz", model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None
    )
    lone = Atoms("Cu")
    lone.calc = JMPCalculator(str(result.best))
    assert lone.get_potential_energy() == pytest.approx(3.51, abs=1e-9)


def test_missing_forces_are_refused_unless_allowed(tmp_path: Path, model: Path) -> None:
    images = emt_atoms(8)
    energies = [atoms.get_potential_energy() for atoms in images]
    for atoms, energy in zip(images, energies):
        atoms.calc = None
        atoms.info["energy"] = energy
    write(tmp_path / "energies.extxyz", images, format="extxyz")
    with pytest.raises(BadInputError, match="no forces"):
        finetune(tmp_path / "energies.extxyz", model=str(model), out=tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run" / "best.safetensors").exists()
    data = DataOptions(allow_missing=("forces",))
    result = finetune(
        tmp_path / "energies.extxyz",
        model=str(model),
        out=tmp_path / "run",
        config=SHORT,
        data=data,
        say=lambda line: None,
    )
    assert result.valid.forces_mae_mev_per_a is None
    assert result.valid.energy_mae_mev_per_atom is not None


@pytest.mark.parametrize("without", [8, 1])
def test_stress_alone_is_trained_on_only_if_every_frame_has_one(
    tmp_path: Path, model: Path, without: int
) -> None:
    """Elsewhere a batch would have no gradient."""
    images = emt_atoms(8)
    for atoms in images[:without]:
        del atoms.calc.results["stress"]
    data = tmp_path / "train.extxyz"
    write(data, images, format="extxyz")
    config = dataclasses.replace(SHORT, loss=LossConfig(energy_weight=0.0, forces_weight=0.0))
    with pytest.raises(UsageError, match="training frames lack all that the loss counts: stress"):
        finetune(data, model=str(model), out=tmp_path / "run", config=config, say=lambda line: None)


def test_validation_frames_without_what_the_loss_counts_are_refused(tmp_path: Path, model: Path) -> None:
    """Every model would have the validation error zero, and the start would be the best."""
    images, valid = emt_atoms(8), emt_atoms(4, seed=1)
    for atoms in valid:
        del atoms.calc.results["forces"]
    data = DataOptions(allow_missing=("forces",))
    loss = LossConfig(energy_weight=0.0, stress_weight=0.0)
    config = dataclasses.replace(SHORT, loss=loss)
    with pytest.raises(UsageError, match="4 of 4 validation frames lack all that the loss counts: forces"):
        finetune(images, valid=valid, model=str(model), out=tmp_path / "run", config=config, data=data)
    said: list[str] = []
    prepare(
        dataclasses.replace(data, train=images, valid=valid), ModelOptions(str(model)), SHORT, said.append
    )
    assert "validation: no frame has forces: the best model is chosen without" in said


def test_earlier_results_are_not_replaced_silently(tmp_path: Path, model: Path, data: Path) -> None:
    finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None)
    with pytest.raises(UsageError, match="exists already"):
        finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None)


def test_resume_with_other_data_is_refused(tmp_path: Path, model: Path, data: Path) -> None:
    finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None)
    other = emt_file(tmp_path / "train.extxyz", 12, seed=9)
    with pytest.raises(UsageError, match="data.train.sha256"):
        finetune(
            other, model=str(model), out=tmp_path / "run", config=SHORT, resume=True, say=lambda line: None
        )


def test_training_files_may_be_moved_once_they_are_read(tmp_path: Path, model: Path, data: Path) -> None:
    digest = hashlib.sha256(data.read_bytes()).hexdigest()

    def moved(line: str) -> None:
        if line.startswith("training: ") and data.exists():
            data.rename(tmp_path / "moved.extxyz")

    result = finetune(data, model=str(model), out=tmp_path / "run", config=SHORT, say=moved)
    assert not data.exists()
    for path in (result.best, result.last):
        assert load_model(path).card.training_data[0]["sha256"] == digest


def test_frozen_backbone_stays_as_it_is(tmp_path: Path, model: Path, data: Path) -> None:
    result = finetune(
        data,
        model=str(model),
        out=tmp_path / "run",
        say=lambda line: None,
        config=dataclasses.replace(SHORT, freeze="backbone"),
    )
    before, after = load_model(model).potential.state_dict(), load_model(result.last).potential.state_dict()
    assert all(
        torch.equal(value, before[name]) for name, value in after.items() if name.startswith("backbone.")
    )
    assert not torch.equal(after["heads.finetuned.energy.0.weight"], before["heads.old.energy.0.weight"])


def test_forces_only_training_leaves_energies_out(tmp_path: Path, model: Path, data: Path) -> None:
    config = dataclasses.replace(SHORT, loss=LossConfig(energy_weight=0.0, stress_weight=0.0))
    result = finetune(data, model=str(model), out=tmp_path / "run", config=config, say=lambda line: None)
    assert all(row.train_energy_loss == row.train_stress_loss == 0.0 for row in result.history)


def test_evaluate_agrees_with_the_run_and_groups(tmp_path: Path, model: Path, data: Path) -> None:
    test = emt_file(tmp_path / "test.extxyz", 4, seed=5)
    result = finetune(
        data, test=test, model=str(model), out=tmp_path / "run", config=SHORT, say=lambda line: None
    )
    found = evaluate(test, model=result.best)
    assert result.test is not None
    assert found.errors.forces_mae_mev_per_a == pytest.approx(result.test.forces_mae_mev_per_a, rel=1e-4)
    assert {name: value.n_structures for name, value in found.by_group.items()} == {"Cu": 2, "CuAl": 2}
    assert set(evaluate(test, model=result.best, group_by="formula").by_group) == {"Cu4", "AlCu3"}
    written = found.write(tmp_path / "errors")
    assert {path.name for path in written} == {"predictions.extxyz", "errors.yaml", "parity.svg"}
    atoms = read(tmp_path / "errors" / "predictions.extxyz", 1)
    assert np.allclose(atoms.arrays["jmp_forces"], found.predictions.forces[4:8])


def test_evaluate_refuses_unknown_elements_and_unlabelled_files(tmp_path: Path, model: Path) -> None:
    from ase.build import molecule

    plain = emt_atoms(1)[0].copy()
    plain.info["dft"] = 1.0
    write(tmp_path / "plain.extxyz", plain, format="extxyz")
    with pytest.raises(BadInputError, match="nothing to compare.*--energy-key: dft"):
        evaluate(tmp_path / "plain.extxyz", model=model)
    water = molecule("H2O")
    water.info["energy"] = 1.0
    write(tmp_path / "water.extxyz", water, format="extxyz")
    with pytest.raises(ModelError, match=r"was not trained on .*water\.extxyz"):
        evaluate(tmp_path / "water.extxyz", model=model)
    with pytest.warns(JMPWarning, match="was not trained on H, O"):
        assert np.isfinite(
            evaluate(tmp_path / "water.extxyz", model=model, elements="any").errors.energy_mae_mev
        )
