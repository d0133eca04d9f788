"""The JSON object in the header of our model files: what the network is, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ModelError
from ..io.schema import first_five, parse
from ..model.config import ModelConfig
from .header import HASH_KEY, Header, plain_json
from .upgrade import upgraded

FORMAT_VERSION = 2
METADATA_KEY = "jmp_calc"
NEEDS = "0.1"
"""Oldest jmp-calc that reads this format version."""


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
class Description:
    """The JSON object, of this format version."""

    format_version: int
    needs: str
    config: ModelConfig
    precision: Literal["float32", "float64"]
    card: ModelCard


def read_description(header: Header) -> Description:
    """The description in a header, as the present format version has it; ModelError for one that is none."""
    text = header.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            "This .safetensors file has no jmp_calc description, so jmp-calc did not write it.",
            hint="give a file made by jmp-calc finetune or jmp-calc convert",
        )
    unknown = sorted(set(header.metadata) - {METADATA_KEY, HASH_KEY, "format"})
    if unknown:  # a damaged name of the hash would else be a file without hash
        raise ModelError(
            f"The file has metadata that jmp-calc does not write: {first_five(unknown)}.",
            hint="fetch or write it again",
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
    if version > 1 and header.recorded is None:
        raise ModelError("The file records no hash of its content.", hint="fetch or write it again")
    description = parse(Description, upgraded(data), "header")
    if any(head.pairs is not None for head in description.config.heads):
        raise ModelError("Pairs of heads are arrays in a model file, and stand in its description.")
    return description
