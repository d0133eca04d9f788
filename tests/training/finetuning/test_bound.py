"""A fine-tuned head under which nothing holds together is not saved, unless its data say the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from jmp_calc import JMPCalculator, finetune
from jmp_calc.errors import BadInputError, ModelError
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.training import DataOptions, TrainConfig
from jmp_calc.training.audit.audit import audit
from jmp_calc.training.config import OptimConfig
from jmp_calc.training.data.cohesive import hardly_bound
from jmp_calc.training.finetuning import bound
from jmp_calc.training.finetuning.bound import above_lone_atoms, why_unbound
from jmp_calc.training.validation.metrics import Predictions
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import BACKBONE, POLICY, emt_atoms, emt_frames, tiny_model

FRAMES = emt_frames(6)
ATOMS = {13: 3.0, 29: 3.5}
SHORT = TrainConfig(max_steps=4, batch_size=4, optim=OptimConfig(lr=1e-3))


def config(**changes: Any) -> ModelConfig:
    head = HeadConfig("h", elements=(13, 29), references=ATOMS, reference_kind="isolated_atoms")
    return ModelConfig(
        BACKBONE, POLICY, (dataclasses.replace(head, **changes),), "h", subtract_lone_atom=True
    )


def predictions(binding: float, labels: float = 3.0) -> Predictions:
    """Of FRAMES, with predicted and true energies this much below lone atoms, eV/atom."""
    count, unknown = len(FRAMES), np.full(len(FRAMES), np.nan)
    n_atoms = np.array([frame.n_atoms for frame in FRAMES])
    alone = np.array([sum(ATOMS[int(z)] for z in frame.numbers) for frame in FRAMES])
    forces, stress = np.full((n_atoms.sum(), 3), np.nan), np.full((count, 3, 3), np.nan)
    vector = np.full((count, 3), np.nan)
    energies = alone - binding * n_atoms, alone - labels * n_atoms
    return Predictions(n_atoms, *energies, forces, forces, stress, stress, *[unknown] * 4, vector, vector)


def test_energies_are_compared_with_lone_atoms() -> None:
    relative = above_lone_atoms(predictions(2.0), FRAMES, config().head("h"))
    assert relative.energy / relative.n_atoms == pytest.approx(np.full(len(FRAMES), -2.0))
    assert relative.energy_true / relative.n_atoms == pytest.approx(np.full(len(FRAMES), -3.0))


def test_a_head_that_binds_passes() -> None:
    assert why_unbound(config(), "h", FRAMES, predictions(2.0)) is None


def test_a_head_that_lost_the_bonds_of_its_data_is_told_from_one_whose_data_have_none() -> None:
    for labels, agree in ((3.0, False), (0.1, True)):
        found = why_unbound(config(), "h", FRAMES, predictions(0.2, labels))
        assert found is not None
        assert found[0].startswith("its mean atomisation energy is 0.20 eV/atom, less than 0.5")
        assert found[1] == agree


def test_energies_that_are_not_finite_never_pass() -> None:
    found = why_unbound(config(), "h", FRAMES, predictions(np.nan))
    assert found == ("its energies are not finite", False)


@pytest.mark.parametrize(
    "changes",
    [{"reference_kind": "none", "references": {}}, {"kind": "scalar"}, {"elements": (18, 36)}],
)
def test_heads_whose_zero_is_arbitrary_and_noble_gases_are_not_judged(changes: dict[str, Any]) -> None:
    assert why_unbound(config(**changes), "h", FRAMES, predictions(0.0)) is None


def test_noble_gases_and_their_like_are_hardly_bound() -> None:
    assert hardly_bound([18]) and hardly_bound([2, 10, 54]) and hardly_bound([80])
    assert hardly_bound([18] * 9 + [1])  # mostly argon
    assert not hardly_bound([1]) and not hardly_bound([8, 1, 1]) and not hardly_bound([18, 6])


def test_the_audit_refuses_atoms_of_another_zero_and_takes_them_where_that_is_allowed() -> None:
    formation = {13: 0.0, 29: 0.0}  # EMT: elements in their crystals, not lone atoms
    report = audit(FRAMES, need_validation=False, lone_atoms=formation)
    (error,) = report.errors
    assert error.code == "unbound" and "--E0s lstsq" in error.hint
    with pytest.raises(BadInputError, match="repeat with --allow unbound"):
        report.raise_if_refused()
    assert not audit(FRAMES, need_validation=False, lone_atoms=ATOMS).errors
    assert not audit(FRAMES, need_validation=False, lone_atoms=formation, allow=["unbound"]).errors


def argon(count: int) -> list[Atoms]:
    """Shaken crystals of Lennard-Jones argon, bound by some hundredths of an eV, and one atom alone."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk("Ar", a=5.3, cubic=True)
        atoms.positions += rng.normal(scale=0.2, size=(4, 3))
        frames.append(atoms)
    alone = Atoms("Ar", cell=[30.0] * 3, info={"config_type": "IsolatedAtom"})
    for atoms in (*frames, alone):
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0)
        atoms.get_potential_energy(), atoms.get_forces()
    return [*frames, alone]


