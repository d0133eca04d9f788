"""JMP models in TorchSim: its batched relaxations and dynamics on our potentials (extra ``torchsim``).

    import torch_sim as ts
    from ase.build import bulk
    from jmp_calc.engines.torchsim import JMPModel

    model = JMPModel("jmp-xs", head="pbe")
    relaxed = ts.optimize(
        system=[bulk("Si"), bulk("Cu")], model=model, optimizer=ts.optimizers.fire, max_steps=20
    )
    print(relaxed.energy)  # eV, one of each system

Forces and stresses have the precision of the network. Energies are float64 always: the total of a head that
counts all electrons is thousands of eV, of which float32 keeps half a meV.

TorchSim 0.3 knows one periodicity for all systems and directions: from ASE, what is not periodic in all three
becomes a molecule. Slabs need ``pbc = True`` and a vacuum beyond the cutoff. TorchSim 0.6 (Python 3.12) keeps
the three directions; there the optimizer of the example is ``ts.Optimizer.fire``.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ..errors import JMPWarning, UsageError
from ..inference.evaluator import Evaluator
from ..inference.settings import Settings, dtype_name, portable

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise UsageError("TorchSim is not installed.", hint='pip install "jmp-calc[torchsim]"') from error


class JMPModel(ModelInterface):  # type: ignore[misc]  # TorchSim has no type hints that mypy can follow
    """A JMP model behind TorchSim's interface: energy (S,) eV, forces (N, 3) eV/Å, stress (S, 3, 3) eV/Å³.

    The stress of systems that are not periodic is NaN, as TorchSim has it for models without stress. The
    first such system with
    a cell warns: TorchSim may have made it of a slab.
    """

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
            dtype: precision of the network, of forces and of stresses; energies are float64.
            compute_stress: evaluate the derivative with respect to strain; off for molecules.

        Raises:
            JMPError: as JMPCalculator.
        """
        super().__init__()
        settings = Settings(model=portable(model), head=head, device=str(device), dtype=dtype_name(dtype))
        self._evaluator = Evaluator(settings)
        self._device, self._dtype = self._evaluator.device, dtype
        self._compute_forces, self._compute_stress = True, compute_stress
        self._memory_scales_with = "n_atoms_x_density"
        self._warned = False

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Energies, forces and stresses of all systems of a state, which is only read.

        Raises:
            JMPError: naming the system, as JMPCalculator.
        """
        found = (
            state
            if isinstance(state, SimState)
            else SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        )
        systems = structures(found)
        self._warn_of_lost_periodicity(systems)
        graphs = self._evaluator.prepare_all(systems, ["energy", "forces"], "system")
        prediction = self._evaluator.predict(graphs, forces=True, stress=self._compute_stress)
        assert prediction.forces is not None
        results = {"energy": prediction.energy, "forces": prediction.forces}
        if prediction.stress is not None:
            has_none = torch.tensor([not atoms.pbc.any() for atoms in systems], device=self._device)
            results["stress"] = torch.where(has_none[:, None, None], torch.nan, prediction.stress)
        precisions = {"energy": torch.float64}
        return {
            name: value.detach().to(self._device, precisions.get(name, self._dtype))
            for name, value in results.items()
        }

    def _warn_of_lost_periodicity(self, systems: list[Atoms]) -> None:
        lost = [
            number for number, atoms in enumerate(systems) if not atoms.pbc.any() and atoms.cell.rank == 3
        ]
        if not lost or self._warned:
            return
        self._warned = True
        text = (
            f"System {lost[0]} ({systems[lost[0]].symbols}) has a cell but no periodic direction and is "
            "computed as a molecule; "
            "a slab or a wire needs pbc=True and a vacuum beyond the cutoff, because TorchSim keeps no "
            "mixed periodicity."
        )
        warnings.warn(JMPWarning(text), stacklevel=3)


def structures(state: SimState) -> list[Atoms]:
    """The systems of a state as ASE structures."""
    positions = state.positions.detach().cpu().numpy().astype(float)
    numbers, system = state.atomic_numbers.cpu().numpy(), state.system_idx.cpu().numpy()
    cells = state.row_vector_cell.detach().cpu().numpy().astype(float)
    pbc = np.broadcast_to(
        np.asarray(state.pbc.cpu() if isinstance(state.pbc, Tensor) else state.pbc, dtype=bool), (3,)
    )
    return [
        Atoms(numbers[system == i], positions[system == i], cell=cell, pbc=pbc)
        for i, cell in enumerate(cells)
    ]
