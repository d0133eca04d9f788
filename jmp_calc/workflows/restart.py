"""Binary restart files: the full float64 state of a run, the random generator included, in one .npz."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError, UsageError
from ..io.summary import plain, write_bytes_atomic
from .integrators import Integrator
from .md_settings import MDSettings

if TYPE_CHECKING:
    from ase import Atoms

FORMAT_VERSION = 1
_STRUCTURE = ("numbers", "masses", "pbc")


@dataclass(frozen=True, eq=False)
class MDState:
    """State after ``step`` steps: arrays of the structure and of the integrator, and what they belong to."""

    step: int
    numbers: np.ndarray
    masses: np.ndarray
    pbc: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    integrator: dict[str, np.ndarray]
    physics: dict[str, Any]
    model: str
    constraints: str
    start_temperature_k: float
    degrees_of_freedom: int | None
    """None in files that were written before it was kept."""

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        integrator: Integrator,
        step: int,
        model: str,
        start_temperature_k: float,
        degrees_of_freedom: int,
    ) -> MDState:
        """Copy of the present state of a run."""
        return cls(
            step=step,
            numbers=atoms.numbers.copy(),
            masses=atoms.get_masses(),
            pbc=atoms.pbc.copy(),
            cell=atoms.cell.array.copy(),
            positions=atoms.positions.copy(),
            momenta=atoms.get_momenta(),
            integrator=integrator.state(),
            physics=plain(integrator.settings.physics()),
            model=model,
            constraints=constraint_text(atoms),
            start_temperature_k=start_temperature_k,
            degrees_of_freedom=degrees_of_freedom,
        )

    def apply(self, atoms: Atoms, integrator: Integrator) -> None:
        """Put this state into a run."""
        self.apply_structure(atoms)
        integrator.restore(self.integrator)

    def apply_structure(self, atoms: Atoms) -> None:
        """Cell, positions and momenta, without any constraint touching them."""
        atoms.set_cell(self.cell, scale_atoms=False, apply_constraint=False)
        atoms.positions[:] = self.positions
        atoms.set_momenta(self.momenta, apply_constraint=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write atomically."""
        head = {
            "format_version": FORMAT_VERSION, "step": self.step, "physics": self.physics, "model": self.model,
            "constraints": self.constraints, "start_temperature_k": self.start_temperature_k,
            "degrees_of_freedom": self.degrees_of_freedom,
        }  # fmt: skip
        names = (*_STRUCTURE, "cell", "positions", "momenta")
        arrays = {name: getattr(self, name) for name in names}
        arrays |= {f"integrator.{name}": array for name, array in self.integrator.items()}
        buffer = io.BytesIO()
        np.savez(buffer, header=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), **arrays)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MDState:
        """Read a restart file; BadInputError when it is not one, or from a newer version."""
        try:
            with np.load(Path(path), allow_pickle=False) as data:
                head = json.loads(data["header"].tobytes().decode())
                if head["format_version"] > FORMAT_VERSION:
                    raise BadInputError(
                        "The restart file is from a newer jmp-calc.", where=str(path), hint="upgrade"
                    )
                names = (*_STRUCTURE, "cell", "positions", "momenta")
                arrays = {name: data[name] for name in names}
                inner = {
                    k.removeprefix("integrator."): data[k] for k in data.files if k.startswith("integrator.")
                }
        except FileNotFoundError as err:
            raise BadInputError("No such restart file.", where=str(path)) from err
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as err:
            hint = "restart files are named restart.npz"
            raise BadInputError("This is not a restart file.", where=str(path), hint=hint) from err
        return cls(
            step=int(head["step"]),
            integrator=inner,
            physics=head["physics"],
            model=head["model"],
            constraints=head["constraints"],
            start_temperature_k=float(head["start_temperature_k"]),
            degrees_of_freedom=head.get("degrees_of_freedom"),
            **arrays,
        )

    def is_same_as(self, other: MDState) -> bool:
        """Whether both are the same step of the same motion."""
        return self.step == other.step and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("numbers", "positions", "momenta")
        )

    def check_belongs_to(self, atoms: Atoms, settings: MDSettings, model: str) -> None:
        """UsageError naming every difference between the run that was saved and the one that is asked for."""
        found = [
            name
            for name, now in zip(_STRUCTURE, (atoms.numbers, atoms.get_masses(), atoms.pbc), strict=True)
            if not np.array_equal(getattr(self, name), now)
        ]
        wrong = [f"other {' and '.join(found)}"] if found else []
        for name, now in plain(settings.physics()).items():
            if self.physics.get(name) != now:
                wrong.append(f"{name} was {self.physics.get(name)}, now {now}")
        if self.model != model and not model.startswith(f"{self.model} "):  # older files have fewer words
            was, now = (
                " ".join(word for word in text.split() if word not in other.split())
                for text, other in ((self.model, model), (model, self.model))
            )
            wrong.append(f"model was '{was}', now '{now}'")
        if self.constraints != constraint_text(atoms):
            wrong.append("other constraints")
        if wrong:
            raise UsageError(
                f"The restart belongs to another run: {'; '.join(wrong)}.",
                hint="give the same structure, model and settings, or start anew without restart",
            )


def constraint_text(atoms: Atoms) -> str:
    """Constraints as text that can be compared."""
    return json.dumps(
        [plain(c.todict()) if hasattr(c, "todict") else type(c).__name__ for c in atoms.constraints]
    )
