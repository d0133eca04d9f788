"""From a pre-trained network to a model file: kept heads, written references, coverage, and a card with its
sources."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jmp_calc.errors import ModelError
from jmp_calc.model.config import HeadConfig, ReferenceKind
from jmp_calc.model.elements import symbol
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model

from ..validation.metrics import Errors
from .domains import Domains
from .mixture import Mixture
from .pack import PackedSet

if TYPE_CHECKING:
    from jmp_calc.zoo.knowledge import Knowledge


def publish(
    path: Path,
    potential: Potential,
    mixture: Mixture,
    sets: Sequence[PackedSet],
    errors: Mapping[str, Errors],
    *,
    unfit: Mapping[str, str] | None = None,
    knowledge: Knowledge | None = None,
    domains: Domains = Domains(),
) -> None:
    """Write the kept heads of ``potential`` with references and card to ``path``, but for ``unfit`` ones.

    ``unfit``: why a head is left out, by its name; another stands for it if it is the default.
    ``domains``: what the heads are trained on, and their errors there.

    Raises:
        ModelError: no head is left.
    """
    unfit = unfit or {}
    kept = [head.name for head in mixture.heads if head.keep and head.name in potential.heads]
    names = [name for name in kept if name not in unfit]
    if not names:
        raise ModelError(
            f"No head can be saved: {'; '.join(f'{name}: {unfit[name]}' for name in kept)}.",
            where=str(path),
            hint="train longer, and look at the energies and forces of the sets",
        )
    smaller = potential.with_heads(names, mixture.defaults(names, domains.seen))
    heads = tuple(
        replace(
            with_references(head, mixture, sets),
            theory=mixture.head(head.name).theory,
            domain=domains.seen.get(head.name, ()),
            errors=domains.errors.get(head.name, ()),
        )
        for head in smaller.config.heads
    )
    written = smaller.with_config(replace(smaller.config, heads=heads))
    known = None
    if knowledge is not None:
        known = replace(knowledge, heads={n: k for n, k in knowledge.heads.items() if n in names})
    save_model(path, written, card(mixture, sets, errors, unfit), known)


def with_references(head: HeadConfig, mixture: Mixture, sets: Sequence[PackedSet]) -> HeadConfig:
    """The head with the reference energies of its sets that train energies, without the constants that some
    of these have."""
    by_name = {item.name: item for item in sets}
    references: dict[int, float] = {}
    isolated = False
    for item in mixture.sets_of(head.name):
        if item.name in by_name and item.energy:
            described = by_name[item.name]
            own = {z: e - described.constants.get(z, 0.0) for z, e in described.references.items()}
            references, isolated = {**own, **references}, isolated or described.isolated_references
    fitted: ReferenceKind = "isolated_atoms" if isolated else "least_squares"
    return replace(
        head,
        references=dict(sorted(references.items())),
        elements=tuple(sorted(references)),
        reference_kind=fitted if references else "none",
    )


def card(
    mixture: Mixture,
    sets: Sequence[PackedSet],
    errors: Mapping[str, Errors],
    unfit: Mapping[str, str],
) -> ModelCard:
    """Sources, licences, constants and validation errors of every set; which heads were left out, and why."""
    theory = {head.name: head.level_of_theory for head in mixture.heads}
    written = [head.name for head in mixture.heads if head.keep and head.name not in unfit]
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
            **({"energy_constants_ev": by_symbol(item.constants)} if item.constants else {}),
            **({} if item.made is None else asdict(item.made)),
        }
        for item in sets
    )
    metrics = {name: found.to_dict() for name, found in errors.items()}
    records = ", ".join(item.name for item in mixture.sets if item.records)
    return ModelCard(
        name=mixture.name,
        created=datetime.date.today().isoformat(),
        licence="MIT (weights); see training_data",
        source="pre-trained from scratch by jmp_calc.training.pretrain on open data",
        training_data=data,
        metrics=metrics,
        energy_reference=energy_reference(written, sets),
        notes=(
            "Held-out sets (training/pretraining/holdout.toml) and all test files were refused, and their "
            "geometries left out" + (f", but for the sets of records: {records}." if records else "."),
            "Energies of different heads belong to different levels of theory: never mix them.",
            *(f"The head {name} was left out: {reason}." for name, reason in unfit.items()),
        ),
    )


def energy_reference(heads: Sequence[str], sets: Sequence[PackedSet]) -> str:
    """What the zeros of energy of these heads mean, in words."""
    exact = {item.head for item in sets if item.isolated_references}
    names = {True: list[str](), False: list[str]()}
    for head in heads:
        names[head in exact].append(head)
    kinds = (
        (True, "isolated atoms of the same method"),
        (
            False,
            "one least squares per head over all its sets, with lone atoms estimated from binding or "
            "cohesive energies where the network has any",
        ),
    )
    text = "; ".join(f"{what}: {', '.join(names[known])}" for known, what in kinds if names[known])
    moved = "; ".join(f"{item.name}: {by_symbol(item.constants)}" for item in sets if item.constants)
    return text + (f". Taken off the labels of a set, eV per atom: {moved}" if moved else "") + "."


def by_symbol(energies: Mapping[int, float]) -> dict[str, float]:
    """Energies by symbol of the element, rounded to 0.1 meV."""
    return {symbol(z): round(energy, 4) for z, energy in sorted(energies.items())}
