"""Descriptions of model files of earlier format versions, made into what the present one says.

One small step for each version. A step never changes what a model computes: what later versions do
otherwise, it switches off.
"""

from __future__ import annotations

from typing import Any

from ..errors import ModelError

_NEW_IN_2 = {
    "config": ("default_heads", "head_aliases"),
    "head": ("theory", "domain", "binding_gate", "pairs", "errors"),
}


def upgraded(description: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a header, as the present format version has it; its ``format_version`` stays.

    Raises:
        ModelError: it has what its version did not know.
    """
    if description["format_version"] == 1:
        return _from_1_to_2(description)
    return description


def _from_1_to_2(description: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knows domains, theories in fields, trained pairs, errors and defaults by kind of structure;
    of a file of version 1 none of them is known. Binding energies faded with the envelope of the cutoff, and
    the repulsion with shares of the covalent radii (heads without pairs)."""
    config = description.get("config")
    if not isinstance(config, dict):
        return description
    heads = config.get("heads")
    listed = [head for head in heads if isinstance(head, dict)] if isinstance(heads, list) else []
    for place, table, names in (
        ("header.config", [config], _NEW_IN_2["config"]),
        ("header.config.heads", listed, _NEW_IN_2["head"]),
    ):
        for name in names:
            if any(name in item for item in table):
                raise ModelError(f"Unknown key {name!r} in a file of format version 1.", where=place)
    if not listed or len(listed) != len(heads or ()):
        return description
    faded = [{**head, "binding_gate": "envelope", "pairs": None} for head in listed]
    return {**description, "config": {**config, "heads": faded}}
