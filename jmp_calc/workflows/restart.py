"""Binary restart files: the full float64 state of a run, the random generator included, in one .npz."""

from __future__ import annotations

import io
import json
import math
import operator
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError, UsageError
from ..io.nesting import shallow_json
from ..io.summary import plain, write_bytes_atomic
from .integrators import Integrator
from .md_settings import MDSettings

if TYPE_CHECKING:
    from ase import Atoms

FORMAT_VERSION = 1
_STRUCTURE = ("numbers", "masses", "pbc")
_ARRAYS = (*_STRUCTURE, "cell", "positions", "momenta")
_INNER = "integrator."
ANEW = "take a copy of it, or start anew in another folder (or with --overwrite)"


_ONCE = {
    ("nvt", "thermostat"): "langevin",
    ("npt", "thermostat"): "nose-hoover",
    ("npt", "cell"): "volume",
}
"""What runs did whose restart files do not say it."""


def _goes_on(was: Any, now: Any) -> bool:
    """Whether a schedule has the stages of an earlier one and more."""
    return bool(was) and bool(now) and now[: len(was)] == was


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
    records: tuple[int, int] | None = None
    """Rows of the table and frames of the trajectory that there were; None in older files."""

    def __repr__(self) -> str:
        return f"<MDState of {len(self.numbers)} atoms after step {self.step}>"

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        integrator: Integrator,
        step: int,
        model: str,
        start_temperature_k: float,
        degrees_of_freedom: int,
        records: tuple[int, int],
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
            records=records,
        )

    def apply(self, atoms: Atoms, integrator: Integrator) -> None:
        """Put this state into a run; BadInputError where the inner state is not that of its integrator."""
        self.apply_structure(atoms)
        try:
            integrator.restore(self.integrator)
        except (KeyError, TypeError, ValueError, OverflowError) as err:
            raise BadInputError("The restart file has no sound state of the integrator.", hint=ANEW) from err

    def apply_structure(self, atoms: Atoms) -> None:
        """Cell, positions and momenta, without any constraint touching them."""
        atoms.set_cell(self.cell, scale_atoms=False, apply_constraint=False)
        atoms.positions[:] = self.positions
        atoms.set_momenta(self.momenta, apply_constraint=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write atomically."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"{_INNER}{name}": array for name, array in self.integrator.items()}
        head = {
            "format_version": FORMAT_VERSION, "step": self.step, "physics": self.physics, "model": self.model,
            "constraints": self.constraints, "start_temperature_k": self.start_temperature_k,
            "degrees_of_freedom": self.degrees_of_freedom, "records": self.records, "arrays": list(arrays),
        }  # fmt: skip
        buffer = io.BytesIO()
        np.savez(buffer, header=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), **arrays)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MDState:
        """Read a restart file; BadInputError when it is not one, is damaged, or from a newer version."""
        try:
            arrays = _arrays(Path(path))
            head = shallow_json(arrays.pop("header").tobytes())
            newer = head["format_version"] > FORMAT_VERSION
        except FileNotFoundError as err:
            raise BadInputError("No such restart file.", where=str(path)) from err
        except Exception as err:  # a damaged archive makes zipfile, numpy and json raise anything
            raise BadInputError("This is not a sound restart file.", where=str(path), hint=ANEW) from err
        if newer:
            raise BadInputError("The restart file is from a newer jmp-calc.", where=str(path), hint="upgrade")
        try:
            return cls._checked(head, arrays)
        except (LookupError, TypeError, ValueError, OverflowError) as err:
            raise BadInputError("The restart file is damaged.", where=str(path), hint=ANEW) from err

    @classmethod
    def _checked(cls, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> MDState:
        """From the content of a file; ValueError, KeyError or TypeError where it makes no sense."""
        if "arrays" in head and set(head["arrays"]) != set(arrays):  # a damaged directory of the archive
            raise ValueError("arrays are missing")
        n_atoms = len(arrays["numbers"])
        shapes = {"numbers": (n_atoms,), "masses": (n_atoms,), "pbc": (3,), "cell": (3, 3)}
        for name in _ARRAYS:
            kind = {"numbers": "iu", "pbc": "b"}.get(name, "f")
            array = arrays[name]
            if array.shape != shapes.get(name, (n_atoms, 3)) or array.dtype.kind not in kind:
                raise ValueError(name)
            if not np.isfinite(array).all():
                raise ValueError(name)
        dof, records = head.get("degrees_of_freedom"), head.get("records")
        state = cls(
            step=operator.index(head["step"]),
            integrator={k.removeprefix(_INNER): v for k, v in arrays.items() if k.startswith(_INNER)},
            physics=dict(head["physics"]),
            model=str(head["model"]),
            constraints=str(head["constraints"]),
            start_temperature_k=float(head["start_temperature_k"]),
            degrees_of_freedom=None if dof is None else operator.index(dof),
            records=None if records is None else (operator.index(records[0]), operator.index(records[1])),
            **{name: arrays[name] for name in _ARRAYS},
        )
        if state.step < 0 or not np.isfinite(state.start_temperature_k) or (dof is not None and dof < 1):
            raise ValueError("step, temperature or degrees of freedom")
        return state

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
            was = self.physics.get(name, _ONCE.get((str(self.physics.get("ensemble")), name)))
            if was != now and not (name == "schedule" and _goes_on(was, now)):
                wrong.append(f"{name} was {was}, now {now}")
        if self.model != model and not model.startswith(f"{self.model} "):  # older files have fewer words
            was, now = self.model.partition(" ")[0], model.partition(" ")[0]
            if was == now:  # of one class: what is the same is not named
                was, now = (
                    " ".join(word for word in text.split() if word not in other.split())
                    for text, other in ((self.model, model), (model, self.model))
                )
            wrong.append(f"model was '{was}', now '{now}'")
        if self.constraints != constraint_text(atoms):
            wrong.append("other constraints")
        if wrong:
            other = (
                "for others start a new run from its final.extxyz with velocities='keep' (--velocities keep)"
            )
            raise UsageError(
                f"The restart belongs to another run: {'; '.join(wrong)}.",
                hint=f"give the same structure, model and settings; {other}",
            )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an uncompressed npz file by name; ValueError and others where it is damaged.

    Every byte is checked against the sums of the archive before an array is made, and no array is larger
    than the file.
    """
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > path.stat().st_size:
                raise ValueError(f"{member.filename} is not stored as it is")
            data = io.BytesIO(archive.read(member))
            version = np.lib.format.read_magic(data)
            shape, _, dtype = np.lib.format.read_array_header_1_0(data)
            if version != (1, 0) or math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename} is not an array of this size")
            data.seek(0)
            found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(data, allow_pickle=False)
    return found


def constraint_text(atoms: Atoms) -> str:
    """Constraints as text that can be compared."""
    return json.dumps(
        [plain(c.todict()) if hasattr(c, "todict") else type(c).__name__ for c in atoms.constraints]
    )
