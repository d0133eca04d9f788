"""JMP models in TorchSim: its batched relaxations and dynamics on our potentials (extra ``torchsim``).

    import torch_sim as ts
    from jmp_calc.torchsim import JMPModel
    relaxed = ts.optimize(system=structures, model=JMPModel("jmp-xs", head="pbe"), optimizer=ts.Optimizer.fire)
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from .errors import UsageError
from .evaluator import Evaluator
from .settings import Settings, portable

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise UsageError("TorchSim is not installed.", hint='pip install "jmp-calc[torchsim]"') from error


class JMPModel(ModelInterface):  # type: ignore[misc]  # TorchSim has no type hints that mypy can follow
    """A JMP model behind TorchSim's interface: energy (S,) eV, forces (N, 3) eV/Å, stress (S, 3, 3) eV/Å³."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        head: str | None = None,
        device: torch.device | str = "auto",
        dtype: torch.dtype = torch.float32,
        compute_stress: bool = True,
    ) -> None:
        """Load a model.

        Args:
            model: name, path of one of our files, or path of an official checkpoint, as in JMPCalculator.
            head: which output; None: the file's default.
            device: where the network runs; the neighbour search runs on the CPU.
            dtype: precision of the network and of the results.
            compute_stress: evaluate the derivative with respect to strain; off for molecules.

        Raises:
            JMPError: as JMPCalculator.
        """
        super().__init__()
        settings = Settings(portable(model), head, str(device), str(dtype).removeprefix("torch."))
        self._evaluator = Evaluator(settings)
        self._device, self._dtype = self._evaluator.device, dtype
        self._compute_forces, self._compute_stress = True, compute_stress
        self._memory_scales_with = "n_atoms_x_density"

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Energies, forces and stresses of all systems of a state, which is only read.

        Raises:
            JMPError: naming the system, as JMPCalculator.
        """
        found = state if isinstance(state, SimState) else SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        graphs = self._evaluator.prepare_all(structures(found), ["energy", "forces"], "system")
        prediction = self._evaluator.predict(graphs, forces=True, stress=self._compute_stress)
        assert prediction.forces is not None
        results = {"energy": prediction.energy, "forces": prediction.forces}
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        return {name: value.detach().to(self._device, self._dtype) for name, value in results.items()}


def structures(state: SimState) -> list[Atoms]:
    """The systems of a state as ASE structures."""
    positions = state.positions.detach().cpu().numpy().astype(float)
    numbers, system = state.atomic_numbers.cpu().numpy(), state.system_idx.cpu().numpy()
    cells = state.row_vector_cell.detach().cpu().numpy().astype(float)
    pbc = np.broadcast_to(np.asarray(state.pbc.cpu() if isinstance(state.pbc, Tensor) else state.pbc, dtype=bool), (3,))
    return [
        Atoms(numbers[system == i], positions[system == i], cell=cell, pbc=pbc) for i, cell in enumerate(cells)
    ]
