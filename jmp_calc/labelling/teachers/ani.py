"""ANI-2x by torchani: eight networks for molecules of H, C, N, O, F, S and Cl, in batches.

The energy is the mean of the networks, with their self-energies in double precision; what they disagree by
is the spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ...units import HARTREE
from ..labels import Batches, Labels, TeacherFacts, TeacherSpec
from .digests import folder_sha256

if TYPE_CHECKING:
    from ase import Atoms

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)
TOGETHER = Batches(frames=64, atoms=4096)
MEMBERS = 8
FREE_ATOMS = {
    1: -0.4993212, 6: -37.8338334, 7: -54.5732825, 8: -75.0424519,
    9: -99.6949007, 16: -398.0814169, 17: -460.1167006,
}  # fmt: skip
"""Hartree: wB97X/6-31G(d) of atoms in their ground states, as torchani (2.3 on) publishes them. The networks
never saw a free atom; what they say of one is an average of bonded ones, electronvolts too low."""


class Ani:
    """The ensemble; its files are read by torchani's own reader."""

    def __init__(self, spec: TeacherSpec) -> None:
        """ModelError for a folder without the files of ANI-2x."""
        import torch
        from torchani import AEVComputer, neurochem

        folder = _model_folder(Path(spec.weights or "."))
        (constants_file,) = folder.glob("*.params")
        constants = neurochem.Constants(str(constants_file))
        networks = neurochem.load_model_ensemble(constants.species, str(folder / "train"), MEMBERS)
        device = spec.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._torch, self._device, self._dtype = torch, device, getattr(torch, spec.dtype)
        self._environments = AEVComputer(**constants).to(device, self._dtype)
        self._networks = networks.to(device, self._dtype)
        species = {number: place for place, number in enumerate(_numbers(constants.species))}
        self._species = np.array([species.get(number, -1) for number in range(max(species) + 1)])
        own = np.asarray(neurochem.load_sae(str(folder / "sae_linfit.dat")).self_energies, dtype=float)
        self._self_energies = own * HARTREE
        self.facts = TeacherFacts(
            method="wB97X/6-31G(d) by ANI-2x",
            version=f"torchani {metadata.version('torchani')}, {spec.dtype}, "
            f"weights sha256:{folder_sha256(folder)[:12]}",
            elements=tuple(sorted(species)),
            batches=TOGETHER,
            domain="molecules",
        )

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure, with the spread of the networks."""
        energies, forces = self._members(frames)
        return [
            Labels(FREE_ATOMS[int(atoms.numbers[0])] * HARTREE, np.zeros((1, 3)))
            if len(atoms) == 1
            else self._labels(atoms, energies[:, number], forces[:, number, : len(atoms)])
            for number, atoms in enumerate(frames)
        ]

    def _members(self, frames: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
        """Energies (M, F) without self-energies, eV, and forces (M, F, A, 3), eV/Å, of each network."""
        torch, most = self._torch, max(map(len, frames))
        species = torch.full((len(frames), most), -1, dtype=torch.long)
        positions = torch.zeros((len(frames), most, 3), dtype=self._dtype)
        for number, atoms in enumerate(frames):
            species[number, : len(atoms)] = torch.from_numpy(self._species[atoms.numbers])
            positions[number, : len(atoms)] = torch.from_numpy(atoms.positions)
        species = species.to(self._device)
        positions = positions.to(self._device).requires_grad_()
        _, environments = self._environments((species, positions))
        energies, forces = [], []
        for network in self._networks:
            energy = network((species, environments)).energies
            energies.append(energy.detach())
            if environments.requires_grad:  # not where no atom has a neighbour
                forces.append(-torch.autograd.grad(energy.sum(), positions, retain_graph=True)[0])
            else:
                forces.append(torch.zeros_like(positions))
        return _numpy(torch.stack(energies)) * HARTREE, _numpy(torch.stack(forces)) * HARTREE

    def _labels(self, atoms: Atoms, energies: np.ndarray, forces: np.ndarray) -> Labels:
        """Of one structure from energies (M,) and forces (M, N, 3) of the networks."""
        own = self._self_energies[self._species[atoms.numbers]].sum()
        spread = np.sqrt((forces.std(axis=0) ** 2).sum(axis=1)).mean()
        return Labels(
            energy=float(energies.mean() + own),
            forces=forces.mean(axis=0),
            energy_spread=float(energies.std(ddof=1)),
            forces_spread=float(spread),
        )


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.cpu().double().numpy()  # type: ignore[no-any-return]


def _numbers(symbols: Sequence[str]) -> list[int]:
    from ase.data import atomic_numbers

    return [atomic_numbers[symbol] for symbol in symbols]


def _model_folder(weights: Path) -> Path:
    """The folder that holds the networks, itself or one below; ModelError where there is none."""
    found = [path.parent for path in (weights, *weights.glob("*/")) for path in path.glob("*.params")]
    whole = [f for f in found if (f / "sae_linfit.dat").is_file() and (f / f"train{MEMBERS - 1}").is_dir()]
    if len(whole) != 1:
        raise ModelError(
            "The folder holds no ANI-2x model: one *.params file, sae_linfit.dat and train0 to train7.",
            where=str(weights),
            hint="name ani-2x.tar.xz, or the folder that it unpacks to",
        )
    return whole[0]
