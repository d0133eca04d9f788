"""Our model files: exact round trips, version 1 for ever, and a reason for every refusal (faults 68, 69,
71)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jmp_calc.errors import ModelError
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.zoo.container import ModelCard, describe_model, load_model, save_model
from tests.zoo import synthetic

VERSION_1 = Path(__file__).with_name("data") / "version-1.safetensors"


def small_config() -> ModelConfig:
    head = HeadConfig(
        "dft",
        hidden=4,
        level_of_theory="PBE",
        elements=(1, 8),
        references={1: -13.5, 8: -2041.25},
        reference_kind="isolated_atoms",
        energy_scale=0.7,
    )
    backbone = dataclasses.replace(synthetic.SMALL, force_branch=False)
    return ModelConfig(backbone, GraphPolicy("smooth", cutoff=5.0), (head,), "dft", subtract_lone_atom=True)


@pytest.fixture(scope="module")
def potential() -> Any:
    from jmp_calc.model.potential import Potential

    torch.manual_seed(0)
    return Potential(small_config())


CARD = ModelCard(
    "water",
    "2024-05-01",
    "MIT",
    "a test",
    ({"name": "set a", "licence": "CC0"},),
    {"mae_mev": 3.5},
    "isolated atoms",
    ("first", "second"),
)


@pytest.fixture
def path(tmp_path: Path, potential: Any) -> Path:
    save_model(tmp_path / "m.safetensors", potential, CARD)
    return tmp_path / "m.safetensors"


def test_round_trip_is_exact(path: Path, potential: Any) -> None:
    loaded = load_model(path)
    assert loaded.potential.config == potential.config
    assert loaded.card == CARD
    assert loaded.format_version == 2
    before, after = potential.state_dict(), loaded.potential.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert describe_model(path).config == potential.config


def test_double_precision_is_kept(tmp_path: Path, potential: Any) -> None:
    import copy

    double = copy.deepcopy(potential).double()
    save_model(tmp_path / "d.safetensors", double, CARD)
    assert load_model(tmp_path / "d.safetensors").potential.dtype == torch.float64


def test_a_loaded_model_computes_and_learns(path: Path) -> None:
    """No tensor stays without data, and gradients reach the weights."""
    from jmp_calc.graph.batch import collate
    from jmp_calc.graph.build import build_graph

    loaded = load_model(path).potential
    positions = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.96], [0.93, 0.0, -0.24]], dtype=torch.float64
    ).numpy()
    empty = torch.zeros(3, 3, dtype=torch.float64).numpy()
    numbers, pbc = torch.tensor([8, 1, 1]).numpy(), torch.zeros(3, dtype=torch.bool).numpy()
    batch = collate([build_graph(positions, numbers, empty, pbc, loaded.config.policy)])
    result = loaded(batch, heads="dft", create_graph=True)
    (result.forces**2).sum().backward()
    assert torch.isfinite(result.energy).all()
    assert loaded.embedding.weight.grad is not None


def test_other_programs_can_read_the_tensors(path: Path, potential: Any) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["jmp_calc"])["format_version"] == 2
        weight = file.get_tensor("embedding.weight")
    assert torch.equal(weight, potential.embedding.weight)


def test_version_1_files_stay_readable() -> None:
    """Written by the first release; must load for ever (never regenerate it)."""
    loaded = load_model(VERSION_1)
    assert loaded.sha256 == "5726239bf27293d8af6545db8c4e1b1e8cb5ced5b31e75bb9c1eeb73ac9555bb"
    assert loaded.card == CARD
    head = loaded.potential.config.head("dft")
    assert head.references == {1: -13.5, 8: -2041.25}
    assert loaded.potential.config.policy.name == "smooth"


def test_failed_save_leaves_the_old_file_and_no_rest(path: Path, potential: Any, monkeypatch: Any) -> None:
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(path, potential, CARD)
    assert path.read_bytes() == old
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_diverged_weights_are_not_saved(tmp_path: Path, potential: Any) -> None:
    import copy

    broken = copy.deepcopy(potential)
    with torch.no_grad():
        broken.embedding.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"not finite: embedding.weight"):
        save_model(tmp_path / "m.safetensors", broken, CARD)


Header = dict[str, Any]


def rewritten(path: Path, change: Callable[[Header], Any]) -> Path:
    """The file with an edited header and the same data."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    return path


def described(change: Callable[[dict[str, Any]], Any]) -> Callable[[Header], Any]:
    def edit(header: Header) -> None:
        data = json.loads(header["__metadata__"]["jmp_calc"])
        change(data)
        header["__metadata__"]["jmp_calc"] = json.dumps(data)

    return edit


def entry(name: str, **values: Any) -> Callable[[Header], Any]:
    return lambda header: header[name].update(values)


