"""How far the errors of forces are from the standard deviations that follow from those of energies.

A scale that makes deviations of energies right on held-out frames does not make those of forces right: the
first are of sums over whole structures. So forces have a factor of their own, from held-out forces.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jmp_calc.inference.uncertainty import Source
    from jmp_calc.model.potential import Potential

    from ..batches.dataset import TargetBatch


def force_factor(potential: Potential, head: str, source: Source, targets: Iterable[TargetBatch]) -> float:
    """Root of the mean ratio of squared errors to variances, over the components of labelled forces; of a
    few members of the ratio of their means, as the variance of some component is nearly 0 by chance.

    Args:
        potential: whose forces are judged, as derivatives of the energy.
        head: of the energy.
        source: of the deviations, for this head.
        targets: held-out structures.

    Returns:
        A positive number; 1 where no forces are labelled, or none of them varies.
    """
    errors, variances = 0.0, 0.0
    for target in targets:
        known = target.forces_mask[target.batch.structure] & target.free
        if not bool(known.any()):
            continue
        found = potential(target.batch, heads=head, forces="conservative").forces
        slopes = potential.slopes(target.batch, partial(source.members, target.batch))
        with torch.no_grad():
            variance = source.spread(slopes).square()[known]
            square = (found - target.forces)[known].square().to(variance.dtype)
            varying = variance > 0
            square, variance = square[varying], variance[varying]
            weights = torch.ones_like(variance) if source.few else 1 / variance
        errors += float((weights * square).sum())
        variances += float((weights * variance).sum())
    factor = (errors / variances) ** 0.5 if variances else 0.0
    return factor if 0.0 < factor < float("inf") else 1.0
