"""State of a band after every step, in one .npz, from which a killed run goes on bit for bit."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInputError, UsageError
from ...io.nesting import shallow_json
from ...io.summary import plain, write_bytes_atomic
from ..potentials import model_fingerprint
from ..restart import constraint_text
from .settings import NEBSettings

if TYPE_CHECKING:
    from ase import Atoms

FORMAT_VERSION = 1
ANEW = "start anew in another folder (or with --overwrite)"
_INNER = "optimizer."


@dataclass(frozen=True)
class BandStep:
    """One step of a band."""

    step: int
    fmax: float
    """Largest force on an atom of an inner image, springs included, eV/Å."""
    barrier_ev: float
    """Highest image above the first."""
    climbing: bool

    @property
    def line(self) -> str:
        """For neb.log."""
        return f"{self.step} {self.fmax:.6f} {self.barrier_ev:.6f} {int(self.climbing)}"


@dataclass(frozen=True, eq=False)
class BandState:
    """A band after its last step, and to which run it belongs."""

    positions: np.ndarray
    """(images, atoms, 3), Å, ends included."""
    optimizer: dict[str, np.ndarray]
    history: tuple[BandStep, ...]
    climbing: bool
    belongs: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write atomically."""
        head = {
            "format_version": FORMAT_VERSION,
            "climbing": self.climbing,
            "belongs": self.belongs,
            "history": [list(asdict(step).values()) for step in self.history],
        }
        arrays: dict[str, Any] = {f"{_INNER}{name}": array for name, array in self.optimizer.items()}
        buffer = io.BytesIO()
        header = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
        np.savez(buffer, header=header, positions=self.positions, **arrays)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> BandState:
        """Read a state; BadInputError where the file is none, is damaged, or from a newer version."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            head = shallow_json(arrays.pop("header").tobytes())
            newer = head["format_version"] > FORMAT_VERSION
            positions = arrays.pop("positions")
            if positions.ndim != 3 or not all(
                np.isfinite(array).all() for array in (positions, *arrays.values())
            ):
                raise ValueError("arrays")
            state = cls(
                positions=positions,
                optimizer={name.removeprefix(_INNER): array for name, array in arrays.items()},
                history=tuple(
                    BandStep(int(step), float(fmax), float(barrier), bool(climbing))
                    for step, fmax, barrier, climbing in head["history"]
                ),
                climbing=bool(head["climbing"]),
                belongs=dict(head["belongs"]),
            )
        except Exception as err:  # a damaged archive makes zipfile, numpy and json raise anything
            raise BadInputError("This is not a sound state of a band.", where=str(path), hint=ANEW) from err
        if newer:
            raise BadInputError("The state is from a newer jmp-calc.", where=str(path), hint="upgrade")
        return state

    def check_belongs_to(self, belongs: dict[str, Any], where: Path) -> None:
        """UsageError naming what differs between the run that was saved and the one that is asked for."""
        wrong = [name for name, now in belongs.items() if self.belongs.get(name) != now]
        if wrong:
            raise UsageError(
                f"The band in this folder belongs to another run: other {', '.join(wrong)}.",
                where=str(where),
                hint=f"give the same structures, model and settings (fmax and steps may change), or {ANEW}",
            )


def belonging(first: Atoms, last: Atoms, settings: NEBSettings) -> dict[str, Any]:
    """What a band is of, as plain data: the ends as they were given, the potential, the settings."""
    found: dict[str, Any] = plain(
        {
            "atoms": first.numbers.tolist(),
            "initial positions": np.round(first.positions, 6).tolist(),
            "final positions": np.round(last.positions, 6).tolist(),
            "cell": np.round(first.cell.array, 6).tolist(),
            "pbc": first.pbc.tolist(),
            "constraints": constraint_text(first),
            "model": model_fingerprint(first),
            **settings.path(),
        }
    )
    return found
