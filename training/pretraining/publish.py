"""From a pre-trained network to a model file: kept heads, written references, coverage, and a card with its
sources."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jmp_calc.model.config import HeadConfig
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model

from ..validation.metrics import Errors
from .mixture import Mixture
from .pack import PackedSet


def publish(
    path: Path,
    potential: Potential,
    mixture: Mixture,
    sets: Sequence[PackedSet],
    errors: Mapping[str, Errors],
) -> None:
    """Write the kept heads of ``potential`` with references and card to ``path``."""
    names = [head.name for head in mixture.heads if head.keep and head.name in potential.heads]
    smaller = potential.with_heads(names, mixture.default_head)
    heads = tuple(with_references(head, mixture, sets) for head in smaller.config.heads)
    save_model(path, smaller.with_config(replace(smaller.config, heads=heads)), card(mixture, sets, errors))


def with_references(head: HeadConfig, mixture: Mixture, sets: Sequence[PackedSet]) -> HeadConfig:
    """The head with the reference energies of its sets; where sets share an element the first in the recipe
    counts."""
    by_name = {item.name: item for item in sets}
    references: dict[int, float] = {}
    for item in mixture.sets_of(head.name):
        if item.name in by_name:
            references = {**by_name[item.name].references, **references}
    return replace(
        head,
        references=dict(sorted(references.items())),
        elements=tuple(sorted(references)),
        reference_kind="least_squares" if references else "none",
    )


def card(mixture: Mixture, sets: Sequence[PackedSet], errors: Mapping[str, Errors]) -> ModelCard:
    """Sources, licences and validation errors of every set."""
    theory = {head.name: head.level_of_theory for head in mixture.heads}
    data = tuple(
        {
            "name": item.name,
            "head": item.head,
            "level_of_theory": theory[item.head],
            "files": list(item.files),
            "train_frames": item.n_train,
            "validation_frames": item.n_valid,
            "licence": item.licence,
            "source": item.source,
            "citation": item.citation,
        }
        for item in sets
    )
    metrics = {name: found.to_dict() for name, found in errors.items()}
    first = {head.name: mixture.sets_of(head.name)[0].name for head in mixture.heads if head.keep}
    return ModelCard(
        name=mixture.name,
        created=datetime.date.today().isoformat(),
        licence="MIT (weights); see training_data",
        source="pre-trained from scratch by jmp_calc.training.pretrain on open data",
        training_data=data,
        metrics=metrics,
        energy_reference=(
            "Each head: least-squares energies per element of its first set, elements it lacks from the "
            "next ("
            + ", ".join(f"{head}: {name}" for head, name in first.items())
            + "). Differences between compositions are meaningful only within one set."
        ),
        notes=(
            "Held-out sets (training/pretraining/holdout.toml) and all test files were refused, and their "
            "geometries left out.",
            "Energies of different heads belong to different levels of theory: never mix them.",
        ),
    )
