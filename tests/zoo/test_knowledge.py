"""Arrays beside the weights: exact round trips, cheap to describe, and a reason for every refusal."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jmp_calc.errors import ModelError
from jmp_calc.model.config import DefaultHeads, DomainErrors, HeadConfig, ModelConfig, Theory
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import describe_model, load_model, save_model
from jmp_calc.zoo.header import HASH_KEY, NO_HASH
from jmp_calc.zoo.knowledge import ElementStatistics, HeadStatistics, Knowledge
from tests.zoo.test_container import CARD, small_config

PAIRS = {"H-H": 0.71, "H-O": 0.8123456789012345, "O-O": 2.25}


def knowing_config() -> ModelConfig:
    config = small_config()
    first = dataclasses.replace(
        config.heads[0],
        pairs=PAIRS,
        domain=("molecules", "liquids"),
        theory=Theory("PBE", "plane waves 520 eV", "none", "collinear", "Materials Project"),
        errors=(
            DomainErrors("molecules", 40, 31.5, 900.0, 0.99, 2.5),
            DomainErrors("liquids", 12, 80.0, 0.0),
        ),
        binding_gate="bonds",
    )
    other = HeadConfig("lda", hidden=3, num_layers=1, elements=(1,), pairs={})
    third = HeadConfig("gap", kind="scalar", hidden=3, num_layers=2)
    return dataclasses.replace(
        config,
        heads=(first, other, third),
        default_head=None,
        default_heads=DefaultHeads("dft", "lda"),
        head_aliases={"pbe": "dft"},
    )


def knowledge(config: ModelConfig) -> Knowledge:
    rng = np.random.default_rng(0)
    width = config.backbone.emb_size_atom
    a, b, c = rng.normal(size=(4, 9)), rng.normal(size=(width, 9)), rng.normal(size=(2, width, 9))
    elements = ElementStatistics(
        np.array([1, 8]),
        np.array([200, 100]),
        rng.normal(size=(2, width)).astype(np.float32),
        (c @ c.transpose(0, 2, 1)).astype(np.float32),
    )
    heads = {"dft": HeadStatistics(a @ a.T, 50, 1e-6, 0.02, 0.4), "lda": HeadStatistics(b @ b.T, 7, 0.0, 1.5)}
    return Knowledge(heads, elements)


@pytest.fixture(scope="module")
def potential() -> Potential:
    torch.manual_seed(0)
    return Potential(knowing_config())


@pytest.fixture
def path(tmp_path: Path, potential: Potential) -> Path:
    save_model(tmp_path / "m.safetensors", potential, CARD, knowledge(potential.config))
    return tmp_path / "m.safetensors"


def test_round_trip_is_exact(path: Path, potential: Potential) -> None:
    loaded, told = load_model(path), knowledge(potential.config)
    assert loaded.potential.config == potential.config
    for found in (loaded.knowledge, describe_model(path).knowledge):
        assert set(found.heads) == {"dft", "lda"}
        for name, head in found.heads.items():
            np.testing.assert_array_equal(head.covariance, told.heads[name].covariance)
            other = told.heads[name]
            for field in ("structures", "regulariser", "scale", "force_factor"):
                assert getattr(head, field) == getattr(other, field)
        assert found.elements is not None
        for field in ("numbers", "counts", "mean", "covariance"):
            np.testing.assert_array_equal(getattr(found.elements, field), getattr(told.elements, field))
    assert describe_model(path).config == potential.config


def test_files_without_a_factor_for_forces_have_one(path: Path) -> None:
    edited(path, f"{H}calibration", np.array([5, 0.1, 2.0]))
    found = load_model(path).knowledge.heads["dft"]
    assert (found.structures, found.regulariser, found.scale, found.force_factor) == (5, 0.1, 2.0, 1.0)


def test_weights_are_the_same_beside_the_arrays(path: Path, potential: Potential) -> None:
    before, after = potential.state_dict(), load_model(path).potential.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_programs_can_read_them(path: Path) -> None:
    from safetensors.numpy import load_file

    arrays = load_file(path)
    assert arrays["knowledge.heads.dft.pairs"].tolist() == [[1, 1, 0.71], [1, 8, PAIRS["H-O"]], [8, 8, 2.25]]
    assert arrays["knowledge.heads.lda.pairs"].shape == (0, 3)
    assert "knowledge.heads.gap.pairs" not in arrays


def test_many_pairs_do_not_fill_the_header(tmp_path: Path) -> None:
    """Twelve heads that know all pairs of 94 elements."""
    from jmp_calc.model.elements import pair_name

    config = small_config()
    pairs = {pair_name(i, j): 1.5 + 0.01 * i for j in range(1, 95) for i in range(1, j + 1)}
    backbone = dataclasses.replace(config.backbone, num_elements=95)
    heads = tuple(HeadConfig(f"h{i}", hidden=2, num_layers=2, pairs=pairs) for i in range(12))
    many = dataclasses.replace(config, backbone=backbone, heads=heads, default_head="h0")
    save_model(tmp_path / "m.safetensors", Potential(many), CARD)
    raw = (tmp_path / "m.safetensors").read_bytes()
    assert int.from_bytes(raw[:8], "little") < 100_000
    assert describe_model(tmp_path / "m.safetensors").config == many


def edited(path: Path, name: str, array: np.ndarray | None) -> Path:
    """The file with another array under this name, or without it, and with a hash that fits."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save

    arrays = load_file(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array.copy()
    metadata[HASH_KEY] = NO_HASH
    data = save(arrays, metadata)
    data = data.replace(NO_HASH.encode(), hashlib.sha256(data).hexdigest().encode(), 1)
    path.write_bytes(data)
    return path


H, E = "knowledge.heads.dft.", "knowledge.elements."
FAULTS: dict[str, tuple[str, np.ndarray | None, str]] = {
    "unknown head": ("knowledge.heads.b3lyp.pairs", np.zeros((0, 3)), "no knowledge called"),
    "unknown kind": (f"{H}variance", np.zeros(3), "no knowledge called"),
    "of a head without energies": ("knowledge.heads.gap.covariance", np.eye(3), "no knowledge called"),
    "no name": ("knowledge.", np.zeros(3), "no knowledge called"),
    "pairs of whole numbers": (f"{H}pairs", np.array([[1, 1, 1]]), "is int64 of shape"),
    "pairs without rows": (f"{H}pairs", np.array([1.0, 1.0, 1.0]), "of shape"),
    "pairs with four columns": (f"{H}pairs", np.ones((2, 4)), "of shape"),
    "more pairs than there are": (f"{H}pairs", np.ones((1000, 3)), "of shape"),
    "pairs twice": (f"{H}pairs", np.array([[1, 8, 1.0], [1, 8, 2.0]]), "ascending"),
    "pairs out of order": (f"{H}pairs", np.array([[8, 8, 1.0], [1, 8, 2.0]]), "ascending"),
    "pair the wrong way round": (f"{H}pairs", np.array([[8, 1, 1.0]]), "ascending"),
    "half an element": (f"{H}pairs", np.array([[1, 1.5, 1.0]]), "ascending"),
    "the ghost": (f"{H}pairs", np.array([[0, 1, 1.0]]), "ascending"),
    "negative element": (f"{H}pairs", np.array([[-1, 1, 1.0]]), "ascending"),
    "element that it has no row for": (f"{H}pairs", np.array([[1, 92, 1.0]]), "is not a pair"),
    "element that there is not": (f"{H}pairs", np.array([[1, 1e300, 1.0]]), "is not a pair"),
    "distance zero": (f"{H}pairs", np.array([[1, 1, 0.0]]), "not between"),
    "distance not finite": (f"{H}pairs", np.array([[1, 1, np.inf]]), "NaN or infinite"),
    "element not a number": (f"{H}pairs", np.array([[np.nan, 1, 1.0]]), "NaN or infinite"),
    "covariance of another width": (f"{H}covariance", np.eye(5), "of shape"),
    "covariance in single precision": (f"{H}covariance", np.eye(4, dtype=np.float32), "is float32"),
    "covariance that is not symmetric": (f"{H}covariance", np.triu(np.ones((4, 4))), "a covariance"),
    "negative variance": (f"{H}covariance", -np.eye(4), "a covariance"),
    "covariance without calibration": (f"{H}calibration", None, "half of the statistics"),
    "calibration of no structures": (f"{H}calibration", np.array([0, 0.1, 1.0]), "not positive"),
    "calibration of half a structure": (f"{H}calibration", np.array([1.5, 0.1, 1.0]), "not positive"),
    "calibration without scale": (f"{H}calibration", np.array([5, 0.1]), "are missing"),
    "calibration of five numbers": (f"{H}calibration", np.ones(5), "of shape"),
    "negative factor": (f"{H}calibration", np.array([5, 0.1, 1.0, -1.0]), "not positive"),
    "negative scale": (f"{H}calibration", np.array([5, 0.1, -1.0]), "not positive"),
    "elements without counts": (f"{E}counts", None, "missing"),
    "elements of another length": (f"{E}counts", np.array([1]), "several lengths"),
    "elements as a single number": (f"{E}numbers", np.array(1), "of shape"),
    "elements twice": (f"{E}numbers", np.array([1, 1]), "ascending"),
    "element outside": (f"{E}numbers", np.array([1, 500]), "ascending"),
    "no atoms": (f"{E}counts", np.array([0, 3]), "no atoms"),
    "mean in double precision": (f"{E}mean", np.zeros((2, 4)), "is float64"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_arrays_are_refused(path: Path, fault: str) -> None:
    name, array, message = FAULTS[fault]
    edited(path, name, array)
    for read in (load_model, describe_model):
        with pytest.raises(ModelError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_an_edited_array_without_a_fitting_hash_is_refused(path: Path) -> None:
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])["knowledge.heads.dft.pairs"]
    data[8 + length + entry["data_offsets"][0] + 16] ^= 1
    path.write_bytes(data)
    for read in (load_model, describe_model):
        with pytest.raises(ModelError, match="damaged or was edited"):
            read(path)


WRONG: dict[str, tuple[Callable[[ModelConfig], Any], Callable[[Knowledge], Knowledge], str]] = {
    "pairs of elements that it has no row for": (
        lambda c: dataclasses.replace(
            c, heads=(dataclasses.replace(c.heads[0], pairs={"H-U": 2.0}), *c.heads[1:])
        ),
        lambda k: k,
        "'H-U' is not a pair",
    ),
    "statistics of another width": (
        lambda c: c,
        lambda k: dataclasses.replace(k, heads={"dft": HeadStatistics(np.eye(7), 3, 0.0, 1.0)}),
        "of shape",
    ),
    "statistics that are not finite": (
        lambda c: c,
        lambda k: dataclasses.replace(k, heads={"dft": HeadStatistics(np.eye(4) * np.nan, 3, 0.0, 1.0)}),
        "NaN",
    ),
    "statistics of a head that there is not": (
        lambda c: c,
        lambda k: dataclasses.replace(k, heads={"pbe": HeadStatistics(np.eye(4), 3, 0.0, 1.0)}),
        "no head 'pbe'",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, potential: Potential, fault: str) -> None:
    change, other, message = WRONG[fault]
    with pytest.raises(ModelError, match=message):
        wrong = potential.with_config(change(potential.config))
        save_model(tmp_path / "m.safetensors", wrong, CARD, other(knowledge(potential.config)))
    assert not (tmp_path / "m.safetensors").exists()


DESCRIBED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "pairs in the description": (lambda d: d["config"]["heads"][0].update(pairs={"H-H": 0.5}), "are arrays"),
    "unknown domain": (lambda d: d["config"]["heads"][0].update(domain=["gases"]), "one of molecules"),
    "domain twice": (
        lambda d: d["config"]["heads"][0].update(domain=["crystals", "crystals"]),
        "there twice",
    ),
    "unknown field of the theory": (
        lambda d: d["config"]["heads"][0]["theory"].update(smearing="x"),
        "Unknown key 'smearing'",
    ),
    "error on no frames": (lambda d: d["config"]["heads"][0]["errors"][0].update(frames=0), "of no frames"),
    "correlation of 2": (
        lambda d: d["config"]["heads"][0]["errors"][0].update(forces_correlation=2.0),
        "correlation is not",
    ),
    "default head that there is not": (
        lambda d: d["config"]["default_heads"].update(periodic="hse"),
        "no default head 'hse'",
    ),
    "default for one kind only": (
        lambda d: d["config"]["default_heads"].pop("molecules"),
        "'molecules' is missing",
    ),
    "default without energies": (lambda d: d["config"]["default_heads"].update(periodic="gap"), "no energy"),
    "defaults of both sorts": (lambda d: d["config"].update(default_head="dft"), "and default heads"),
    "alias of nothing": (lambda d: d["config"].update(head_aliases={"old": "none"}), "which there is not"),
    "alias that is a head": (lambda d: d["config"].update(head_aliases={"dft": "lda"}), "an old name of one"),
    "alias with a strange name": (lambda d: d["config"].update(head_aliases={"a/b": "lda"}), "not a valid"),
    "unknown gate": (lambda d: d["config"]["heads"][0].update(binding_gate="door"), "one of bonds, envelope"),
}


@pytest.mark.parametrize("fault", DESCRIBED)
def test_contradictions_in_the_description_are_refused(path: Path, fault: str) -> None:
    from tests.zoo.test_container import described, rewritten

    change, message = DESCRIBED[fault]
    with pytest.raises(ModelError, match=message):
        load_model(rewritten(path, described(change)))


def test_a_file_of_version_2_needs_its_hash(path: Path) -> None:
    from tests.zoo.test_container import rewritten

    with pytest.raises(ModelError, match="no hash"):
        load_model(rewritten(path, lambda header: header["__metadata__"].pop(HASH_KEY)))


@pytest.mark.parametrize(
    "change", [{"committee": ("nobody",)}, {"committee": ("dft",)}, {"committee_scale": 0.0}]
)
def test_a_committee_is_of_other_heads_of_the_file(tmp_path: Path, change: dict[str, Any]) -> None:
    config = small_config()
    head = dataclasses.replace(config.heads[0], **change)
    strange = Potential(dataclasses.replace(config, heads=(head, *config.heads[1:])))
    with pytest.raises(ModelError, match="committee of 'dft'"):
        save_model(tmp_path / "m.safetensors", strange, CARD)