def renamed(count: int) -> Callable[[Header], Any]:
    def edit(header: Header) -> None:
        for name in [n for n in header if n.startswith("heads.")][:count]:
            header["x" + name] = header.pop(name)

    return edit


W = "embedding.weight"
FAULTS: dict[str, tuple[Callable[[Header], Any], str]] = {
    "overlap": (entry("backbone.bases.rbf.offset", data_offsets=[0, 24]), "overlaps|gap"),
    "outside the file": (entry(W, data_offsets=[10**9, 10**9 + 192]), "overlaps|gap|file has"),
    "reversed": (entry(W, data_offsets=[192, 0]), "cannot have"),
    "negative": (entry(W, data_offsets=[-192, 0]), "malformed"),
    "shape does not fit": (entry(W, shape=[12, 5]), "cannot have"),
    "enormous shape": (entry(W, shape=[2**40, 2**40]), "cannot have"),
    "shape of texts": (entry(W, shape=["12", 4]), "malformed"),
    "unknown type": (entry(W, dtype="OBJECT"), "unknown type"),
    "other type": (entry(W, dtype="I32"), "are not float32"),
    "extra field": (entry(W, pickle="gASVAA=="), "malformed"),
    "no description": (lambda h: h.pop("__metadata__"), "no jmp_calc description"),
    "metadata of numbers": (lambda h: h.update(__metadata__={"jmp_calc": 1}), "not an object of texts"),
    "description is no JSON": (lambda h: h["__metadata__"].update(jmp_calc="{"), "not valid JSON"),
    "newer version": (described(lambda d: d.update(format_version=3, needs="3.4")), r"jmp-calc>=3\.4"),
    "hostile version": (
        described(lambda d: d.update(format_version=3, needs="0; rm -rf /")),
        "upgrade 'jmp-calc'",
    ),
    "no version": (described(lambda d: d.pop("format_version")), "no valid format_version"),
    "Unknown key": (described(lambda d: d["config"].update(defualt_head="x")), "did you mean 'default_head'"),
    "Unknown card key": (described(lambda d: d["card"].update(license="x")), "did you mean 'licence'"),
    "missing key": (described(lambda d: d["config"].pop("policy")), "'policy' is missing"),
    "Wrong type": (
        described(lambda d: d["config"]["backbone"].update(num_blocks="2")),
        "num_blocks.*|integer",
    ),
    "boolean as number": (described(lambda d: d["config"]["backbone"].update(num_blocks=True)), "integer"),
    "Unknown policy": (
        described(lambda d: d["config"]["policy"].update(name="rough")),
        "one of official, smooth",
    ),
    "class name": (described(lambda d: d["config"]["heads"][0].update(kind="os.system")), "one of energy"),
    "enormous network": (
        described(lambda d: d["config"]["backbone"].update(num_blocks=10**9)),
        "not between",
    ),
    "negative cutoff": (described(lambda d: d["config"]["policy"].update(cutoff=-1.0)), "not between"),
    "element outside": (
        described(lambda d: d["config"]["heads"][0].update(elements=[200])),
        "elements outside",
    ),
    "absent default": (described(lambda d: d["config"].update(default_head="pbe")), "no default head 'pbe'"),
    "other sizes": (described(lambda d: d["config"]["backbone"].update(emb_size_atom=6)), "of wrong shape"),
    "more blocks": (
        described(lambda d: d["config"]["backbone"].update(num_blocks=3)),
        r"missing: .* and \d+ more",
    ),
    "missing tensors": (renamed(7), r"7 tensors are missing: .* and 2 more"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lying_headers_are_refused(path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    with pytest.raises(ModelError, match=message) as caught:
        load_model(rewritten(path, change))
    assert str(path) in str(caught.value)


def test_unexpected_tensors_are_refused(path: Path) -> None:
    config = described(lambda d: d["config"]["heads"][0].update(num_layers=4))
    with pytest.raises(ModelError, match="tensors are"):
        load_model(rewritten(path, config))


@pytest.mark.parametrize(
    "prefix", [b"", b"\x01", (2**62).to_bytes(8, "little"), (10**6).to_bytes(8, "little")]
)
def test_oversized_and_cut_headers_are_refused(path: Path, prefix: bytes) -> None:
    path.write_bytes(prefix + path.read_bytes()[8:2000] if len(prefix) == 8 else prefix)
    with pytest.raises(ModelError, match="bytes"):
        load_model(path)


def test_truncated_and_padded_data_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    for content in (whole[:-4], whole + b"\x00"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="but the file has"):
            load_model(path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff\xfe", b"{}{}"])
def test_headers_that_are_no_plain_json(path: Path, text: bytes) -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ModelError, match="Not a usable"):
        load_model(path)


def test_damaged_numbers_are_refused(path: Path) -> None:
    """Also in a file that records no hash of its content."""
    data = bytearray(VERSION_1.read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="NaN"):
        load_model(path)
