"""Official checkpoints: the right numbers of every weight set, and a reason for every refusal."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jmp_calc.errors import ModelError
from jmp_calc.model.config import JMP_L, JMP_S, Theory
from jmp_calc.zoo.official import describe_official, official_state, read_official
from jmp_calc.zoo.official_layout import backbone_layout
from tests.reference.data import FULL
from tests.zoo import synthetic

ROOT = Path(__file__).parents[2]
LAYER, OTHER = "backbone.out_blocks.1.layers.0.linear.weight", "backbone.int_blocks.0.dense_ca.linear.weight"


@pytest.mark.parametrize("size, keys, numbers", [(JMP_S, 514, 44_131_328), (JMP_L, 734, 234_267_648)])
def test_layout_has_the_published_number_of_keys_and_parameters(size: Any, keys: int, numbers: int) -> None:
    shapes = synthetic.layout(size)
    assert len(shapes) == keys
    assert sum(torch.Size(shapes[name]).numel() for name in synthetic.parameters(shapes)) == numbers


@pytest.mark.parametrize(
    "weights, layer, other", [("ema", 0.5, 0.5), ("raw", 1.0, 1.0), ("official-ft", 1.0, 0.5)]
)
def test_weight_sets_take_each_tensor_from_its_place(
    tmp_path: Path, weights: str, layer: float, other: float
) -> None:
    raw = synthetic.state_dict(synthetic.SMALL)
    config, state = official_state(synthetic.write(tmp_path / "s.pt"), weights)
    assert torch.equal(state[LAYER], layer * raw[LAYER])
    assert torch.equal(state[OTHER], other * raw[OTHER])
    factor = "backbone.out_blocks.0.scale_sum.scale_factor"
    assert torch.equal(state[factor], raw[factor])
    head = "output.out_energy.2.4.bias"
    assert torch.equal(state["heads.ani1x.energy.4.bias"], (0.5 if weights != "raw" else 1.0) * raw[head])
    assert config.default_head == "ani1x"


def test_every_tensor_of_the_network_is_set(tmp_path: Path) -> None:
    loaded = read_official(synthetic.write(tmp_path / "s.pt"))
    _, state = official_state(tmp_path / "s.pt")
    found = loaded.potential.state_dict()
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert not any(tensor.is_meta for tensor in found.values())


def test_sizes_and_constants_without_hyperparameters(tmp_path: Path) -> None:
    with_them, _ = official_state(synthetic.write(tmp_path / "a.pt"))
    without, _ = official_state(synthetic.write(tmp_path / "b.pt", lambda c: c.pop("hyper_parameters")))
    assert without.backbone == with_them.backbone == synthetic.SMALL
    assert with_them.head("oc20").energy_scale == 2.5
    assert without.head("ani1x").energy_scale == 2.8700712783472118
    assert without.head("ani1x").force_scale == 2.131422996520996
    assert without.head("transition1x").elements == (1, 6, 7, 8)
    assert without.head("oc22").elements is None
    assert without.head("oc20").theory.functional == "RPBE"
    assert without.head("oc22").theory.hubbard_u == "Materials Project"
    assert without.head("ani1x").theory == without.head("transition1x").theory != Theory()


@pytest.mark.parametrize(
    "changes", [{"emb_size_atom": 5}, {"num_blocks": 1, "num_concat": 3}, {"num_atom": 1}]
)
def test_other_sizes_are_read_too(tmp_path: Path, changes: dict[str, int]) -> None:
    size = dataclasses.replace(synthetic.SMALL, **changes)
    data = synthetic.checkpoint(size)
    del data["hyper_parameters"]
    torch.save(data, tmp_path / "s.pt")
    assert read_official(tmp_path / "s.pt").potential.config.backbone == size


def test_description_says_that_energies_have_no_reference(tmp_path: Path) -> None:
    config, card = describe_official(synthetic.write(tmp_path / "s.pt"))
    assert "no atomic reference" in " ".join(card.notes)
    assert card.licence == "CC-BY-NC-4.0"
    assert {head.reference_kind for head in config.heads} == {"none"}


def test_inverted_temperatures_are_the_same_gaussians(tmp_path: Path) -> None:
    name = "backbone.bases.radial_basis.rbf.temps"
    path = synthetic.write(
        tmp_path / "s.pt", lambda c: c["state_dict"].update({name: -c["state_dict"][name]})
    )
    assert float(official_state(path)[1]["backbone.bases.rbf.temps"].min()) > 0


def drop(name: str) -> Callable[[Any], Any]:
    return lambda c: c["state_dict"].pop(name)


def put(name: str, value: torch.Tensor) -> Callable[[Any], Any]:
    return lambda c: c["state_dict"].update({name: value})


def ema(change: Callable[[tuple[Any, ...]], Any]) -> Callable[[Any], Any]:
    return lambda c: c["optimizer_states"][0].update(ema=change(c["optimizer_states"][0]["ema"]))


FACTOR = "backbone.int_blocks.1.trip_interaction.scale_rbf.scale_factor"
FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "missing tensor": (
        drop("backbone.int_blocks.1.concat_layer.dense.linear.weight"),
        "1 tensors .* are missing",
    ),
    "missing scale factor": (drop(FACTOR), "1 tensors of the checkpoint are missing: " + FACTOR),
    "unexpected tensor": (
        put("backbone.extra", torch.ones(2)),
        "1 tensors .* are unexpected: backbone.extra",
    ),
    "wrong shape": (put(LAYER, torch.ones(3, 3)), "of wrong shape"),
    "integers": (put(OTHER, torch.ones(5, 5, dtype=torch.int64)), "of no floating type"),
    "zero scale factor": (put(FACTOR, torch.zeros(())), "never fitted"),
    "NaN": (put(FACTOR, torch.tensor(torch.nan)), "NaN or infinite"),
    "trained basis": (
        put("backbone.bases.radial_basis_aint.rbf.offset", torch.rand(6)),
        "not the published one",
    ),
    "alias differs": (
        put(LAYER.replace("layers", "seq_energy_pre"), torch.ones(4, 5)),
        "one parameter but differ",
    ),
    "no tensors": (lambda c: c.update(state_dict={"a": 1}), "are no tensors"),
    "other dict": (lambda c: c.update(state_dict={"a": torch.ones(1)}), "no usable tensor"),
    "no EMA": (lambda c: c["optimizer_states"][0].pop("ema"), "no EMA weights"),
    "EMA too short": (ema(lambda t: t[:-1]), "EMA tensors for"),
    "EMA of wrong shape": (ema(lambda t: (t[1], t[0], *t[2:])), "do not fit their parameters"),
    "order changed": (lambda c: c["state_dict"].move_to_end(OTHER), "not in their original order"),
    "other sizes stated": (
        lambda c: c["hyper_parameters"]["backbone"].update(num_radial=7),
        "num_radial = 7",
    ),
    "other basis": (
        lambda c: c["hyper_parameters"]["backbone"].update(rbf={"name": "bessel"}),
        "rbf = 'bessel'",
    ),
    "layer norm": (lambda c: c["hyper_parameters"]["backbone"].update(ln=True), "ln = True"),
    "other number of tasks": (lambda c: c["hyper_parameters"]["tasks"].pop(), "names 3 tasks"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_incomplete_or_foreign_checkpoints_are_refused(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    path = synthetic.write(tmp_path / "bad.pt", change)
    with pytest.raises(ModelError, match=message) as caught:
        official_state(path)
    assert str(path) in str(caught.value)


def test_many_missing_tensors_are_listed_in_short(tmp_path: Path) -> None:
    path = synthetic.write(
        tmp_path / "bad.pt",
        lambda c: [c["state_dict"].pop(f"output.out_forces.{i}.{j}.bias") for i in range(4) for j in (0, 2)],
    )
    with pytest.raises(ModelError, match=r"8 tensors .* and 3 more"):
        official_state(path)


def test_raw_weights_need_no_ema(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path / "s.pt", lambda c: c.pop("optimizer_states"))
    assert official_state(path, "raw")[1][OTHER].shape == (5, 5)


def finetuned(state: dict[str, Any]) -> dict[str, Any]:
    """The same backbone as a fine-tuned model with one bias-free energy head and a three-class head."""
    kept = {name: value for name, value in state.items() if name.startswith("backbone.")}
    kept["embedding.weight"] = state["embedding.atom_embedding.weight"]
    kept |= {f"out_energy.{i}.weight": torch.ones(1 if i == 8 else 4, 4) for i in range(0, 9, 2)}
    root = "graph_classification_outputs._module_dict.ft_mlp_phase.out_mlp"
    for i in range(0, 9, 2):
        rows = 3 if i == 8 else 4
        kept |= {f"{root}.{i}.weight": torch.ones(rows, 4), f"{root}.{i}.bias": torch.ones(rows)}
    return kept


def test_finetuned_checkpoint_takes_its_constants_from_the_forces(tmp_path: Path) -> None:
    constants = {"y": {"mean": 3.0, "std": 9.0}, "force": {"mean": 0.0, "std": 1.25}}
    state = finetuned(synthetic.state_dict(synthetic.SMALL))
    data = {"state_dict": state, "hyper_parameters": {"normalization": constants}}
    torch.save(data, tmp_path / "ft.pt")
    loaded = read_official(tmp_path / "ft.pt")
    energy, phase = loaded.potential.config.heads
    assert (energy.kind, energy.bias, energy.energy_scale, energy.direct_forces) == (
        "energy",
        False,
        1.25,
        False,
    )
    assert (phase.name, phase.kind, phase.num_classes) == ("phase", "multiclass", 3)
    assert "no EMA" in " ".join(loaded.card.notes)


def test_peak_memory_is_that_of_the_needed_tensors(tmp_path: Path) -> None:
    """Optimizer moments and the raw copy stay on the disk: less than 1.3 × the tensors of one weight set."""
    script = f"""
