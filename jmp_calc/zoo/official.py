"""Official JMP checkpoints (``checkpoint_format.md``): read, checked key by key, and renamed to our state
dict.

Nothing from the file is executed. Only the tensors of the chosen weight set are read, each straight into its
final memory, so that the peak stays near the size of the result whatever else the file holds.

Example: ``config, state = official_state("jmp-s.pt", "ema")``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ModelError
from ..graph.policy import GraphPolicy
from ..io.schema import first_five
from ..model.config import BackboneConfig, HeadConfig, ModelConfig
from .archive import TorchArchive
from .official_heads import PRETRAINING_DATA, OfficialHeads, finetuned_heads, pretraining_heads
from .official_layout import RADIAL_BASES, Shape, backbone_layout, infer_backbone
from .pickled import LazyTensor, load_contents

if TYPE_CHECKING:
    from torch import Tensor

    from .container import LoadedModel, ModelCard

Weights = Literal["ema", "raw", "official-ft"]
WEIGHT_SETS = ("ema", "raw", "official-ft")

_ALIAS = re.compile(r"(backbone\.out_blocks\.\d+\.)seq_energy_pre(\..*)")
_RAW_IN_OFFICIAL_FT = re.compile(r"backbone\.out_blocks\.\d+\.layers\..*")
_STEP_COUNTER = re.compile(r"task_steps\._module_dict\._typed_moduledict_[^.]+\.(value|sum_value)")
_FLOATS = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class OfficialModel:
    """What an official checkpoint holds, in our names."""

    config: ModelConfig
    state: dict[str, Tensor]
    weights: str
    """The weight set that was read; "raw" for fine-tuned files without EMA."""
    finetuned: bool
    notes: tuple[str, ...]


def official_state(path: str | Path, weights: str = "ema") -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and state dict (our names, float32, on the CPU) of an official checkpoint.

    Args:
        path: a ``.pt`` zip archive: a pre-training checkpoint, a fine-tuned one, or a plain dict of its
            tensors.
        weights: "ema", "raw" or "official-ft" (``checkpoint_format.md`` section 4).

    Raises:
        ModelError: the file is damaged, hostile, incomplete, or not a JMP checkpoint.
    """
    model = load_official(path, weights)
    return model.config, model.state


def official_heads(
    path: str | Path, backbone: BackboneConfig
) -> tuple[tuple[HeadConfig, ...], dict[str, Tensor]]:
    """Heads and their state dict from a file that holds only the heads of a fine-tuned model with this
    backbone."""
    with TorchArchive(path) as archive:
        tensors = _state_dict(load_contents(archive))
        heads = finetuned_heads({name: tensor.shape for name, tensor in tensors.items()}, {}, backbone)
        return heads.heads, {ours: read_tensor(archive, tensors[name]) for ours, name in heads.names.items()}


def load_official(path: str | Path, weights: str = "ema") -> OfficialModel:
    """As official_state, with the remarks that go into the model card.

    Raises:
        ModelError: an unknown weight set, or a file that is not such a checkpoint.
    """
    if weights not in WEIGHT_SETS:
        raise ModelError(f"Unknown weight set {weights!r}.", hint=f"choose one of {', '.join(WEIGHT_SETS)}")
    with TorchArchive(path) as archive:
        checkpoint = _opened(archive)
        try:
            return checkpoint.model(weights)
        except ModelError as err:
            raise ModelError(err.fact, where=err.where or str(path), hint=err.hint) from err


def read_official(path: str | Path, weights: str = "ema", *, sha256: str | None = None) -> LoadedModel:
    """A Potential from an official checkpoint, under the official graph policy.

    Args:
        path: as for official_state.
        weights: as for official_state.
        sha256: of the file, if it is known already.
    """
    from .cache import sha256_of
    from .container import LoadedModel, build_potential

    path = Path(path)
    model = load_official(path, weights)
    card = _card(path, model.finetuned, model.notes, f"weight set {model.weights}")
    potential = build_potential(model.config, model.state)
    return LoadedModel(potential, card, sha256 or sha256_of(path), path)


def describe_official(path: str | Path) -> tuple[ModelConfig, ModelCard]:
    """Configuration and card of an official checkpoint; its keys are checked, its weights are not read."""
    with TorchArchive(path) as archive:
        checkpoint = _opened(archive)
    available = WEIGHT_SETS if not checkpoint.finetuned else WEIGHT_SETS[:2]
    sets = f"weight sets {', '.join(available)}" if checkpoint.ema is not None else "weight set raw"
    card = _card(Path(path), checkpoint.finetuned, checkpoint.heads.notes, sets)
    return _model_config(checkpoint.backbone, checkpoint.heads), card


def _card(path: Path, finetuned: bool, notes: tuple[str, ...], sets: str) -> ModelCard:
    from .container import ModelCard

    return ModelCard(
        name=path.stem,
        licence="unknown" if finetuned else "CC-BY-NC-4.0",
        source=f"official JMP checkpoint {path.name}, {sets}",
        training_data=() if finetuned else PRETRAINING_DATA,
        energy_reference="none: energies are relative to unpublished linear references per element",
        notes=notes,
    )


