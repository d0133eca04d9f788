"""What the heads of a pre-training are trained on, and their errors on held-out frames of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jmp_calc.model.config import Domain, DomainErrors

from ..validation.domains import domain_errors, domain_of, domains_of, in_order
from ..validation.metrics import Predictions
from .mixture import Mixture
from .source_set import SourceSet


@dataclass(frozen=True)
class Domains:
    """By name of the head."""

    seen: Mapping[str, tuple[Domain, ...]] = field(default_factory=dict)
    """What its training frames are."""
    errors: Mapping[str, tuple[DomainErrors, ...]] = field(default_factory=dict)


def domains_with_errors(mixture: Mixture, sets: Sequence[SourceSet], predictions: Predictions) -> Domains:
    """Of all heads; ``predictions`` are those of all validation frames, set by set."""
    items = {item.name: item for item in mixture.sets}
    seen: dict[str, tuple[Domain, ...]] = {}
    of_frames: list[Domain] = []
    heads: list[str] = []
    for source in sets:
        item = items[source.name]
        told = item.domain
        own = domains_of(source.train) if told is None else (told,)
        seen[item.head] = in_order((*seen.get(item.head, ()), *own))
        of_frames += [domain_of(frame) if told is None else told for frame in source.valid]
        heads += [item.head] * len(source.valid)
    names = np.asarray(heads)
    return Domains(seen, {name: domain_errors(predictions, of_frames, names == name) for name in seen})
