"""JMP models in i-PI 3.3: path integrals and all else that it does, the beads in one batch (extra ``ipi``).

    <ffdirect name="jmp">
      <pes>custom</pes>
      <pes_path>FOLDER/ipi_driver.py</pes_path>
      <batch_size>16</batch_size>
      <parameters>{template: ethanol.xyz, model: jmp-xs}</parameters>
    </ffdirect>

docs/ipi.md has the whole input. Units are i-PI's: bohr, hartree, by the numbers that i-PI converts with.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..calculator import JMPCalculator
from ..errors import UsageError
from ..inference.settings import Settings
from ..io.structures import read_structure
from .replicas import Answer, Replicas, described

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("jmp_calc")
PARAMETERS = ("template", "model", "head", "device", "dtype", "compile")
"""What may stand in ``<parameters>``."""
Reply = tuple[float, "NDArray[np.float64]", "NDArray[np.float64]", str]
"""Energy, forces (N, 3), virial (3, 3), in hartree and bohr, and a text that i-PI may print: none."""


class JMPDriver:
    """What i-PI calls for forces: one structure, or lists of them, which are evaluated in one batch."""

    def __init__(
        self,
        template: str = "",
        model: str = "jmp-xs",
        *,
        head: str | None = Settings.head,
        device: str = Settings.device,
        dtype: str = Settings.dtype,
        compile: bool = Settings.compile,
        verbosity: Any = None,
        **unknown: Any,
    ) -> None:
        """Load the model.

        Args:
            template: must be given: file whose last structure has the elements in i-PI's order, and says
                what is periodic; FILE@INDEX for another. Its positions are checked and not used. Default: "".
            model: as that of JMPCalculator. Default: "jmp-xs".
            head: as that of JMPCalculator. Default: None.
            device: as that of JMPCalculator. Default: "auto".
            dtype: as that of JMPCalculator. Default: "float32".
            compile: as that of JMPCalculator. Default: False.
            verbosity: i-PI passes its own; not read. Default: None.
            unknown: whatever else stands in ``<parameters>``, to be refused by its name.

        Raises:
            JMPError: as JMPCalculator, or a template that cannot be read.
            UsageError: i-PI is not installed, ``template`` is missing, a parameter is unknown, or ``compile``
                is neither true nor false.
        """
        if unknown:
            raise UsageError(
                f"The driver has no parameter {next(iter(unknown))}.", hint=f"known: {', '.join(PARAMETERS)}"
            )
        if not template:
            raise UsageError(
                "The driver needs a structure with the elements in i-PI's order.",
                hint="<parameters>{template: start.xyz, model: jmp-xs}</parameters>",
            )
        try:
            from ipi.utils import units
        except ImportError as error:
            raise UsageError("i-PI is not installed.", hint='run: pip install "jmp-calc[ipi]"') from error
        self._units = units
        if not isinstance(compile, bool):
            raise UsageError(f"Compile is true or false, not {compile!r}.", hint="compile: true")
        calculator = JMPCalculator(model, head=head, device=device, dtype=dtype, compile=compile)
        atoms = read_structure(template)
        self._replicas = Replicas(atoms, calculator)
        logger.warning("%s: %s", template, described(atoms))  # i-PI shows what is a warning

    @overload
    def __call__(self, cell: NDArray[np.float64], pos: NDArray[np.float64]) -> Reply: ...

    @overload
    def __call__(self, cell: list[NDArray[np.float64]], pos: list[NDArray[np.float64]]) -> list[Reply]: ...

    def __call__(self, cell: Any, pos: Any) -> Any:
        """Energies, forces and virials.

        Args:
            cell: lattice vectors as columns, (3, 3), bohr; or one of each structure.
            pos: positions (N, 3), bohr; or those of each structure.

        Raises:
            The errors of the calculator.
        """
        if not isinstance(cell, list):
            return self([cell], [pos])[0]
        angstrom = self._units.unit_to_user("length", "angstrom", 1.0)
        answers = self._replicas.evaluate(
            [np.asarray(box, float).T * angstrom for box in cell],
            [np.asarray(places, float).reshape(-1, 3) * angstrom for places in pos],
        )
        return [self._reply(answer) for answer in answers]

    def _reply(self, answer: Answer) -> Reply:
        electronvolt = self._units.unit_to_internal("energy", "electronvolt", 1.0)
        per_angstrom = electronvolt * self._units.unit_to_user("length", "angstrom", 1.0)
        return answer.energy * electronvolt, answer.forces * per_angstrom, answer.virial * electronvolt, ""
