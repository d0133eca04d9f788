"""Our model file: one ``.safetensors`` with a versioned JSON description, format version 1.

The metadata key ``jmp_calc`` holds a JSON object: ``format_version``, ``needs`` (the jmp-calc that can read
it), ``config`` (ModelConfig), ``precision`` and ``card`` (ModelCard). Loading parses numbers and texts only:
nothing is unpickled, nothing is imported by name. Version 1 files stay readable for ever.

Example: ``save_model("mine.safetensors", potential, card)``; ``load_model("mine.safetensors").potential``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from ..errors import ModelError
from ..io.atomic import replacing
from ..io.schema import first_five, parse
from ..model.config import ModelConfig, to_dict
from .header import Header, TensorEntry, encode_header, plain_json, read_header
from .limits import check_config

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.potential import Potential

FORMAT_VERSION = 1
METADATA_KEY = "jmp_calc"
_NEEDS = "0.1"
"""Oldest jmp-calc that reads format version 1."""


@dataclass(frozen=True)
class ModelCard:
    """Where a model comes from and what it may be used for."""

    name: str
    created: str = ""
    """ISO date; empty: unknown."""
    licence: str = "unknown"
    source: str = ""
    """Who published it, or from which model and command it was made."""
    training_data: tuple[dict[str, Any], ...] = ()
    """One object per data set: name, licence, and what else is known (frames, level of theory, address)."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Errors by set, with units in the names."""
    energy_reference: str = ""
    """What the zero of energy means, in words."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedModel:
    """A potential with its provenance."""

    potential: Potential
    card: ModelCard
    sha256: str
    """Of the file that was read."""
    path: Path
    format_version: int | None = None
    """None: an official checkpoint."""


@dataclass(frozen=True)
class ModelDescription:
    """The header of one of our files without its tensors."""

    config: ModelConfig
    card: ModelCard
    precision: str
    format_version: int


@dataclass(frozen=True)
class _Description:
    """The JSON object of format version 1."""

    format_version: int
    needs: str
    config: ModelConfig
    precision: Literal["float32", "float64"]
    card: ModelCard


def save_model(path: str | Path, potential: Potential, card: ModelCard) -> None:
    """Write ``potential`` and ``card`` to ``path``: the file appears complete or not at all.

    Raises:
        ModelError: the weights are not all of one precision (float32 or float64) or not finite.
    """
    import torch

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in potential.state_dict().items()}
    dtypes = {tensor.dtype for tensor in state.values()}
    names = {torch.float32: "float32", torch.float64: "float64"}
    if len(dtypes) != 1 or not dtypes <= set(names):
        raise ModelError(
            f"Weights of types {sorted(map(str, dtypes))} cannot be saved.", hint="convert the model first"
        )
    bad = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ModelError(
            f"{len(bad)} tensors are not finite: {first_five(bad)}.", hint="the training has diverged"
        )
    check_config(potential.config)
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "needs": _NEEDS,
        "config": to_dict(potential.config),
        "precision": names[dtypes.pop()],
        "card": asdict(card),
    }
    text = json.dumps(description, allow_nan=False, ensure_ascii=False)
    parse(_Description, json.loads(text), "header")  # what cannot be read back is not written
    layout = {name: (description["precision"], tuple(tensor.shape)) for name, tensor in state.items()}
    data = (memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data) for tensor in state.values())
    write_atomically(Path(path), chain([encode_header(layout, {METADATA_KEY: text})], data))


def load_model(path: str | Path) -> LoadedModel:
    """Read one of our files; the potential is on the CPU in the file's precision.

    Raises:
        ModelError: no such file, not ours, damaged, from a newer version, or with missing or unexpected
            tensors.
    """
    path = Path(path)
    with _open(path) as file:
        header = read_header(file, path)
        try:
            description = _describe(header)
            check_config(description.config)
            _check_tensors(description, header)
            potential = build_potential(description.config, _read_tensors(file, header))
        except ModelError as err:
            raise ModelError(
                err.fact, where=f"{path}: {err.where}" if err.where else str(path), hint=err.hint
            ) from err
        sha256 = file_sha256(file)
    return LoadedModel(potential, description.card, sha256, path, description.format_version)


def describe_model(path: str | Path) -> ModelDescription:
    """The description in one of our files; reads no tensor."""
    path = Path(path)
    with _open(path) as file:
        try:
            description = _describe(read_header(file, path))
            check_config(description.config)
        except ModelError as err:
            raise ModelError(
                err.fact, where=f"{path}: {err.where}" if err.where else str(path), hint=err.hint
            ) from err
    return ModelDescription(
        description.config, description.card, description.precision, description.format_version
    )


def build_potential(config: ModelConfig, state: dict[str, Tensor]) -> Potential:
    """A Potential that owns ``state``: no random start, no second copy of the weights."""
    from ..model.potential import Potential
    from ..model.shapes import shapes_only

    with shapes_only():
        shapes = {name: tuple(tensor.shape) for name, tensor in Potential(config).state_dict().items()}
    _check_names(set(state), shapes, state)
    return Potential.from_state(config, state).eval()


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write ``parts`` one after the other to a temporary file beside ``path``, force it to disk, and rename
    it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)


def file_sha256(file: BinaryIO) -> str:
    """Hex digest of a whole open file."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as err:
        raise ModelError(f"Cannot open the model file: {err.strerror}.", where=str(path)) from err


