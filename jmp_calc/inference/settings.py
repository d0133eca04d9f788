"""From constructor arguments to a head and a graph policy; every contradiction is an error that lists the
choices."""

from __future__ import annotations

import dataclasses
import difflib
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..arguments import plain
from ..errors import JMPWarning, ModelError, UsageError
from ..graph.neighbours import NeighbourSearch, neighbour_edges
from ..graph.policy import GraphPolicy, PolicyName
from ..io.regular import exists
from ..model.config import HeadConfig, HeadKind, ModelConfig, StructureKind
from ..model.elements import symbols
from ..model.skill import describe_heads, propose
from .memory import Checkpointing

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from ..graph.build import Graph


Elements = Literal["trained", "any"]
"""What may be computed: elements that the head was trained on, or any that the network has a row for."""
Uncertainty = Literal["last-layer", "committee"]
"""Where standard deviations come from (``uncertainty.py``)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The constructor arguments of a JMPCalculator, explained there; immutable, so that cached results
    cannot go stale."""

    model: str
    head: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    forces: Literal["conservative", "direct"] = "conservative"
    weights: Literal["ema", "raw", "official-ft"] = "ema"
    graph: PolicyName | None = None
    cutoff: float | None = None
    max_neighbors: int | None = None
    tags: Literal["atoms"] | None = None
    elements: Elements = "trained"
    activation_checkpointing: Checkpointing = "auto"
    compile: bool = False
    compiled: str | None = None
    uncertainty: Uncertainty | None = None
    committee: tuple[str, ...] = ()


CHOICES: dict[str, tuple[str | None, ...]] = {
    "forces": ("conservative", "direct"),
    "weights": ("ema", "raw", "official-ft"),
    "graph": (None, "official", "smooth"),
    "tags": (None, "atoms"),
    "elements": ("trained", "any"),
    "activation_checkpointing": ("auto", "on", "off"),
    "uncertainty": (None, "last-layer", "committee"),
}  # fmt: skip


Output = Literal["energy", "scalar", "class", "vector"]
"""What a head gives for a structure: an energy (and its derivatives), one number, a class, or a 3-vector."""
_OUTPUT: dict[HeadKind, Output] = {
    "energy": "energy",
    "scalar": "scalar",
    "spatial_extent": "scalar",
    "binary": "class",
    "multiclass": "class",
    "vector": "vector",
}
_HOW = {
    "energy": "JMPCalculator({model!r})",
    "scalar": "jmp_calc.predict(structures, model={model!r})",
    "class": "jmp_calc.predict_classes(structures, model={model!r})",
    "vector": "jmp_calc.predict_vectors(structures, model={model!r})",
}


def output_of(head: HeadConfig) -> Output:
    """What the head gives for a structure."""
    return _OUTPUT[head.kind]


def portable(model: str | os.PathLike[str]) -> str:
    """The model as a string that means the same in another working directory: paths are made absolute.

    Names of the registry come first: a file or folder of that name is given as ./NAME.

    Raises:
        UsageError: neither a text nor a path.
    """
    from ..zoo.registry import load_registry

    if not isinstance(model, str | os.PathLike):
        raise UsageError(f"The model must be a name or a path, got {model!r}.", hint="such as 'jmp-xs'")
    text = os.fspath(model)
    return text if text in load_registry() else absolute(text)


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute path of what exists; other text as it is, for an error in the user's words."""
    text = os.fspath(path)
    return str(Path(text).absolute()) if text and exists(Path(text)) else text


def dtype_name(dtype: str | torch.dtype) -> str:
    """'float32' of 'float32' and of torch.float32."""
    return str(dtype).removeprefix("torch.")


