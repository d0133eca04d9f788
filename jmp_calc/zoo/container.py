"""Our model file: one ``.safetensors`` with a versioned JSON description, format version 2.

The metadata key ``jmp_calc`` holds a JSON object: ``format_version``, ``needs`` (the jmp-calc that can read
it), ``config`` (ModelConfig), ``precision`` and ``card`` (ModelCard). Beside it lies the SHA-256 of the
content (``header.py``), which every reading checks. The tensors are the weights, and arrays that the file
knows of its training data (``knowledge.py``), the pairs of the heads among them. Loading parses numbers and
texts only: nothing is unpickled, nothing is imported by name. Version 1 files stay readable for ever
(``upgrade.py``), those of before the hash too.

Example: ``save_model("mine.safetensors", potential, card)``; ``load_model("mine.safetensors").potential``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import ModelError
from ..io.atomic import replacing
from ..io.regular import open_regular
from ..io.schema import first_five, parse
from ..model.config import ModelConfig, to_dict
from .description import FORMAT_VERSION, METADATA_KEY, NEEDS, Description, ModelCard, read_description
from .header import (
    HASH_KEY,
    MAX_HEADER_BYTES,
    NO_HASH,
    Header,
    TensorEntry,
    encode_header,
    read_header,
)
from .knowledge import PREFIX, Knowledge, arrays_of, check_layout, from_tensors, without_arrays
from .limits import check_config, least_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.potential import Potential

_CHUNK = 1 << 22


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
    content_sha256: str | None = None
    """The hash that the file records of its content, found right; None: it records none."""
    knowledge: Knowledge = field(default_factory=Knowledge)
    """Statistics of the features of its training data; none of files that have none."""


@dataclass(frozen=True)
class ModelDescription:
    """The header of one of our files without its tensors."""

    config: ModelConfig
    card: ModelCard
    precision: str
    format_version: int
    sha256: str
    """Of the whole file."""
    content_sha256: str | None
    """As in LoadedModel."""
    knowledge: Knowledge


def save_model(
    path: str | Path, potential: Potential, card: ModelCard, knowledge: Knowledge | None = None
) -> None:
    """Write ``potential``, ``card`` and what is known of its training data to ``path``: the file appears
    complete or not at all.

    Raises:
        ModelError: the weights are not all of one precision (float32 or float64) or not finite, the card is
            longer than a reader accepts, or the knowledge is not of this network.
    """
    import torch

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in potential.state_dict().items()}
    precision = _precision(state)
    check_config(potential.config)
    known = _known_tensors(knowledge or Knowledge(), potential.config)
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "needs": NEEDS,
        "config": to_dict(without_arrays(potential.config)),
        "precision": precision,
        "card": asdict(card),
    }
    text = json.dumps(description, allow_nan=False, ensure_ascii=False)
    parse(Description, json.loads(text), "header")  # what cannot be read back is not written
    # Wide numbers first, so that all of them are aligned.
    tensors = dict(sorted({**state, **known}.items(), key=lambda item: -item[1].itemsize))
    layout = {name: (dtype_name(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}
    header = encode_header(layout, {HASH_KEY: NO_HASH, METADATA_KEY: text})
    if len(header) > MAX_HEADER_BYTES:
        raise ModelError(
            f"The description of the model has {len(header)} bytes, at most {MAX_HEADER_BYTES} can be read.",
            hint="shorten the card of the model",
        )
    data = [memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data) for tensor in tensors.values()]
    digest = hashlib.sha256(header)
    for part in data:
        digest.update(part)
    header = header.replace(NO_HASH.encode(), digest.hexdigest().encode(), 1)
    write_atomically(Path(path), chain([header], data))


def _known_tensors(knowledge: Knowledge, config: ModelConfig) -> dict[str, Tensor]:
    """The arrays beside the weights, after the checks that reading them makes."""
    import torch

    arrays = arrays_of(knowledge, config)
    tensors = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}
    entries = {name: TensorEntry(dtype_name(t), tuple(t.shape), 0, t.nbytes) for name, t in tensors.items()}
    check_layout(entries, config)
    _check_finite(tensors)
    from_tensors(tensors, config)
    return tensors


def dtype_name(tensor: Tensor) -> str:
    """The type of the numbers of a tensor of any shape: float32 of torch.float32."""
    return str(tensor.dtype).removeprefix("torch.")


def _precision(state: dict[str, Tensor]) -> str:
    """Name of the one floating type of all tensors; ModelError if they have several, or are not finite."""
    import torch

    dtypes = {tensor.dtype for tensor in state.values()}
    names = {torch.float32: "float32", torch.float64: "float64"}
    if len(dtypes) != 1 or not dtypes <= set(names):
        raise ModelError(
            f"Weights of types {sorted(map(str, dtypes))} cannot be saved.", hint="convert the model first"
        )
    bad = [name for name, tensor in state.items() if not is_finite(tensor)]
    if bad:
        raise ModelError(
            f"{len(bad)} tensors are not finite: {first_five(bad)}.", hint="the training has diverged"
        )
    return names[dtypes.pop()]


def load_model(path: str | Path) -> LoadedModel:
    """Read one of our files; the potential is on the CPU in the file's precision.

    Raises:
        ModelError: no such file, not ours, damaged (its content has not the hash that it records), from a
            newer version, or with missing or unexpected tensors.
    """
    from ..model.potential import Potential

    path = Path(path)
    with _open(path) as file, _naming(path):
        header = read_header(file, path)
        description = read_description(header)
        check_config(description.config)
        weights, _ = _check_tensors(description, header)
        hashes = _Hashes(header)
        tensors = {name: _read_tensor(file, name, entry, hashes) for name, entry in header.tensors.items()}
        hashes.check()
        _check_finite(tensors)
        state = {name: tensors.pop(name) for name in weights}
        config, knowledge = _with_arrays(description.config, tensors)
        potential = Potential.from_state(config, state).eval()
    return LoadedModel(
        potential,
        description.card,
        hashes.file,
        path,
        description.format_version,
        header.recorded,
        knowledge,
    )


def describe_model(path: str | Path) -> ModelDescription:
    """The description in one of our files, after the check of its hash; makes no network.

    Raises:
        ModelError: no such file, not ours, damaged, or from a newer version.
    """
    path = Path(path)
    with _open(path) as file, _naming(path):
        header = read_header(file, path)
        description = read_description(header)
        check_config(description.config)
        _, known = _parts(description, header)
        check_layout(known, description.config)
        hashes, tensors = _Hashes(header), {}
        for name, entry in header.tensors.items():
            if name in known:
                tensors[name] = _read_tensor(file, name, entry, hashes)
                continue
            for begin in range(0, entry.size, _CHUNK):
                hashes.update(file.read(min(_CHUNK, entry.size - begin)))
        hashes.check()
        _check_finite(tensors)
        config, knowledge = _with_arrays(description.config, tensors)
    return ModelDescription(
        config,
        description.card,
        description.precision,
        description.format_version,
        hashes.file,
        header.recorded,
        knowledge,
    )


def _with_arrays(config: ModelConfig, tensors: dict[str, Tensor]) -> tuple[ModelConfig, Knowledge]:
    """The configuration with what its heads know in arrays, and the knowledge; ModelError for damaged
    ones."""
    config, knowledge = from_tensors(tensors, config)
    check_config(config)
    return config, knowledge


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors inside name the file."""
    try:
        yield
    except ModelError as err:
        if err.where is not None and err.where.startswith(str(path)):
            raise
        where = f"{path}: {err.where}" if err.where else str(path)
        raise ModelError(err.fact, where=where, hint=err.hint) from err


