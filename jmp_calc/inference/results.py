"""From a prediction of a batch to one dictionary of ASE results per structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError

if TYPE_CHECKING:
    import torch

    from ..model.potential import Prediction


PER_ATOM = {
    "forces": "force",
    "energies": "energy",
    "stresses": "stress",
    "descriptors": "descriptor",
    "forces_std": "forces_std",
}
"""Results of every atom, and what one of them is called."""


def single_results(
    prediction: Prediction, sizes: Sequence[int], stress: Sequence[bool]
) -> list[dict[str, Any]]:
    """Results of every structure, checked: NaN never leaves as a number.

    Args:
        prediction: of all structures.
        sizes: number of atoms of each.
        stress: for which of them a stress means something.
    """
    energy, energies = to_numpy(prediction.energy), to_numpy(prediction.energies)
    forces = None if prediction.forces is None else to_numpy(prediction.forces)
    tensors = None if prediction.stress is None else to_numpy(prediction.stress)
    shares = None if prediction.stresses is None else to_numpy(prediction.stresses)
    found, first = [], 0
    for number, (size, has_stress) in enumerate(zip(sizes, stress)):
        atoms = slice(first, first + size)
        results: dict[str, Any] = {
            "energy": float(energy[number]),
            "free_energy": float(energy[number]),
            "energies": energies[atoms].copy(),
        }
        if forces is not None:
            results["forces"] = forces[atoms].copy()
        if tensors is not None and has_stress:
            results["stress"] = voigt(tensors[number])
        if shares is not None and has_stress:
            results["stresses"] = voigt(shares[atoms])
        check_results(results)
        found.append(results)
        first += size
    return found


def voigt(tensors: np.ndarray) -> np.ndarray:
    """A copy of symmetric tensors (..., 3, 3), such as (N, 3, 3), in Voigt's order (..., 6)."""
    return tensors[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]].copy()


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A float64 numpy copy of the same shape that owns its memory."""
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float64)


def check_results(results: dict[str, Any]) -> None:
    """ModelError naming the first property, and atom, that is NaN or infinite."""
    for name, value in results.items():
        bad = np.argwhere(~np.isfinite(value))
        if not len(bad):
            continue
        place = f" of atom {bad[0][0]}" if name in PER_ATOM else ""
        raise ModelError(
            f"The model returned a non-finite {PER_ATOM.get(name, name)}{place}.",
            hint="look for atoms far too close to each other; if there are none, try dtype='float64'",
        )