def _describe(header: Header) -> _Description:
    text = header.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            "This .safetensors file has no jmp_calc description, so jmp-calc did not write it.",
            hint="give a file made by jmp-calc finetune or jmp-calc convert",
        )
    try:
        data = plain_json(text)
    except ValueError as err:
        raise ModelError(f"The model description is not valid JSON ({err}).") from err
    version = data.get("format_version") if isinstance(data, dict) else None
    if type(version) is not int or version < 1:
        raise ModelError(f"The model description has no valid format_version ({version!r}).")
    if version > FORMAT_VERSION:
        needs = str(data.get("needs", ""))
        newer = f"jmp-calc>={needs}" if needs.replace(".", "").isdigit() else "jmp-calc"
        raise ModelError(
            f"The file has format version {version}, this jmp-calc reads up to {FORMAT_VERSION}.",
            hint=f"needs a newer version: pip install --upgrade '{newer}'",
        )
    return parse(_Description, data, "header")


def _check_tensors(description: _Description, header: Header) -> None:
    """All floating tensors have the stated precision."""
    wrong = [name for name, entry in header.tensors.items() if entry.dtype != description.precision]
    if wrong:
        raise ModelError(f"{len(wrong)} tensors are not {description.precision}: {first_five(wrong)}.")


def _check_names(found: set[str], expected: dict[str, tuple[int, ...]], state: dict[str, Tensor]) -> None:
    missing = [name for name in expected if name not in found]
    unexpected = sorted(found - set(expected))
    wrong = [
        f"{n} {tuple(state[n].shape)} instead of {s}"
        for n, s in expected.items()
        if n in found and tuple(state[n].shape) != s
    ]
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong)):
        if names:
            raise ModelError(
                f"{len(names)} tensors are {kind}: {first_five(names)}.",
                hint="the file does not hold the network that it describes",
            )


def _read_tensors(file: BinaryIO, header: Header) -> dict[str, Tensor]:
    return {name: _read_tensor(file, name, entry) for name, entry in header.tensors.items()}


def _read_tensor(file: BinaryIO, name: str, entry: TensorEntry) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, entry.dtype)
    if entry.size == 0:
        return torch.empty(entry.shape, dtype=dtype)
    buffer = torch.empty(entry.size, dtype=torch.uint8)
    file.seek(entry.start)
    if file.readinto(buffer.numpy().data) != entry.size:  # type: ignore[attr-defined]
        raise ModelError(f"The file ends inside tensor {name}.", hint="fetch it again")
    tensor = buffer.view(dtype).reshape(entry.shape)
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"The tensor {name} has NaN or infinite values.", hint="the file is damaged")
    return tensor
