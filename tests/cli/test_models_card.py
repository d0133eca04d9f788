"""``jmp-calc models info`` says what a head is good for: errors, domains, theory, pairs, defaults and old
names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from jmp_calc import JMPCalculator
from jmp_calc.errors import ModelError
from jmp_calc.model.config import DefaultHeads, DomainErrors, Theory
from jmp_calc.zoo.container import load_model, save_model
from jmp_calc.zoo.knowledge import ElementStatistics, HeadStatistics, Knowledge
from tests.small_network import ANY, CHON

from .conftest import Run

GOOD = dataclasses.replace(
    CHON,
    domain=("molecules",),
    theory=Theory(functional="ωB97X", basis="6-31G(d)", spin="restricted"),
    pairs={"H-H": 0.7, "H-C": 1.0, "H-O": 0.9, "C-O": 1.1},
    errors=(DomainErrors("molecules", 50, 31.0, 900.0, 0.99, 2.5),),
)
POOR = dataclasses.replace(
    ANY,
    elements=(1, 6, 11, 17),
    domain=("crystals", "surfaces"),
    errors=(
        DomainErrors("crystals", 30, 100.0, 400.0, 0.95),
        DomainErrors("surfaces", 25, 249.0, 245.0, 0.009),
    ),
)
OTHER = dataclasses.replace(ANY, name="other", elements=(1, 6, 8))


@pytest.fixture(scope="module")
def path(make_model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = load_model(
        make_model(
            heads=(POOR, OTHER, GOOD),
            default=DefaultHeads("organic", "materials"),
            aliases={"wb97x": "organic"},
        )
    )
    width = loaded.potential.config.backbone.emb_size_atom
    elements = ElementStatistics(
        np.array([1, 6]), np.array([9, 9]), np.zeros((2, width)), np.array([np.eye(width)] * 2)
    )
    knowledge = Knowledge({"organic": HeadStatistics(np.eye(GOOD.hidden), 50, 1e-6, 0.1)}, elements)
    path = tmp_path_factory.mktemp("card") / "card.safetensors"
    save_model(path, loaded.potential, loaded.card, knowledge)
    return path


def test_the_short_card(run: Run, path: Path) -> None:
    done = run("models", "info", path)
    assert done.exit_code == 0, done.output
    assert "organic for molecules, materials for periodic structures" in done.stdout
    assert "ωB97X/6-31G(d), molecules: H C N O (4 pairs)" in done.stdout
    assert "molecules: 31 meV/Å, 3.4 % of the mean force, correlation 0.990" in done.stdout
    assert "wb97x is now organic" in done.stdout
    (note,) = [line for line in done.stdout.splitlines() if "no skill" in line]
    assert note.startswith("note: Head materials has no skill for surfaces: 249 meV/Å")


def test_the_full_card(run: Run, path: Path) -> None:
    done = run("models", "info", path, "--full")
    assert done.exit_code == 0, done.output
    found = yaml.safe_load(done.stdout)
    poor, other, good = found["heads"]
    assert good["theory"] == {"functional": "ωB97X", "basis": "6-31G(d)", "spin": "restricted"}
    assert (good["domain"], good["pairs"]) == ("molecules", 4)
    assert good["errors"][0]["forces_mae_share_of_mean_force"] == pytest.approx(31 / 900, abs=1e-4)
    assert [errors["skill"] for errors in poor["errors"]] == ["yes", "none"]
    assert (other["domain"], other["pairs"]) == ("unknown", "unknown")
    assert "errors" not in other
    assert found["default_heads"] == {"molecules": "organic", "periodic": "materials"}
    assert found["head_aliases"] == {"wb97x": "organic"}
    assert found["statistics"] == {
        "feature_covariance_of_heads": ["organic"],
        "descriptors_of_elements": "H C",
    }
    assert found["format"] == "jmp-calc format version 2"


def test_the_card_as_json_has_the_same(run: Run, path: Path) -> None:
    short, full = run("models", "info", path, "--json"), run("models", "info", path, "--full", "--json")
    assert json.loads(short.stdout) == json.loads(full.stdout)


def test_a_calculator_says_that_its_head_has_no_skill(path: Path) -> None:
    named = JMPCalculator(path, head="materials", device="cpu")
    assert str(named.info).count("no skill for surfaces") == 1
    assert "no skill" not in str(JMPCalculator(path, head="organic", device="cpu").info)
    decided = JMPCalculator(path, device="cpu")
    assert str(decided.info).count("no skill for surfaces") == 1
    decided.get_potential_energy(_methanol())
    assert "no skill" not in str(decided.info)


def test_proposals_begin_with_the_best_head(path: Path) -> None:
    with pytest.raises(ModelError, match="not trained on O") as caught:
        JMPCalculator(path, head="materials", device="cpu").get_potential_energy(_methanol())
    assert "cover this structure: organic, other; choose" in str(caught.value)
    with pytest.raises(ModelError, match=r"it has: organic \(.*other \(.*"):
        JMPCalculator(path, head="b3lyp", device="cpu")


def _methanol():
    from ase.build import molecule

    return molecule("CH3OH")


def test_first_weights_have_a_name_that_stays(run: Run) -> None:
    listed = run("models", "list", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["jmp-xs-v1"]["status"] == "bundled"
    silicon = JMPCalculator("jmp-xs-v1", device="cpu")
    assert silicon.info.head == "pbe"
    assert silicon.info.sha256 == "fd29786b39e24c1e186033920699fb5bc72de70cb2b51a66a6957d9e8aa0c70a"
