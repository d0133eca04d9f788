"""Screened nuclear repulsion at short range, so that dynamics cannot fall into overlapping atoms.

Ziegler, Biersack, Littmark (1985) universal potential, faded out smoothly between two shares of the sum of
covalent radii. It is zero at nearly all bond lengths, but training data of compressed or hot metals have some
shorter pairs: there the network learns what is missing (docs/smooth.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..units import BOHR, COULOMB
from .elements import COVALENT_RADII
from .envelopes import smooth_step
from .tables import Float64Table

SCREENING_LENGTH = 0.8854 * BOHR
"""Å; divided by Z_i^0.23 + Z_j^0.23."""
FADE = (0.35, 0.75)
"""Shares of the sum of covalent radii between which the repulsion goes from full strength to zero."""


class PairRepulsion:
    """ZBL repulsion per directed edge (half a pair each)."""

    def __init__(self) -> None:
        self.radii = Float64Table(COVALENT_RADII)
        self.strengths = Float64Table([0.1818, 0.5099, 0.2802, 0.02817])
        self.decays = Float64Table([3.2, 0.9423, 0.4029, 0.2016])

    def __call__(self, length: Tensor, source_number: Tensor, target_number: Tensor) -> Tensor:
        """Energies (E,) in eV, float64, of edges of given lengths (E,) in Å."""
        length = length.to(torch.float64)
        radii, device = self.radii.on(length.device), length.device
        z_source, z_target = source_number.to(torch.float64), target_number.to(torch.float64)
        reach = radii[source_number] + radii[target_number]
        fade = smooth_step((FADE[1] - length / reach) / (FADE[1] - FADE[0]))
        screened = length * (z_source**0.23 + z_target**0.23) / SCREENING_LENGTH
        terms = self.strengths.on(device) * torch.exp(-screened.unsqueeze(-1) * self.decays.on(device))
        return 0.5 * COULOMB * z_source * z_target / length * terms.sum(-1) * fade