def check_settings(settings: Settings) -> None:
    """UsageError naming the first argument that is not one of its choices or not a positive number."""
    plain(settings)
    for name in ("head", "compiled"):
        if getattr(settings, name) == "":
            raise UsageError(f"{name}='' names nothing.", hint=f"leave {name} out, or write None")
    for name, choices in CHOICES.items():
        value = getattr(settings, name)
        if value not in choices:
            allowed = ", ".join(repr(choice) for choice in choices)
            raise UsageError(f"{name}={value!r} is not a choice.", hint=f"choose from {allowed}")
    for name in ("cutoff", "max_neighbors"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be positive, got {value!r}.")
    if settings.compile and settings.compiled is not None:
        raise UsageError(
            "compile=True makes a program and compiled=... names a file that has one.",
            hint="give one of them",
        )
    if settings.uncertainty is not None and settings.forces == "direct":
        raise UsageError(
            "An uncertainty is of the energy and its slopes, not of direct forces.",
            hint="leave out uncertainty, or forces='direct'",
        )
    if settings.committee and settings.uncertainty != "committee":
        raise UsageError(
            f"The committee names files, and uncertainty is {settings.uncertainty!r}.",
            hint="write uncertainty='committee' (--uncertainty committee)",
        )


def choose_head(
    config: ModelConfig, settings: Settings, *, gives: Output = "energy", kind: StructureKind
) -> HeadConfig:
    """The head asked for, else the default one for structures of this ``kind``, else the only one that
    ``gives`` this; ModelError listing the heads otherwise."""
    names = [head.name for head in config.heads]
    fitting = [head for head in config.heads if output_of(head) == gives]
    name = asked_name(config, settings)
    if name is None and config.default_heads is not None and gives == "energy":
        name = config.default_heads.of(kind)
    if name is None and len(fitting) == 1:
        name = fitting[0].name
    if name is None and not fitting:
        raise ModelError(
            f"{settings.model} has no head that gives {_article(gives)}: {describe_heads(config.heads)}.",
            hint="jmp-calc finetune --target KEY makes one",
        )
    if name is None:
        raise ModelError(
            f"{settings.model} has {len(names)} heads and no default: {describe_heads(config.heads)}.",
            hint="choose one with head=...",
        )
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        raise ModelError(
            f"{settings.model} has no head {name!r}; it has: {describe_heads(config.heads)}.",
            hint=f"did you mean {close[0]!r}?" if close else "choose one with head=...",
        )
    head = config.head(name)
    if head not in fitting:
        available = propose(fitting) or "none"
        found, plural = output_of(head), {"energy": "energies", "class": "classes"}.get(gives, f"{gives}s")
        hint = (
            f"heads with {plural}: {available}; this one: {_HOW[found].format(model=settings.model)}, "
            "jmp-calc singlepoint or evaluate"
        )
        raise ModelError(f"Head {name!r} gives {_article(found)}, not {_article(gives)}.", hint=hint)
    if settings.forces == "direct" and not (head.direct_forces and config.backbone.force_branch):
        direct = [other for other in fitting if other.direct_forces]
        raise ModelError(
            f"Head {name!r} has no direct forces.",
            hint=f"heads that have: {propose(direct)}" if direct else "use forces='conservative'",
        )
    return head


def asked_name(config: ModelConfig, settings: Settings) -> str | None:
    """Present name of the head that the settings mean whatever the structure; None: they mean none."""
    name = config.default_head if settings.head is None else settings.head
    return None if name is None else config.present_name(name)


def _article(output: Output) -> str:
    return f"{'an' if output == 'energy' else 'a'} {output}"


def choose_policy(config: ModelConfig, head: HeadConfig, settings: Settings) -> GraphPolicy:
    """The file's graph policy with the head's cutoff and the caller's overrides (UsageError, ModelError)."""
    policy = config.policy
    if policy.name == "smooth" and settings.graph == "official":
        raise ModelError(
            f"{settings.model} was trained with smooth graphs: the official ones are another function.",
            hint="leave out graph='official'",
        )
    if policy.name == "smooth" and settings.cutoff is not None and settings.cutoff != policy.cutoff:
        raise ModelError(
            f"{settings.model} was trained with a cutoff of {policy.cutoff:g} Å; with {settings.cutoff:g} Å "
            "it would give "
            "another function.",
            hint="leave out cutoff",
        )
    if policy.name == "smooth" and not policy.adaptive and settings.max_neighbors is not None:
        raise UsageError(
            "max_neighbors has no meaning here: this smooth policy has fixed cutoffs and no limit."
        )
    cutoff = settings.cutoff or (head.cutoff if policy.name == "official" else None) or policy.cutoff
    policy = dataclasses.replace(policy, cutoff=float(cutoff))
    if settings.max_neighbors is not None:  # one number for all sizes
        policy = dataclasses.replace(policy, max_neighbors=int(settings.max_neighbors), fewer_neighbors=())
    if policy.name == "official" and settings.graph == "smooth":
        from ..graph.selection import smooth_for_official

        policy = smooth_for_official(policy.cutoff, policy.max_neighbors, policy.fewer_neighbors)
    if policy.name == "smooth" and settings.tags == "atoms":
        raise UsageError(
            "Smooth graphs do not read tags.",
            hint="leave out tags, or use official weights with graph='official'",
        )
    return dataclasses.replace(policy, tags=settings.tags or "ignore")


def uncovered(head: HeadConfig, numbers: Iterable[int]) -> tuple[int, ...]:
    """Atomic numbers that the head was not trained on; none where its coverage is not known."""
    if head.elements is None:
        return ()
    return tuple(sorted({int(number) for number in numbers} - set(head.elements)))


def check_covered(
    config: ModelConfig, head: HeadConfig, numbers: np.ndarray, model: str, *, where: str | None = None
) -> None:
    """ModelError for elements that the head was not trained on, with the heads of ``model`` that cover them
    all; atomic numbers of shape (N,)."""
    missing = uncovered(head, numbers)
    if not missing:
        return
    others = [
        other
        for other in config.heads
        if other.kind == "energy" and other.elements is not None and not uncovered(other, numbers)
    ]
    anyway = "elements='any' (--elements any) computes all the same"
    fit = f"heads that cover this structure: {propose(others)}; choose one with head='NAME' (--head NAME)"
    raise ModelError(
        f"Head {head.name!r} was not trained on {', '.join(symbols(missing))}; "
        f"it covers {' '.join(symbols(head.elements or ()))}.",
        where=where,
        hint=f"{fit if others else f'no head of {model} covers this structure'}; {anyway}",
    )


def warn_of_uncovered(head: HeadConfig, numbers: Iterable[int]) -> None:
    """JMPWarning for elements that the head was not trained on, where they are computed all the same."""
    missing = uncovered(head, numbers)
    if missing:
        warnings.warn(
            JMPWarning(
                f"Head {head.name!r} was not trained on {', '.join(symbols(missing))}: "
                "what it gives for them is arbitrary."
            ),
            stacklevel=2,
        )


def unknown(config: ModelConfig, numbers: np.ndarray) -> set[int]:
    """Those of the atomic numbers (N,) that no head was trained on."""
    return set(numbers.tolist()).intersection(*(uncovered(head, numbers) for head in config.heads))


def warn_of_unknown(model: str, numbers: Iterable[int]) -> None:
    """JMPWarning for elements that no head was trained on, where their features are computed all the same."""
    text = f"No head of {model} was trained on {', '.join(symbols(numbers))}: their features are arbitrary."
    warnings.warn(JMPWarning(text), stacklevel=2)


def check_known(config: ModelConfig, numbers: np.ndarray, model: str) -> None:
    """ModelError for elements that no head of ``model`` was trained on: their features would be arbitrary;
    atomic numbers of shape (N,)."""
    strange = unknown(config, numbers)
    if strange:
        raise ModelError(
            f"No head of {model} was trained on {', '.join(symbols(strange))}.",
            hint="leave out these structures, or choose a model that knows them; "
            "elements='any' (--elements any) computes all the same",
        )


def structure_graph(atoms: Atoms, config: ModelConfig, search: NeighbourSearch = neighbour_edges) -> Graph:
    """The neighbour graphs of one structure (numpy) under the graph policy of ``config``."""
    from ..graph.build import build_graph

    policy = config.policy
    tags = atoms.get_tags() if policy.tags == "atoms" else None
    return build_graph(
        np.array(atoms.positions, dtype=float),
        np.array(atoms.numbers),
        atoms.cell.array.copy(),
        np.array(atoms.pbc),
        policy,
        tags,
        config.backbone.qint_tags,
        search,
    )
