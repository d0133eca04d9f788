"""Files of format version 1 give the numbers that they gave when they were written, and nothing that they did
not know."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms

from jmp_calc import JMPCalculator
from jmp_calc.errors import ModelError
from jmp_calc.zoo.container import load_model, save_model
from tests.zoo.test_container import described, rewritten

DATA = Path(__file__).with_name("data")
EXPECTED = yaml.safe_load((DATA / "version-1.yaml").read_text(encoding="utf-8"))
FILES = sorted({row["file"] for row in EXPECTED["results"]})


def structure(name: str) -> Atoms:
    stored = EXPECTED["structures"][name]
    return Atoms(stored["numbers"], stored["positions"], cell=stored.get("cell"), pbc="cell" in stored)


def check(path: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        atoms = structure(row["structure"])
        atoms.calc = JMPCalculator(path, head=row["head"], dtype="float64", device="cpu")
        assert atoms.get_potential_energy() == pytest.approx(row["energy_ev"], abs=1e-9), row["structure"]
        np.testing.assert_allclose(atoms.get_forces(), row["forces_ev_per_a"], rtol=0, atol=1e-9)
        if "stress_ev_per_a3" in row:
            np.testing.assert_allclose(atoms.get_stress(), row["stress_ev_per_a3"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", FILES)
def test_numbers_of_version_1_are_unchanged(name: str) -> None:
    """Energies, forces and stresses of several heads, of a binding energy that fades, and of close atoms."""
    check(DATA / name, [row for row in EXPECTED["results"] if row["file"] == name])


@pytest.mark.parametrize("name", FILES)
def test_and_they_stay_so_when_the_file_is_written_again(name: str, tmp_path: Path) -> None:
    loaded = load_model(DATA / name)
    assert loaded.format_version == 1
    save_model(tmp_path / name, loaded.potential, loaded.card)
    again = load_model(tmp_path / name)
    assert again.format_version == 2
    assert again.potential.config == loaded.potential.config
    check(tmp_path / name, [row for row in EXPECTED["results"] if row["file"] == name])


@pytest.mark.parametrize("name", FILES)
def test_what_version_1_did_not_know_is_not_known(name: str) -> None:
    config = load_model(DATA / name).potential.config
    assert config.default_head is not None
    assert config.default_heads is None
    assert not config.head_aliases
    for head in config.heads:
        assert (head.domain, head.errors, head.pairs, head.binding_gate) == ((), (), None, "envelope")


LATER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "default_heads": lambda d: d["config"].update(default_heads=None),
    "head_aliases": lambda d: d["config"].update(head_aliases={"old": "materials"}),
    "domain": lambda d: d["config"]["heads"][1].update(domain=["crystals"]),
    "pairs": lambda d: d["config"]["heads"][0].update(pairs={"H-H": 0.7}),
    "binding_gate": lambda d: d["config"]["heads"][2].update(binding_gate="bonds"),
}


@pytest.mark.parametrize("key", LATER)
def test_a_file_of_version_1_with_something_later_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((DATA / "version-1-heads.safetensors").read_bytes())
    with pytest.raises(ModelError, match=f"Unknown key '{key}' in a file of format version 1"):
        load_model(rewritten(path, described(LATER[key])))


@pytest.mark.parametrize("heads", [None, 3, [], ["a"], {"a": 1}])
def test_a_version_1_description_of_another_shape_is_refused_in_words(heads: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((DATA / "version-1-heads.safetensors").read_bytes())
    with pytest.raises(ModelError):
        load_model(rewritten(path, described(lambda d: d["config"].update(heads=heads))))


def test_version_1_has_no_arrays_beside_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((DATA / "version-1-heads.safetensors").read_bytes())

    def add(header: dict[str, Any]) -> None:
        header["knowledge.elements.counts"] = {
            "dtype": "F32",
            "shape": [0],
            "data_offsets": [0, 0],
        }

    with pytest.raises(ModelError, match=r"1 tensors are unexpected: knowledge\.elements\.counts"):
        load_model(rewritten(path, add))


def test_stored_numbers_are_of_the_stored_files() -> None:
    """The YAML names every head of both files, so that no part of a file stays without a number."""
    for name in FILES:
        heads = {head["name"] for head in described_heads(DATA / name)}
        assert {row["head"] for row in EXPECTED["results"] if row["file"] == name} == heads


def described_heads(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return list(json.loads(header["__metadata__"]["jmp_calc"])["config"]["heads"])
