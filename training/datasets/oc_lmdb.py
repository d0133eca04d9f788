"""OC20 and OC22 as LMDB files of pickled graph objects (``datasets.md`` sections 1, 2 and 13), read without
executing them.

Standard OC20 files hold adsorption energies, OC22 files totals. JMP needs totals: for OC20 the published
``oc20_ref.pkl`` (reference energies by system) must lie beside them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.lmdb import LmdbFile
from jmp_calc.io.npz import archive_arrays
from jmp_calc.io.raw_frame import atom_column

from ..data.frame import Frame
from .base import FrameSource, choose
from .formats.graph_pickles import load_plain, load_record
from .oc20 import OC20Chunks

OC20_PARTS = (
    "train",
    "200K",
    "2M",
    "20M",
    "all",
    "val_id",
    "val_ood_ads",
    "val_ood_cat",
    "val_ood_both",
    "rattled",
    "md",
)
OC22_PARTS = ("train", "val_id", "val_ood", "test_id", "test_ood")
EnergyKind = Literal["total", "adsorption"]


class OCDatabase(FrameSource):
    """Records of all LMDB files of a folder, in the order of file name and key."""

    def __init__(
        self,
        path: Path,
        group: str,
        *,
        energy: EnergyKind = "total",
        references: Mapping[str, float] | None = None,
    ) -> None:
        """Args:
        path: an LMDB file, or a folder of them.
        group: oc20 or oc22.
        energy: what the energy of the frames is; what a file holds is taken from its records.
        references: eV by ``random<sid>``, to turn adsorption energies into totals.
        """
        self.path, self.group, self.energy, self._references = path, group, energy, references
        paths = [path] if path.is_file() else sorted(path.glob("*.lmdb"))
        if not paths:
            raise BadInputError(
                f"{path} has no LMDB file.", where=str(path), hint="give the folder with data.0000.lmdb"
            )
        self.files = [LmdbFile(p) for p in paths]
        self._first = np.cumsum([0, *(_count(file) for file in self.files)])

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def n_atoms(self) -> np.ndarray:
        """(records,) int64 from ``metadata.npz``; BadInputError if it is missing or of another size."""
        path = (self.path if self.path.is_dir() else self.path.parent) / "metadata.npz"
        try:
            arrays = archive_arrays(path, path)
            sizes = np.asarray(arrays["natoms" if "natoms" in arrays else "num_nodes"], dtype=np.int64)
        except (BadInputError, OSError, ValueError, TypeError, KeyError) as error:
            raise BadInputError(
                f"The sizes of the structures cannot be read: {error}.",
                where=str(path),
                hint="metadata.npz must hold natoms, one number per record",
            ) from error
        if len(sizes) != len(self):
            raise BadInputError(
                f"metadata.npz has {len(sizes)} sizes for {len(self)} records.", where=str(path)
            )
        return sizes

    def __getitem__(self, index: int) -> Frame:
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        file, key = self.files[number], int(index - self._first[number])
        where = f"{file.path} key {key}"
        data = file.get(str(key))
        if data is None:
            raise BadInputError(
                "The record is missing.", where=where, hint="the file has a hole; fetch it again"
            )
        try:
            return self._frame(load_record(data, where), file.path.name, key, where)
        except (
            TypeError,
            ValueError,
            IndexError,
            OverflowError,
        ) as error:
            # An attribute is neither a number nor a tensor.
            raise BadInputError(f"The record cannot be understood: {error}.", where=where) from error

    def _frame(self, record: dict[str, Any], source: str, key: int, where: str) -> Frame:
        missing = [name for name in ("pos", "cell", "atomic_numbers") if name not in record]
        if missing:
            raise BadInputError(f"The record has no {missing[0]!r}.", where=where)
        numbers = np.asarray(record["atomic_numbers"]).reshape(-1).astype(np.int64)
        positions = np.asarray(record["pos"], dtype=np.float64)
        forces = record.get("forces", record.get("force"))
        if positions.shape != (len(numbers), 3) or np.size(record["cell"]) != 9:
            raise BadInputError(f"{len(numbers)} atomic numbers, positions {positions.shape}.", where=where)
        system = f"random{_integer(record['sid'], where)}" if "sid" in record else None
        frame = "" if "fid" not in record else f",frame{_integer(record['fid'], where)}"
        tags, fixed = record.get("tags"), record.get("fixed")
        return Frame(
            numbers=numbers,
            positions=positions,
            cell=np.asarray(record["cell"], dtype=np.float64).reshape(3, 3),
            pbc=np.ones(3, dtype=bool),
            energy=self._energy(record, system, where),
            forces=None if forces is None else np.asarray(forces, dtype=np.float64),
            stress=None,
            group=self.group,
            source=source,
            index=key,
            identifier=None if system is None else system + frame,
            tags=None if tags is None else atom_column("tags", np.ravel(tags), where),
            fixed=None if fixed is None else np.asarray(fixed).reshape(-1) != 0,
        )

    def _energy(self, record: dict[str, Any], system: str | None, where: str) -> float | None:
        # y_relaxed is the energy of another structure, and test records have none: nothing is made up.
        value = record.get("energy", record.get("y"))
        if value is None:
            return None
        found = float(np.asarray(value, dtype=np.float64).reshape(-1)[0])
        is_total = self.group == "oc22" or "oc22" in record or "p" in record
        if is_total == (self.energy == "total"):
            return found
        reference = (self._references or {}).get(system or "")
        if reference is None:
            raise BadInputError(
                f"There is no reference energy for {system}.",
                where=where,
                hint="put oc20_ref.pkl beside the files, or ask for adsorption energies",
            )
        return found + reference if self.energy == "total" else found - reference


def open_oc20(folder: Path, member: str, *, energy: EnergyKind = "total") -> FrameSource:
    """A part of OC20 from chunks of extended XYZ, or from LMDB files, whichever ``folder`` (or its subfolder)
    has.

    Chunks give totals with the reference as a target; LMDB files give ``energy``.
    """
    part = choose(member, OC20_PARTS, "part of OC20")
    unpacked = (f"s2ef_train_{part}", f"s2ef_{part}")  # the archives hold a folder of their own name
    names = (part, *(f"{name}/{name}" for name in unpacked), *unpacked)
    place = _place(folder, part, OC20_PARTS, names)
    if place.is_dir() and not any(place.glob("*.lmdb")):
        return OC20Chunks(place)
    table = next(
        (
            p
            for p in (place / "oc20_ref.pkl", place.parent / "oc20_ref.pkl", folder / "oc20_ref.pkl")
            if p.is_file()
        ),
        None,
    )
    return OCDatabase(
        place, "oc20", energy=energy, references=None if table is None else read_references(table)
    )


def open_oc22(folder: Path, member: str) -> OCDatabase:
    """A part of OC22 (S2EF-total)."""
    part = choose(member, OC22_PARTS, "part of OC22")
    root = "s2ef_total_train_val_test_lmdbs/data/oc22/s2ef-total"
    names = (part, f"s2ef-total/{part}", f"{root}/{part}")
    return OCDatabase(_place(folder, part, OC22_PARTS, names), "oc22")


def read_references(path: Path) -> dict[str, float]:
    """Energies in eV by ``random<sid>`` from ``oc20_ref.pkl``, a pickled dict of numbers; nothing in it is
    executed.

    Raises:
        BadInputError: it is not a table of energies.
    """
    found = load_plain(path.read_bytes(), str(path))
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise BadInputError("It is not a table of energies.", where=str(path), hint="fetch it again")
    return {str(key): float(value) for key, value in found.items()}


def _place(folder: Path, part: str, parts: tuple[str, ...], names: tuple[str, ...]) -> Path:
    """The first of ``names`` below ``folder``, or ``folder`` (a file, too) where this part is its name.

    Files do not say of which part they are: any other folder would be taken for every part.
    """
    inside = next((folder / name for name in names if (folder / name).exists()), None)
    if inside is not None:
        return inside
    place = Path(os.path.abspath(folder))
    own, above = _part_named(place.name, parts), _part_named(place.parent.name, parts)
    # 2M/train and all/val_id are of the same program: train is that of the folder above.
    if folder.exists() and part in ((own, above) if own in (None, "train") else (own,)):
        return folder
    state = "has none of " + ", ".join(dict.fromkeys(names)) if folder.exists() else "is not there"
    raise BadInputError(
        f"The part {part} was not found: {folder} {state}.",
        where=str(folder),
        hint=f"name the folder of its files {part}, and give it or the one that it is in with --data",
    )


def _part_named(name: str, parts: tuple[str, ...]) -> str | None:
    """The part whose folder or file has this name."""
    plain = name.removesuffix(".lmdb").removeprefix("s2ef_")
    return next((part for part in parts if part in (plain, plain.removeprefix("train_"))), None)


def _count(file: LmdbFile) -> int:
    """Records of a file: its entry ``length`` (which is an entry too), else the number of entries."""
    stored = file.get("length")
    if stored is None:
        return len(file)
    where = f"{file.path} key length"
    count = load_plain(stored, where)
    if type(count) is not int or not 0 <= count <= len(file):
        raise BadInputError(
            f"The length is {count!r} in a file of {len(file)} entries.",
            where=where,
            hint="the file is not complete; fetch it again",
        )
    return count


def _integer(value: Any, where: str) -> int:
    """A system or frame number that may be a number, a tensor or text such as ``random123``."""
    text = str(np.asarray(value).reshape(-1)[0])
    digits = text.removeprefix("random").removeprefix("frame").removesuffix(".0")
    if not digits.isdigit():
        raise BadInputError(f"{text!r} is not the number of a system or frame.", where=where)
    return int(digits)