def _opened(archive: TorchArchive) -> _Checkpoint:
    try:
        return _Checkpoint(archive, load_contents(archive))
    except ModelError as err:
        raise ModelError(err.fact, where=err.where or str(archive.path), hint=err.hint) from err


class _Checkpoint:
    """An opened checkpoint whose keys have all been accounted for."""

    def __init__(self, archive: TorchArchive, contents: Any) -> None:
        self._archive = archive
        self.tensors = _state_dict(contents)
        self.ema = _ema_tuple(contents)
        self.finetuned = "embedding.weight" in self.tensors
        embedding = "embedding.weight" if self.finetuned else "embedding.atom_embedding.weight"
        shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        hyper = _mapping(contents.get("hyper_parameters"))
        sized = shapes | {"embedding": shapes.get(embedding, ())}
        self.backbone = infer_backbone(sized, _mapping(hyper.get("backbone")))
        find_heads = finetuned_heads if self.finetuned else pretraining_heads
        self.heads: OfficialHeads = find_heads(shapes, hyper, self.backbone)
        layout: dict[str, Shape] = {embedding: (self.backbone.num_elements, self.backbone.emb_size_atom)}
        layout |= {f"backbone.{name}": shape for name, shape in backbone_layout(self.backbone).items()}
        self.layout = layout | self.heads.layout
        self._check_keys(shapes)
        self._check_aliases()
        self.names = _our_names(self.layout, embedding) | self.heads.names

    def model(self, weights: str) -> OfficialModel:
        """Read the tensors of one weight set."""
        notes = list(self.heads.notes)
        if self.finetuned and weights == "ema" and self.ema is None:
            weights = "raw"
            notes.append("the file has no EMA weights; its only weights are used")
        if self.finetuned and weights == "official-ft":
            raise ModelError(
                "Only pre-training checkpoints have the weight set official-ft.", hint="use ema or raw"
            )
        source = dict(self.tensors)
        if weights != "raw":
            source |= self._ema_by_name(weights)
        self._check_bases()
        state = {}
        for ours, official in self.names.items():
            tensor = self.read(source[official], official)
            state[ours] = tensor.abs() if ours.endswith("rbf.temps") else tensor
        return OfficialModel(
            _model_config(self.backbone, self.heads), state, weights, self.finetuned, tuple(notes)
        )

    def read(self, tensor: LazyTensor, name: str) -> Tensor:
        """One tensor as float32, checked to be finite (scale factors: also not zero)."""
        import torch

        from .container import is_finite

        value = read_tensor(self._archive, tensor).to(torch.float32)
        if not is_finite(value):
            raise ModelError(f"The tensor {name} has NaN or infinite values.", hint="the file is damaged")
        if name.endswith("scale_factor") and float(value) == 0.0:
            raise ModelError(
                f"The scale factor {name} is zero, so it was never fitted.", hint="the file is not usable"
            )
        return value

    def _check_keys(self, shapes: Mapping[str, Shape]) -> None:
        counters = {name for name in shapes if not self.finetuned and _STEP_COUNTER.fullmatch(name)}
        # Fine-tuned files may have been written without the alias keys.
        missing = [n for n in self.layout if n not in shapes and not (self.finetuned and _ALIAS.fullmatch(n))]
        unexpected = [name for name in shapes if name not in self.layout and name not in counters]
        wrong = [
            f"{n} {shapes[n]} instead of {s}"
            for n, s in self.layout.items()
            if n in shapes and shapes[n] != s
        ]
        not_float = [n for n in self.layout if n in shapes and self.tensors[n].dtype not in _FLOATS]
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of wrong shape", wrong),
            ("of no floating type", not_float),
        ):
            if names:
                raise ModelError(
                    f"{len(names)} tensors of the checkpoint are {kind}: {first_five(names)}.",
                    hint="this is not a complete JMP checkpoint",
                )

    def _check_aliases(self) -> None:
        """seq_energy_pre repeats layers: the same place in the file, or at least the same numbers."""
        for name in self.layout:
            match = _ALIAS.fullmatch(name)
            if match is None or name not in self.tensors:
                continue
            target = f"{match[1]}layers{match[2]}"
            first, second = self.tensors[name], self.tensors[target]
            if first != second and not self.read(first, name).equal(self.read(second, target)):
                raise ModelError(
                    f"{name} and {target} are one parameter but differ in the file.", hint="it is damaged"
                )

    def _check_bases(self) -> None:
        """All eight radial bases are the same fixed Gaussians."""
        import torch

        steps = self.backbone.num_radial - 1
        centres = torch.arange(steps + 1, dtype=torch.float64) / steps
        for name in RADIAL_BASES:
            prefix = f"backbone.bases.{name}.rbf."
            offset = self.read(self.tensors[prefix + "offset"], prefix + "offset").double()
            temps = self.read(self.tensors[prefix + "temps"], prefix + "temps").double().abs()
            if not torch.allclose(offset, centres, rtol=0, atol=1e-6) or not torch.allclose(
                temps, torch.full_like(temps, 0.5 * steps**2), rtol=1e-5, atol=0
            ):
                raise ModelError(
                    f"The radial basis {prefix} is not the published one.", hint="it may have been trained"
                )

    def _ema_by_name(self, weights: str) -> dict[str, LazyTensor]:
        """The EMA tuple paired with the parameters by registration order (section 4)."""
        if self.ema is None:
            raise ModelError(
                f"The checkpoint has no EMA weights, which the weight set {weights} needs.",
                hint="choose the weight set raw",
            )
        names = [name for name in self.tensors if _is_parameter(name)]
        if names != [name for name in self.layout if _is_parameter(name)]:
            raise ModelError(
                "The tensors of the checkpoint are not in their original order, so that its EMA weights, "
                "which have no names, cannot be assigned.",
                hint="choose the weight set raw",
            )
        if len(names) != len(self.ema):
            raise ModelError(
                f"The checkpoint has {len(self.ema)} EMA tensors for {len(names)} parameters.",
                hint="choose the weight set raw",
            )
        pairs = dict(zip(names, self.ema, strict=True))
        wrong = [
            n
            for n, t in pairs.items()
            if (t.shape, t.dtype) != (self.tensors[n].shape, self.tensors[n].dtype)
        ]
        if wrong:
            raise ModelError(
                f"{len(wrong)} EMA tensors do not fit their parameters: {first_five(wrong)}.",
                hint="choose the weight set raw",
            )
        if weights == "official-ft":
            pairs = {name: t for name, t in pairs.items() if not _RAW_IN_OFFICIAL_FT.fullmatch(name)}
        return pairs


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _state_dict(contents: Any) -> dict[str, LazyTensor]:
    """The tensors by name from a Lightning checkpoint or a plain dict of tensors."""
    state = contents.get("state_dict", contents) if isinstance(contents, dict) else None
    if not isinstance(state, dict) or not state:
        raise ModelError("The checkpoint has no state_dict.", hint="it is not a JMP checkpoint")
    wrong = [
        str(k) for k, value in state.items() if not isinstance(k, str) or not isinstance(value, LazyTensor)
    ]
    if wrong:
        raise ModelError(
            f"{len(wrong)} entries of the state dict are no tensors: {first_five(wrong)}.",
            hint="it is not a JMP checkpoint",
        )
    return dict(state)


