"""What a resumed pre-training must have in common with its beginning, beside its training settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.errors import UsageError
from jmp_calc.io.summary import plain
from jmp_calc.model.config import model_config_from_dict

from ..config import config_diff
from ..run.checkpoint import Checkpoint
from .mixture import Mixture
from .source_set import SourceSet

if TYPE_CHECKING:
    from .recipe import PretrainRecipe


def pretrain_identity(recipe: PretrainRecipe, sets: Sequence[SourceSet]) -> dict[str, Any]:
    """Frames, mixture and network.

    Where the data are, and what is only told of them, may change. Frames that a stage makes are known by the
    recipe, its seed and the versions of their teachers: labels of another machine differ in their last bits.
    """
    mixture = plain(
        {field.name: getattr(recipe.mixture, field.name) for field in dataclasses.fields(Mixture)}
    )
    for kind in ("heads", "sets"):
        mixture[kind] = {item.pop("name"): item for item in mixture[kind]}
    for item in mixture["heads"].values():
        del item["theory"]
    for item in mixture["sets"].values():
        for told in ("domain", "files", "records", "valid_records", "licence", "source", "citation"):
            del item[told]
    made = {item.name for item in recipe.mixture.sets if item.made is not None}
    frames: dict[str, Any] = {
        source.name: {"frames": len(source.train), "sha256": source.fingerprint}
        for source in sets
        if source.name not in made
    }
    for source in sets:
        if source.described.made is not None:
            frames[source.name] = {"labels": source.described.made.labels}
    stage = 0 if recipe.stage is None else recipe.stage.number
    return {"sets": frames, "mixture": mixture, "model": plain(recipe.model), "stage": stage}


def refuse_other_network(state: Checkpoint, recipe: PretrainRecipe, path: Path) -> None:
    """UsageError if the recipe has another network than the saved run, which no ``--override`` can change."""
    saved = model_config_from_dict(state.model_config)
    heads = (
        {"heads": ", ".join(head.name for head in saved.heads)},
        {"heads": ", ".join(h.name for h in recipe.mixture.heads)},
    )
    changes = config_diff(state.data.get("model", {}), plain(recipe.model), "model.") + config_diff(*heads)
    if changes:
        raise UsageError(
            f"The saved run has another network: {'; '.join(changes)}.",
            where=str(path),
            hint="set it as it was, or start another run with -o DIR",
        )
