"""CHGNet: crystals, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from ...units import GPA_PER_EV_A3
from ..labels import Batches, Labels, TeacherFacts, TeacherSpec

if TYPE_CHECKING:
    from ase import Atoms

TOGETHER = Batches(frames=16, atoms=512)
ELEMENTS = tuple(number for number in range(1, 95) if number not in (84, 85, 86, 87, 88))
"""Of MPtrj."""
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class Chgnet:
    """The model of the wheel."""

    def __init__(self, spec: TeacherSpec) -> None:
        from chgnet.model import CHGNet
        from pymatgen.io.ase import AseAtomsAdaptor

        device = None if spec.device == "auto" else spec.device
        self._model = CHGNet.load(use_device=device, verbose=False)
        self._model.graph_converter.set_isolated_atom_response("error")
        self._structure = AseAtomsAdaptor.get_structure
        self.facts = TeacherFacts(
            method=f"PBE+U by CHGNet {self._model.version}",
            version=f"chgnet {metadata.version('chgnet')}",
            elements=ELEMENTS,
            batches=TOGETHER,
            domain="crystals",
        )

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure; ValueError where an atom has no neighbours."""
        structures = [self._structure(atoms) for atoms in frames]
        found = self._model.predict_structure(structures, task="efs", batch_size=TOGETHER.frames)
        found = found if isinstance(found, list) else [found]
        return [
            Labels(
                energy=float(one["e"]) * (len(atoms) if self._model.is_intensive else 1),
                forces=np.asarray(one["f"], dtype=float),
                stress=np.asarray(one["s"], dtype=float)[VOIGT] / GPA_PER_EV_A3,
            )
            for atoms, one in zip(frames, found)
        ]
