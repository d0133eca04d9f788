"""JMP models in OpenMM, by names of openmmml (extra ``openmm``); its plugins are found by entry points.

    from openmmml import MLPotential

    system = MLPotential("jmp-xs").createSystem(topology, head="wb97x-ani2x")
    system = MLPotential("jmp", model="run/best.safetensors").createSystem(topology)

Energies and forces are those of JMPCalculator, called by OpenMM's PythonForce at every step. A part of a
larger system is computed by ``createMixedSystem(topology, mm_system, atoms, head=...)``. The System can be
serialised: the model goes along by its name or path and is loaded again.

openmmml loads this file while it is imported itself. Therefore nothing of it is imported here, and the two
classes have the methods of its interfaces without being derived from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ..errors import UsageError

OF_EMBEDDINGS = ("linkAtomDistances",)
"""Arguments of ``createMixedSystem`` that are not for the potential."""


class JMPPotentialFactory:
    """What the entry points ``openmmml.potentials`` name: makes the potential of a name."""

    def createImpl(self, name: str, model: str | os.PathLike[str] | None = None) -> JMPPotential:
        """The potential ``name``: a model of that name, or with "jmp" the file ``model``.

        Raises:
            UsageError: "jmp" without a model, or another name with one.
        """
        if (name == "jmp") != (model is not None):
            hint = 'MLPotential("jmp", model="FILE.safetensors") or MLPotential("jmp-xs")'
            fact = f"{name!r} is a model already, and takes no other" if model else "'jmp' needs a model"
            raise UsageError(f"MLPotential: {fact}.", hint=hint)
        return JMPPotential(name if model is None else model)


class JMPPotential:
    """One model as openmmml sees it."""

    def __init__(self, model: str | os.PathLike[str]) -> None:
        self._model = model

    def addForces(
        self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        """Add the force of the model on ``atoms`` (None: all) to a System.

        Keyword arguments of ``createSystem`` are those of JMPCalculator: ``head``, ``device``, ``dtype``, ...

        Raises:
            UsageError: an argument that JMPCalculator does not have, or a periodic box and no head.
            ModelError: no such model or head, or elements that the head does not know.
        """
        from openmmml.models.asepotential import ASEPotentialImpl

        from ..calculator import JMPCalculator
        from ..inference.settings import Settings
        from .replicas import standing_apart

        settings = {name: value for name, value in args.items() if name not in OF_EMBEDDINGS}
        known = [field.name for field in fields(Settings) if field.name != "model"]
        if unknown := [name for name in settings if name not in known]:
            raise UsageError(
                f"A JMP potential has no argument {unknown[0]!r}.", hint=f"one of {', '.join(known)}"
            )
        chosen = None if atoms is None else list(atoms)
        every = list(topology.atoms())
        included = every if chosen is None else [every[index] for index in chosen]
        calculator = JMPCalculator(self._model, **settings)
        periodic = topology.getPeriodicBoxVectors() is not None
        if periodic and calculator.info.head is None:
            name = calculator.info.name
            fact = f"{name} has two default heads, and a periodic box holds molecules or a crystal."
            raise UsageError(fact, hint="name the head: createSystem(topology, head='NAME')")
        if all(atom.element is not None for atom in included):  # openmmml refuses the others
            calculator.decide_head(standing_apart([atom.element.symbol for atom in included]))
        ASEPotentialImpl("ase").addForces(topology, system, chosen, forceGroup, calculator=calculator)

    def getSupportedEmbeddings(self) -> list[str]:
        """No embeddings of its own: those of openmmml, mechanical embedding by default."""
        return []

    def getMLLongRange(self) -> bool:
        """Whether interactions reach beyond a cutoff: never."""
        return False
