"""Official numbers for two small models: a compact copy, or the full set in the folder JMP_CALC_REFERENCE.

Both readers return the same arrays: ``make_compact.py`` writes what ``from_full`` reads and
``from_compact`` reads it back.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jmp_calc.model.config import ModelConfig, model_config_from_dict, to_dict

FULL = Path(os.environ.get("JMP_CALC_REFERENCE", "JMP_CALC_REFERENCE is not set"))
"""Folder of the official implementation's numbers; slow tests are skipped without it."""
COMPACT = Path(__file__).parent / "compact"
MODELS = ("tiny-s", "tiny-l")
WEIGHT_SETS = ("ema", "raw", "official-ft")
FINETUNED = {
    "rmd17_grad_tiny-s": "tiny-s",
    "rmd17_grad_tiny-l": "tiny-l",
    "rmd17_direct_tiny-l": "tiny-l",
    "qm9_heads_tiny-s": "tiny-s",
}
"""Fine-tuned heads and the model whose backbone (weight set official-ft) they sit on."""
PRETRAINED_ARRAYS = (
    "energy",
    "forces_direct",
    "forces_grad",
    "energy_rawweights",
    "energy_officialft",
    "forces_grad_officialft",
    "energy_f32",
    "forces_direct_f32",
    "forces_grad_f32",
)
CASE_ARRAYS = ("Z", "pos", "cell", "pbc", "tags", "cutoff", "max_neighbors", "counts")

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class ReferenceModel:
    """A pre-trained model: its configuration, its weight sets, and official outputs per case."""

    config: ModelConfig
    weights: dict[str, dict[str, Tensor]]
    outputs: dict[str, Arrays]


@dataclass(frozen=True)
class FinetunedModel:
    """A fine-tuned model: configuration with its heads, complete state, systems and official outputs."""

    config: ModelConfig
    state: dict[str, Tensor]
    arrays: Arrays


@dataclass(frozen=True)
class Reference:
    """Everything: structures, models, fine-tuned models, the worked scale fit."""

    cases: dict[str, Arrays]
    models: dict[str, ReferenceModel]
    finetuned: dict[str, FinetunedModel]
    scale_fit: Arrays


def from_full(folder: Path = FULL) -> Reference:
    """Read the official checkpoints and arrays through jmp_calc's own reader of official files."""
    from jmp_calc.zoo.official import official_heads, official_state

    cases = {path.stem: _load(path, CASE_ARRAYS) for path in sorted((folder / "cases").glob("*.npz"))}
    models = {}
    for name in MODELS:
        read = {
            weights: official_state(folder / "checkpoints" / f"{name}.pt", weights) for weights in WEIGHT_SETS
        }
        outputs = {
            case: _load(folder / "outputs" / name / f"{case}.npz", PRETRAINED_ARRAYS) for case in cases
        }
        models[name] = ReferenceModel(read["ema"][0], {w: state for w, (_, state) in read.items()}, outputs)
    finetuned = {}
    for name, base in FINETUNED.items():
        path, model = folder / "finetune" / f"{name}.pt", models[base]
        if name == "rmd17_grad_tiny-s":  # a complete state dict; the others hold only heads
            config, state = official_state(path, "raw")
        else:
            heads, head_state = official_heads(path, model.config.backbone)
            config, state = _with_heads(model, heads, head_state)
        finetuned[name] = FinetunedModel(config, state, _load(path.with_suffix(".npz")))
    return Reference(cases, models, finetuned, _load(folder / "scale_fit_tiny-s.npz"))


def write_compact(reference: Reference, folder: Path = COMPACT) -> None:
    """Store what the tests need; a weight set is the names of its tensors that are raw instead of ema."""
    folder.mkdir(exist_ok=True)
    _save(
        folder / "cases.npz",
        {f"{c}/{k}": v for c, arrays in reference.cases.items() for k, v in arrays.items()},
    )
    for name, model in reference.models.items():
        ema, raw, mixed = (model.weights[weights] for weights in WEIGHT_SETS)
        from_raw = [key for key in ema if not mixed[key].equal(ema[key])]
        assert all(mixed[key].equal(raw[key]) for key in from_raw)
        layout = {key: list(value.shape) for key, value in ema.items()}
        arrays = {"ema": _flat(ema), "raw_change": _bit_change(_flat(ema), _flat(raw))}
        arrays |= {f"outputs/{c}/{k}": v for c, values in model.outputs.items() for k, v in values.items()}
        arrays |= {
            "config": _text(to_dict(model.config)),
            "layout": _text(layout),
            "from_raw": _text(from_raw),
        }
        _save(folder / f"{name}.npz", arrays)
    for name, tuned in reference.finetuned.items():
        base = reference.models[FINETUNED[name]].weights["official-ft"]
        arrays = {
            f"state/{k}": v.numpy() for k, v in tuned.state.items() if k not in base or not v.equal(base[k])
        }
        arrays |= {f"arrays/{key}": value for key, value in tuned.arrays.items()}
        _save(folder / f"{name}.npz", arrays | {"config": _text(to_dict(tuned.config))})
    _save(folder / "scale_fit.npz", reference.scale_fit)


