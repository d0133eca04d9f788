"""Who takes last.safetensors has the same abilities as with the best model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from jmp_calc import JMPCalculator, finetune
from jmp_calc.errors import JMPWarning
from jmp_calc.training import ModelOptions, TrainConfig
from jmp_calc.training.config import OptimConfig
from jmp_calc.zoo.container import LoadedModel, load_model
from tests.training.helpers.tiny import emt_atoms, tiny_model

TOO_LARGE = TrainConfig(
    max_steps=6,
    batch_size=4,
    validate_every=6,
    optim=OptimConfig(method="adamw", lr=0.2, ema_decay=None, clip_norm=None),
)
"""Steps that are too large: the best model is the first one, and the last is another."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("last")
    finetune(
        emt_atoms(20),
        model=str(tiny_model(folder / "tiny.safetensors")),
        out=folder / "run",
        config=TOO_LARGE,
        start=ModelOptions(committee=3),
        device="cpu",
        say=lambda line: None,
    )
    return folder / "run"


@pytest.fixture(scope="module")
def both(run: Path) -> tuple[LoadedModel, LoadedModel]:
    best, last = (load_model(run / f"{name}.safetensors") for name in ("best", "last"))
    return best, last


def test_the_two_have_other_weights_and_each_its_own_statistics(
    both: tuple[LoadedModel, LoadedModel],
) -> None:
    best, last = both
    states = [loaded.potential.state_dict() for loaded in both]
    assert any(not np.array_equal(states[0][name], states[1][name]) for name in states[1])
    one, other = best.knowledge.heads["finetuned"], last.knowledge.heads["finetuned"]
    assert one.structures == other.structures
    assert not np.allclose(one.covariance, other.covariance)
    assert best.knowledge.elements is not None and last.knowledge.elements is not None
    assert last.knowledge.elements.numbers.tolist() == [13, 29]
    assert not np.allclose(best.knowledge.elements.mean, last.knowledge.elements.mean)


def test_both_say_their_errors_pairs_and_committee(both: tuple[LoadedModel, LoadedModel]) -> None:
    heads = [loaded.potential.config.head("finetuned") for loaded in both]
    assert heads[0].pairs == heads[1].pairs
    for loaded, head in zip(both, heads, strict=True):
        (errors,) = head.errors
        assert errors.forces_mae_mev_per_a == loaded.card.metrics["valid"]["forces_mae_mev_per_a"]
        assert head.committee_scale not in (0.0, 1.0)
    assert heads[0].errors != heads[1].errors


def test_the_last_model_has_uncertainties_and_a_domain(run: Path) -> None:
    for kind in ("last-layer", "committee"):
        calc = JMPCalculator(run / "last.safetensors", uncertainty=kind, device="cpu")  # type: ignore[arg-type]
        (found,) = calc.batch(emt_atoms(1), ("energy", "energy_std", "forces_std"))
        assert found["energy_std"] > 0 and np.isfinite(found["forces_std"]).all()
    strange = bulk("Cu", "fcc", a=2.6)
    strange.calc = JMPCalculator(run / "last.safetensors", device="cpu")
    with pytest.warns(JMPWarning, match="unlike the training data"):
        strange.get_potential_energy()


def test_statistics_of_equal_weights_are_equal(tmp_path: Path) -> None:
    """The best model is the last one: everything is computed once and written twice."""
    result = finetune(
        emt_atoms(12),
        model=str(tiny_model(tmp_path / "tiny.safetensors")),
        out=tmp_path / "run",
        max_steps=2,
        lr=1e-6,
        device="cpu",
        say=lambda line: None,
    )
    best, last = load_model(result.best), load_model(result.last)
    assert best.card.metrics == last.card.metrics
    assert np.array_equal(
        best.knowledge.heads["finetuned"].covariance, last.knowledge.heads["finetuned"].covariance
    )
