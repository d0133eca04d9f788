"""Screened nuclear repulsion at short range, so that dynamics cannot fall into overlapping atoms.

Ziegler, Biersack, Littmark (1985) universal potential, faded out smoothly. Of a head that knows the shortest
distance of every element pair in its training data it ends there, and is zero at every distance that occurs
in them; pairs without data end at the sum of covalent radii. Heads of older files fade it out between two
shares of that sum (docs/smooth.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..units import BOHR, COULOMB
from .config import HeadConfig
from .elements import COVALENT_RADII, pair_numbers
from .envelopes import smooth_step
from .heads import ChosenHeads
from .tables import Float64Table

SCREENING_LENGTH = 0.8854 * BOHR
"""Å; divided by Z_i^0.23 + Z_j^0.23."""
TRAINED_FADE = (0.6, 1.0)
"""Shares of the shortest trained distance between which the repulsion goes from full strength to zero."""
FADE = (0.35, 0.75)
"""The same of the sum of covalent radii, for heads that do not know their shortest distances."""
_COUNT = len(COVALENT_RADII)


class PairRepulsion:
    """ZBL repulsion per directed edge (half a pair each), ending where the head of the edge says."""

    def __init__(self, heads: Sequence[HeadConfig]) -> None:
        self.strengths = Float64Table([0.1818, 0.5099, 0.2802, 0.02817])
        self.decays = Float64Table([3.2, 0.9423, 0.4029, 0.2016])
        sums = Float64Table(covalent_sums())
        self._reaches = {
            head.name: sums if head.pairs is None else Float64Table(trained_reaches(head.pairs))
            for head in heads
        }
        self._fades = {head.name: FADE if head.pairs is None else TRAINED_FADE for head in heads}

    def reach(self, head: str) -> Float64Table:
        """Where the repulsion of every pair of elements ends under a head, Å."""
        return self._reaches[head]

    def __call__(
        self, length: Tensor, source_number: Tensor, target_number: Tensor, heads: ChosenHeads, target: Tensor
    ) -> Tensor:
        """Energies (E,) in eV, float64, of edges of given lengths (E,) in Å to the atoms ``target`` (E,)."""
        length = length.to(torch.float64)
        device = length.device
        z_source, z_target = source_number.to(torch.float64), target_number.to(torch.float64)
        ratio, start, end = self._ends(length, source_number * _COUNT + target_number, heads, target)
        fade = smooth_step((end - ratio) / (end - start))
        screened = length * (z_source**0.23 + z_target**0.23) / SCREENING_LENGTH
        terms = self.strengths.on(device) * torch.exp(-screened.unsqueeze(-1) * self.decays.on(device))
        return 0.5 * COULOMB * z_source * z_target / length * terms.sum(-1) * fade

    def _ends(
        self, length: Tensor, pair: Tensor, heads: ChosenHeads, target: Tensor
    ) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Lengths (E,) over the reach of each edge's pair of elements under its head, and the shares of it
        between which the repulsion fades: numbers, or of heads of both kinds (E,)."""
        names = [head.name for head in heads.configs]
        reaches = [self._reaches[name].on(length.device)[pair] for name in names]
        fades = [self._fades[name] for name in names]
        if heads.choice is None:
            return length / reaches[0], *fades[0]
        choice = heads.choice.index_select(0, target)
        ratio = length / torch.stack(reaches).gather(0, choice.unsqueeze(0)).squeeze(0)
        if len(set(fades)) == 1:
            return ratio, *fades[0]
        trained = choice < 0
        for number, fade in enumerate(fades):
            if fade == TRAINED_FADE:
                trained = trained | (choice == number)
        one = torch.ones_like(length)
        start, end = (torch.where(trained, a * one, b * one) for a, b in zip(TRAINED_FADE, FADE, strict=True))
        return ratio, start, end


def covalent_sums() -> list[float]:
    """Sum of the covalent radii in Å of every pair of elements, the pair (i, j) at i * count + j."""
    return [one + other for one in COVALENT_RADII for other in COVALENT_RADII]


def trained_reaches(pairs: dict[str, float]) -> list[float]:
    """Where the repulsion of every pair of elements ends, Å: at its shortest trained distance, else at the
    sum of the covalent radii; ``pairs`` as in ``HeadConfig``."""
    reaches = covalent_sums()
    for name, shortest in pairs.items():
        one, other = pair_numbers(name)
        reaches[one * _COUNT + other] = reaches[other * _COUNT + one] = shortest
    return reaches