def from_compact(folder: Path = COMPACT) -> Reference:
    """Read what ``write_compact`` stored."""
    cases: dict[str, Arrays] = {}
    for key, value in _load(folder / "cases.npz").items():
        case, _, name = key.partition("/")
        cases.setdefault(case, {})[name] = value
    models = {}
    for name in MODELS:
        stored = _load(folder / f"{name}.npz")
        layout = json.loads(str(stored["layout"]))
        ema = _unflatten(stored["ema"], layout)
        raw = _unflatten(_changed(stored["ema"], stored["raw_change"]), layout)
        mixed = {key: raw[key] for key in json.loads(str(stored["from_raw"]))}
        weights = dict(zip(WEIGHT_SETS, (ema, raw, ema | mixed)))
        outputs = {case: _part(stored, f"outputs/{case}/") for case in cases}
        models[name] = ReferenceModel(_config(stored), weights, outputs)
    finetuned = {}
    for name, base in FINETUNED.items():
        stored = _load(folder / f"{name}.npz")
        config, own = _config(stored), _tensors(stored, "state/")
        kept = {k: v for k, v in models[base].weights["official-ft"].items() if not k.startswith("heads.")}
        if not config.backbone.force_branch:
            kept = {k: v for k, v in kept.items() if not _is_force_branch(k)}
        finetuned[name] = FinetunedModel(config, kept | own, _part(stored, "arrays/"))
    return Reference(cases, models, finetuned, _load(folder / "scale_fit.npz"))


def _with_heads(
    model: ReferenceModel, heads: tuple, head_state: dict[str, Tensor]
) -> tuple[ModelConfig, dict[str, Tensor]]:
    backbone = {k: v for k, v in model.weights["official-ft"].items() if not k.startswith("heads.")}
    return replace(model.config, heads=heads, default_head=None), backbone | head_state


def _is_force_branch(key: str) -> bool:
    return any(part in key for part in (".scale_rbf_F.", ".seq_forces.", ".dense_rbf_F.", ".out_mlp_F."))


def _config(stored: Arrays) -> ModelConfig:
    return model_config_from_dict(json.loads(str(stored["config"])))


def _flat(state: dict[str, Tensor]) -> NDArray:
    return np.concatenate([value.numpy().ravel() for value in state.values()])


def _unflatten(flat: NDArray, layout: dict[str, list[int]]) -> dict[str, Tensor]:
    parts = torch.from_numpy(flat).split([int(np.prod(shape)) for shape in layout.values()])
    return {key: part.reshape(shape) for (key, shape), part in zip(layout.items(), parts)}


def _bit_change(before: NDArray, after: NDArray) -> NDArray:
    """The difference of the float32 bit patterns, byte planes first: small for close numbers, so it packs
    well."""
    return np.ascontiguousarray(
        (after.view(np.uint32) - before.view(np.uint32)).view(np.uint8).reshape(-1, 4).T
    )


def _changed(before: NDArray, change: NDArray) -> NDArray:
    bits = np.ascontiguousarray(change.T).view(np.uint32).ravel()
    return (before.view(np.uint32) + bits).view(np.float32)


def _text(data: object) -> NDArray:
    return np.array(json.dumps(data))


def _tensors(stored: Arrays, prefix: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in _part(stored, prefix).items()}


def _part(stored: Arrays, prefix: str) -> Arrays:
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


def _load(path: Path, names: tuple[str, ...] = ()) -> Arrays:
    with np.load(path) as file:
        return {key: file[key] for key in file.files if not names or key in names}


def _save(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, **arrays)