class _Hashes:
    """SHA-256 of a file and of its content, from one reading of the data behind the header."""

    def __init__(self, header: Header) -> None:
        self._recorded = header.recorded
        self._file = hashlib.sha256(header.raw)
        self._content = None if self._recorded is None else hashlib.sha256(header.hashed)

    def update(self, part: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._file.update(part)
        if self._content is not None:
            self._content.update(part)

    @property
    def file(self) -> str:
        """Hex digest of all bytes so far."""
        return self._file.hexdigest()

    def check(self) -> None:
        """ModelError if the content is not the one whose hash the file records."""
        if self._content is None or self._content.hexdigest() == self._recorded:
            return
        raise ModelError(
            f"The model file is damaged or was edited: the SHA-256 of its content is "
            f"{self._content.hexdigest()[:12]}…, it was written with {str(self._recorded)[:12]}….",
            hint="fetch, copy or write it again; no result of it can be trusted",
        )


def build_potential(config: ModelConfig, state: dict[str, Tensor]) -> Potential:
    """A Potential that owns ``state``: no random start, no second copy of the weights."""
    from ..model.potential import Potential

    _check_names({name: tuple(tensor.shape) for name, tensor in state.items()}, config)
    return Potential.from_state(config, state).eval()


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write ``parts`` one after the other to a temporary file beside ``path``, force it to disk, and rename
    it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any shape has neither NaN nor infinite values, found without a copy of it."""
    import torch

    # A NaN is the least and the greatest of its tensor; isfinite() would make arrays of the tensor's size.
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as err:
        raise ModelError(f"Cannot open the model file: {err.strerror}.", where=str(path)) from err


_Entries = dict[str, TensorEntry]


def _check_tensors(description: Description, header: Header) -> tuple[_Entries, _Entries]:
    """Weights and other arrays: those of the described network, in the stated precision, and those that there
    are; none is read for it."""
    weights, known = _parts(description, header)
    wrong = [name for name, entry in weights.items() if entry.dtype != description.precision]
    if wrong:
        raise ModelError(f"{len(wrong)} tensors are not {description.precision}: {first_five(wrong)}.")
    _check_names({name: entry.shape for name, entry in weights.items()}, description.config)
    check_layout(known, description.config)
    return weights, known


def _parts(description: Description, header: Header) -> tuple[_Entries, _Entries]:
    """Weights and other arrays by their names; format version 1 has weights only."""
    prefix = PREFIX if description.format_version > 1 else "\0"
    known = {name: entry for name, entry in header.tensors.items() if name.startswith(prefix)}
    return {name: entry for name, entry in header.tensors.items() if name not in known}, known


def _check_names(found: Mapping[str, tuple[int, ...]], config: ModelConfig) -> None:
    from ..model.potential import Potential
    from ..model.shapes import shapes_only

    hint = "the file does not hold the network that it describes"
    if len(found) < least_tensors(config):  # before modules are made, whose number the file chooses
        raise ModelError(
            f"The file has {len(found)} tensors, its network has at least {least_tensors(config)}.", hint=hint
        )
    with shapes_only():
        expected = {name: tuple(tensor.shape) for name, tensor in Potential(config).state_dict().items()}
    missing = [name for name in expected if name not in found]
    unexpected = sorted(set(found) - set(expected))
    wrong = [f"{n} {found[n]} instead of {s}" for n, s in expected.items() if n in found and found[n] != s]
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong)):
        if names:
            raise ModelError(f"{len(names)} tensors are {kind}: {first_five(names)}.", hint=hint)


def _check_finite(state: dict[str, Tensor]) -> None:
    bad = [name for name, tensor in state.items() if not is_finite(tensor)]
    if bad:
        raise ModelError(
            f"{len(bad)} tensors have NaN or infinite values: {first_five(bad)}.", hint="the file is damaged"
        )


def _read_tensor(file: BinaryIO, name: str, entry: TensorEntry, hashes: _Hashes) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, entry.dtype)
    if entry.size == 0:
        return torch.empty(entry.shape, dtype=dtype)
    buffer = torch.empty(entry.size, dtype=torch.uint8)
    file.seek(entry.start)
    if file.readinto(buffer.numpy().data) != entry.size:  # type: ignore[attr-defined]
        raise ModelError(f"The file ends inside tensor {name}.", hint="fetch it again")
    hashes.update(buffer.numpy().data)
    return buffer.view(dtype).reshape(entry.shape)
