"""Further heads beside the new one, whose spread is the uncertainty of its energies."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from jmp_calc.errors import UsageError
from jmp_calc.inference.uncertainty import HeadCommittee

from ..batches.dataset import TargetBatch
from ..batches.loader import Batches
from ..validation.force_deviations import force_factor
from ..validation.validate import without_weight_gradients

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

FORCE_EDGES = 20_000
"""Main edges of the held-out frames whose forces are looked at."""
NOISE = 0.1
"""Standard deviation of what is added to the weights of a head for its members, in units of the root mean
square of each tensor: from one and the same start they would stay too close."""
_MEMBERS = 3
"""What the seed of their weights has beside that of the run."""


def member_names(head: str, count: int) -> tuple[str, ...]:
    """Names of the further heads of a committee of ``count``."""
    return tuple(f"{head}-{number}" for number in range(2, count + 1))


def with_members(potential: Potential, head: str, count: int, seed: int, *, fresh: bool) -> Potential:
    """The network with ``count - 1`` further heads like ``head``, named in its ``committee``.

    Args:
        potential: with the head.
        head: an energy head, the default.
        count: heads in all; 1 changes nothing.
        seed: of the run; their weights have random numbers of their own, that the head has not had.
        fresh: whether they have new weights, or those of the head with some noise.

    Raises:
        UsageError: a head that gives no energy, or a name that another head has.
    """
    if count == 1:
        return potential
    config, names = potential.config, member_names(head, count)
    main = config.head(head)
    if main.kind != "energy":
        raise UsageError("A committee is of heads for energies.", hint="leave out --committee")
    taken = {other.name for other in config.heads}.intersection(names)
    if taken:
        hint = "give the new head another name with --head-name NAME"
        raise UsageError(f"The model already has a head {sorted(taken)[0]!r}.", hint=hint)
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence([seed, _MEMBERS]).generate_state(1)[0]))
        for name in names:
            kept = [other.name for other in potential.config.heads]
            member = dataclasses.replace(main, name=name)
            potential = potential.with_new_head(member, kept, init_from=None if fresh else head)
            if not fresh:
                _disturb(potential, name)
    heads = [
        dataclasses.replace(other, committee=names) if other.name == head else other
        for other in potential.config.heads
    ]
    return potential.with_config(potential.config.with_heads(heads, head))


def _disturb(potential: Potential, head: str) -> None:
    with torch.no_grad():
        for parameter in potential.heads[head].parameters():
            size = parameter.square().mean().sqrt()
            noise = torch.randn(parameter.shape, dtype=parameter.dtype).to(parameter.device)
            parameter.add_(NOISE * size * noise)


def with_committee_scale(potential: Potential, head: str, batches: Batches) -> Potential:
    """The network whose committee has the spread of the errors of ``head`` on held-out frames; as it is
    without a committee or without energies.

    The scale squared is the sum of squared errors over the sum of variances, of energies, each by the number
    of atoms. (The mean of their ratios is no measure: of few members, the variance of some structure is small
    by chance, and of two or three the mean has no limit.) That of forces has a further factor
    (``force_factor``).
    """
    main, squares = potential.config.head(head), list[np.ndarray]()
    if not main.committee:
        return potential
    names, targets = (head, *main.committee), list[TargetBatch]()
    members = HeadCommittee(potential, names, 1.0, 1.0)
    with without_weight_gradients(potential):
        for target in batches.all():
            squares.append(_energy_squares(potential, head, members, target))
            if sum(other.batch.main.count for other in targets) < FORCE_EDGES:
                targets.append(target)
        errors, variances = np.concatenate(squares, axis=1).sum(axis=1) if squares else np.zeros(2)
        if not (errors > 0 and variances > 0):
            return potential
        scale = float(np.sqrt(errors / variances))
        factor = force_factor(potential, head, HeadCommittee(potential, names, scale, 1.0), targets)
    scaled = dataclasses.replace(main, committee_scale=scale, committee_force_factor=factor)
    heads = tuple(scaled if other.name == head else other for other in potential.config.heads)
    return potential.with_config(dataclasses.replace(potential.config, heads=heads))


@torch.no_grad()
def _energy_squares(
    potential: Potential, head: str, committee: HeadCommittee, target: TargetBatch
) -> np.ndarray:
    """Squared errors of ``head`` and variances of its ``committee``, each over the number of atoms: (2, n) of
    structures with energies, eV²."""
    batch, known = target.batch, target.energy_mask
    error = (target.energy - target.reference_energy - potential.readout(batch, head).energy)[known]
    members = committee.members(batch, potential.final_features(batch))
    atoms = torch.bincount(batch.structure, minlength=batch.n_structures)[known]
    found = torch.stack([error.square(), members.var(dim=0)[known]]) / atoms
    squares: np.ndarray = found.cpu().numpy()
    return squares