def trained(folder: Path, frames: list[Atoms], **given: Any) -> Any:
    model = tiny_model(folder / "tiny.safetensors") if not (folder / "tiny.safetensors").exists() else None
    return finetune(
        frames,
        model=str(model or folder / "tiny.safetensors"),
        head="scratch",
        out=folder / "run",
        device="cpu",
        say=lambda line: None,
        **{"config": SHORT, **given},
    )


def test_argon_can_be_fine_tuned(tmp_path: Path) -> None:
    result = trained(tmp_path, argon(10))
    head = load_model(result.best).potential.config.head("finetuned")
    assert head.reference_kind == "isolated_atoms"
    JMPCalculator(result.best, device="cpu")


def test_a_refused_model_is_set_aside_and_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training cannot be made to fail so on purpose: the rule is."""
    frames, references = emt_atoms(10), {"Al": 3.0, "Cu": 3.5}
    monkeypatch.setattr(bound, "why_unbound", lambda *given: ("nothing holds together", False))
    with pytest.raises(ModelError, match="'finetuned' is not saved: nothing holds together") as found:
        trained(tmp_path, frames, references=references)
    assert "--resume --allow unbound" in str(found.value)
    run = tmp_path / "run"
    assert not list(run.glob("*.safetensors"))
    assert {path.name for path in run.glob("*.refused")} == set(bound.REFUSED)
    allowed = DataOptions(allow=("unbound",))
    result = trained(tmp_path, frames, references=references, data=allowed, resume=True)
    assert "the head finetuned: nothing holds together" in load_model(result.best).card.notes
    assert not list(run.glob("*.refused"))
    frame = frames[0].copy()
    frame.calc = JMPCalculator(result.last, device="cpu")
    assert np.isfinite(frame.get_potential_energy())


def test_data_without_bonds_are_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="bound by .* eV/atom, less than 0.5"):
        trained(tmp_path, emt_atoms(10), references={"Al": 0.0, "Cu": 0.0})
    result = trained(
        tmp_path,
        emt_atoms(10),
        references={"Al": 0.0, "Cu": 0.0},
        data=DataOptions(allow=("unbound",)),
        overwrite=True,
    )
    (note,) = [note for note in load_model(result.best).card.notes if "nothing holds together" in note]
    assert note.endswith("as its labels say")


def test_the_calculator_of_the_data_is_emt() -> None:
    """What the numbers above rest on: EMT's zero is the crystal, not the lone atom."""
    assert abs(emt_atoms(1)[0].get_potential_energy()) / 4 < 0.5
    lone = Atoms("Cu")
    lone.calc = EMT()
    assert lone.get_potential_energy() > 3.0
