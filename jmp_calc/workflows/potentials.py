"""What identifies the potential of a run: what goes on with earlier results, or is summed with them, must
have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.summary import plain

if TYPE_CHECKING:
    from ase import Atoms

_WHERE = {"atoms", "command", "directory", "label", "logfile", "restart", "txt"}
"""Parameters of calculators that say where they compute, not what."""
_LARGE = 32
"""Numbers of an array beyond which its digest stands for it."""


def potential(calculator: Any) -> dict[str, Any]:
    """What identifies a calculator in plain words: of a JMP model its hash and settings, of others the class
    and their parameters, of sums the parts."""
    info, parameters = getattr(calculator, "info", None), getattr(calculator, "parameters", None) or {}
    if info is not None and hasattr(info, "sha256"):
        words = {name: getattr(info, name) for name in ("sha256", "dtype", "forces", "weights")}
        # The head that the first structure decides for is not known yet, or already: the same run either way.
        words |= {"head": parameters.get("head"), "graphs": info.policy}
        added = getattr(calculator, "dispersion", None)
        return dict(plain(words if added is None else words | {"dispersion": added}))
    return {"name": type(calculator).__name__, **parameters_of(calculator)}


def parameters_of(calculator: Any) -> dict[str, Any]:
    """The parameters of a calculator that is not ours, as plain data; of a sum of calculators its parts and
    their weights."""
    parameters = getattr(calculator, "parameters", None) or {}
    known = {str(name): value for name, value in dict(parameters).items() if value is not None}
    found = {name: identifying(known[name]) for name in sorted(known) if name not in _WHERE}
    mixer = getattr(calculator, "mixer", None)
    if mixer is not None and hasattr(mixer, "calcs"):
        found |= {"parts": [potential(part) for part in mixer.calcs], "weights": identifying(mixer.weights)}
    return found


def identifying(value: Any) -> Any:
    """A value as plain data; what is none by its class: the texts of objects may hold addresses."""
    if value is None or isinstance(value, str | bool | int | float):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(name): identifying(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [identifying(item) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
        if value.size > _LARGE:
            return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return value.tolist()
    return type(value).__name__


def model_fingerprint(atoms: Atoms) -> str:
    """Words that identify the potential of ``atoms``: of a JMP model its hash, head, precision, weights,
    graphs and the tags that it reads; of others class and parameters."""
    calc = atoms.calc
    info, added = getattr(calc, "info", None), getattr(calc, "dispersion", None)
    name = type(calc).__name__ + ("" if added is None else f" {added}")
    if info is None or not hasattr(info, "sha256"):
        return " ".join([name, *(f"{word}={_text(value)}" for word, value in parameters_of(calc).items())])
    graphs = {field: _text(value) for field, value in asdict(info.policy).items()}
    if info.policy.tags == "atoms":
        graphs["tags"] = hashlib.sha256(atoms.get_tags().astype(np.int64).tobytes()).hexdigest()
    words = [name, info.sha256, f"head={info.head}", f"dtype={info.dtype}", f"forces={info.forces}"]
    return " ".join(
        [*words, f"weights={info.weights}", *(f"graphs.{field}={value}" for field, value in graphs.items())]
    )


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