def _ema_tuple(contents: Mapping[str, Any]) -> tuple[LazyTensor, ...] | None:
    optimizers = contents.get("optimizer_states")
    if not isinstance(optimizers, list) or not optimizers or not isinstance(optimizers[0], dict):
        return None
    ema = optimizers[0].get("ema")
    if ema is None:
        return None
    if not isinstance(ema, tuple | list) or not all(isinstance(tensor, LazyTensor) for tensor in ema):
        raise ModelError(
            "The EMA weights of the checkpoint are not a tuple of tensors.", hint="the file is damaged"
        )
    return tuple(ema)


def _is_parameter(name: str) -> bool:
    return not (
        name.endswith(("rbf.offset", "rbf.temps", "scale_factor"))
        or ".seq_energy_pre." in name
        or name.startswith("task_steps")
    )


def _our_names(layout: Iterable[str], embedding: str) -> dict[str, str]:
    """Our key -> official key for embedding and backbone; aliases and seven of the eight radial bases are
    dropped."""
    names = {"embedding.weight": embedding}
    for part in ("offset", "temps"):
        names[f"backbone.bases.rbf.{part}"] = f"backbone.bases.radial_basis.rbf.{part}"
    dropped = ("rbf.offset", "rbf.temps")
    for name in layout:
        if name.startswith("backbone.") and not _ALIAS.fullmatch(name) and not name.endswith(dropped):
            names[name] = name
    return names


def _model_config(backbone: BackboneConfig, heads: OfficialHeads) -> ModelConfig:
    names = [head.name for head in heads.heads]
    default = "ani1x" if "ani1x" in names else names[0] if len(names) == 1 else None
    return ModelConfig(backbone, GraphPolicy("official"), heads.heads, default_head=default)


def read_tensor(archive: TorchArchive, tensor: LazyTensor) -> Tensor:
    """The numbers of one tensor, in its shape; only the part of its storage that it covers is read."""
    import torch

    dtype: torch.dtype = getattr(torch, tensor.dtype)
    if 0 in tensor.shape:
        return torch.empty(tensor.shape, dtype=dtype)
    item = tensor.storage.kind.item_size
    span = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    buffer = torch.empty(span * item, dtype=torch.uint8)
    archive.read_storage(tensor.storage.key, tensor.offset * item, buffer.numpy().data)
    flat = buffer.view(dtype)
    return flat.as_strided(tensor.shape, tensor.stride).contiguous()