import dataclasses, json, resource, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import torch
from tests.reference.data import FULL
from tests.zoo import synthetic
folder = Path({str(tmp_path)!r})
if sys.argv[1] == "write":
    size = dataclasses.replace(synthetic.SMALL, emb_size_edge=512)
    torch.save(synthetic.checkpoint(size), folder / "big.pt")
    synthetic.write(folder / "small.pt")
else:
    from jmp_calc.zoo.names import resolve
    resolve(folder / "small.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = resolve(folder / "big.pt")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    needed = sum(t.numel() * t.element_size() for t in loaded.potential.state_dict().values())
    print(json.dumps([(after - before) * 1024, needed]))
"""
    for mode in ("write", "read"):
        done = subprocess.run(
            [sys.executable, "-c", script, mode], capture_output=True, text=True, check=True
        )
    used, needed = json.loads(done.stdout)
    assert needed > 30e6
    assert (tmp_path / "big.pt").stat().st_size > 3.5 * needed
    assert used < 1.3 * needed


@pytest.mark.skipif(not FULL.is_dir(), reason="the official numbers data are not on this machine")
@pytest.mark.parametrize("name", ["tiny-s", "tiny-l"])
def test_reference_checkpoints_agree_with_torch_load(name: str) -> None:
    import pathlib

    with torch.serialization.safe_globals([pathlib.PosixPath]):
        data = torch.load(FULL / f"checkpoints/{name}.pt", weights_only=True)
    raw = data["state_dict"]
    averaged = dict(zip(synthetic.parameters(raw), data["optimizer_states"][0]["ema"], strict=True))
    for weights, layers, others in (
        ("raw", raw, raw),
        ("ema", averaged, averaged),
        ("official-ft", raw, averaged),
    ):
        config, state = official_state(FULL / f"checkpoints/{name}.pt", weights)
        for key, value in state.items():
            if key.endswith("linear.weight") and key.startswith("backbone"):
                source = layers if ".layers." in key and "out_blocks" in key else others
                assert torch.equal(value, source[key]), key
        assert len([k for k in raw if k.startswith("backbone.")]) == len(backbone_layout(config.backbone))
        assert list(layout_names(config)) == [k for k in raw if k.startswith("backbone.")]


def layout_names(config: Any) -> list[str]:
    return [f"backbone.{name}" for name in backbone_layout(config.backbone)]
