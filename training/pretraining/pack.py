"""The packed mixture: all frames of a recipe in flat arrays of one compressed file, with what training must
know.

The file holds no objects (``numpy.load`` without pickle) and is small enough to travel to a machine with a
GPU.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.atomic import replacing
from jmp_calc.io.nesting import shallow_json

from ..data.frame import Frame

PACK_VERSION = 1


@dataclass(frozen=True)
class MadeFrames:
    """What the frames to train on of a set are that was sampled and labelled; over all stages of a chain."""

    labels: str
    """Method and version of the teacher."""
    kinds: dict[str, int]
    """Numbers of frames by the kind of sample."""
    subjects: int
    """Different molecular graphs, or compositions and structure types, of each stage."""


@dataclass(frozen=True)
class PackedSet:
    """What training and the model card need of one set."""

    name: str
    head: str
    weight: float
    references: dict[int, float]
    """Energy in eV by atomic number that training subtracts: those of the head and the constants of the set;
    in a pack fitted to the training frames of the set alone."""
    full_rank: bool
    force_rms: float
    """Component root mean square of the training forces, eV/Å."""
    energy_std: float
    """Standard deviation of the referenced energy per atom, eV."""
    n_train: int
    n_valid: int
    dropped: dict[str, int]
    """Numbers of frames left out, by reason."""
    licence: str
    source: str
    citation: str
    files: tuple[str, ...]
    isolated: dict[int, float] = field(default_factory=dict)
    """Energy in eV of isolated atoms in its files, by atomic number."""
    constants: dict[int, float] = field(default_factory=dict)
    """eV per atom of each element that its energies have beside those of the head."""
    isolated_references: bool = False
    """Whether the references are isolated atoms; else lone atoms are an estimate."""
    binding: dict[int, float] = field(default_factory=dict)
    """eV by atomic number that a bound atom of the head has beside its reference."""
    made: MadeFrames | None = None
    """None: read from files of others."""


@dataclass(frozen=True, eq=False)
class Packed:
    """F frames with A atoms in total."""

    sets: tuple[PackedSet, ...]
    numbers: np.ndarray
    """(A,) uint8"""
    positions: np.ndarray
    """(A, 3) float32, Å"""
    forces: np.ndarray
    """(A, 3) float32, eV/Å"""
    offset: np.ndarray
    """(F + 1,) int64: first atom of each frame"""
    energy: np.ndarray
    """(F,) float64, eV, NaN where not trained on"""
    cell: np.ndarray
    """(F, 3, 3) float64, Å"""
    pbc: np.ndarray
    """(F, 3) bool"""
    stress: np.ndarray
    """(F, 3, 3) float32, eV/Å^3, NaN where not trained on"""
    set_index: np.ndarray
    """(F,) uint8"""
    valid: np.ndarray
    """(F,) bool: validation frame"""
    n_edges: np.ndarray
    """(F,) int32: main edges"""
    degree: np.ndarray
    """(F,) int16: most main edges of one atom"""

    def __len__(self) -> int:
        return len(self.energy)

    def frame(self, index: int) -> Frame:
        """One frame; its group is the name of its set."""
        atoms = slice(int(self.offset[index]), int(self.offset[index + 1]))
        name = self.sets[int(self.set_index[index])].name
        energy, stress = float(self.energy[index]), self.stress[index]
        return Frame(
            numbers=self.numbers[atoms].astype(np.int64),
            positions=self.positions[atoms].astype(np.float64),
            cell=self.cell[index],
            pbc=self.pbc[index],
            energy=None if np.isnan(energy) else energy,
            forces=self.forces[atoms].astype(np.float64),
            stress=None if np.isnan(stress).any() else stress.astype(np.float64),
            group=name,
            source=f"pack, {name}",
            index=index,
        )

    def reference_energies(self) -> np.ndarray:
        """(F,) float64, eV: the sum of the set's references over each frame."""
        table = np.zeros((len(self.sets), 256))
        for i, item in enumerate(self.sets):
            for number, energy in item.references.items():
                table[i, number] = energy
        per_atom = table[np.repeat(self.set_index, np.diff(self.offset)), self.numbers]
        return np.add.reduceat(per_atom, self.offset[:-1])


_ARRAYS = (
    "numbers",
    "positions",
    "forces",
    "offset",
    "energy",
    "cell",
    "pbc",
    "stress",
    "set_index",
    "valid",
    "n_edges",
    "degree",
)


def save_packed(path: Path, packed: Packed, recipe: dict[str, Any]) -> None:
    """Write the arrays and the description atomically, compressed."""
    header = {"version": PACK_VERSION, "sets": [asdict(item) for item in packed.sets], "recipe": recipe}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(
            stream,
            header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            **{name: getattr(packed, name) for name in _ARRAYS},
        )


def load_packed(path: Path) -> Packed:
    """Read a packed mixture; BadInputError if it is none or of another version."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = shallow_json(archive["header"].tobytes())
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            f"This is not a packed mixture: {error}.",
            where=str(path),
            hint="jmp-calc pretrain RECIPE --data FOLDER makes one",
        ) from error
    if header["version"] != PACK_VERSION:
        raise BadInputError(f"The pack has version {header['version']}, not {PACK_VERSION}.", where=str(path))
    return Packed(sets=tuple(packed_set(entry) for entry in header["sets"]), **arrays)


def packed_set(entry: dict[str, Any]) -> PackedSet:
    """Inverse of ``asdict`` after JSON."""
    tables = {
        name: {int(z): float(e) for z, e in entry.get(name, {}).items()}
        for name in ("references", "isolated", "binding", "constants")
    }
    made = None if entry.get("made") is None else MadeFrames(**entry["made"])
    return PackedSet(**{**entry, **tables, "files": tuple(entry["files"]), "made": made})
