"""OC20 S2EF as published (``datasets.md`` section 1): pairs ``<k>.extxyz(.xz)`` and ``<k>.txt(.xz)`` of up to
5000 frames.

Energies are the raw totals of the calculation, as JMP needs them; the reference of the adsorption energy is a
target. Forces are raw, those of fixed atoms too.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.extxyz import read_extxyz
from jmp_calc.io.files import open_bytes, refuse_doubles
from jmp_calc.io.header import as_floats
from jmp_calc.io.raw_frame import RawFrame, atom_column

from ..data.frame import Frame
from ..data.held import held_atoms
from .base import FrameSource

REFERENCE = "reference_energy"
"""Target of every frame: slab and gas-phase adsorbate, eV. Adsorption energy = energy - reference."""
_LINE = re.compile(r"random(\d+),frame(\d+),(\S+)")


@dataclasses.dataclass(frozen=True)
class _Line:
    identifier: str
    reference: float


class OC20Chunks(FrameSource):
    """Frames of all chunks of a folder in the order of their numbers, one chunk in memory at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder``: with the chunks. Lengths come from the small txt files; BadInputError if one is
        missing, UsageError for a chunk that is there as it is and packed."""
        self.path = folder
        self.chunks = sorted(folder.glob("*.extxyz*"), key=_number)
        if not self.chunks:
            raise BadInputError(
                f"{folder} has no chunks *.extxyz or *.extxyz.xz.",
                where=str(folder),
                hint="give the folder that the OC20 archive unpacks to",
            )
        refuse_doubles(self.chunks)
        self._first = np.cumsum([0, *(len(_read_lines(chunk)) for chunk in self.chunks)])
        self._loaded: tuple[int, tuple[RawFrame, ...], list[_Line]] = (-1, (), [])
        self._sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def n_atoms(self) -> np.ndarray:
        """(frames,) int64; all chunks are read at first use."""
        if self._sizes is None:
            self._sizes = np.array(
                [len(raw.numbers) for i in range(len(self.chunks)) for raw in self._chunk(i)[0]]
            )
        return self._sizes

    def __getitem__(self, index: int) -> Frame:
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        row = int(index - self._first[number])
        frames, lines = self._chunk(number)
        return _frame(frames[row], lines[row], self.chunks[number])

    def _chunk(self, number: int) -> tuple[tuple[RawFrame, ...], list[_Line]]:
        if self._loaded[0] != number:
            path = self.chunks[number]
            (raw, _), lines = read_extxyz(path, slice(None)), _read_lines(path)
            if len(raw) != len(lines):
                raise BadInputError(
                    f"{path.name} has {len(raw)} frames and its txt {len(lines)} lines.",
                    where=str(path),
                    hint="both must come from one archive; fetch it again",
                )
            self._loaded = number, raw, lines
        return self._loaded[1:]


def _number(path: Path) -> tuple[int, str]:
    # As text, 10 would come before 2.
    stem = path.name.split(".")[0]
    return (int(stem), "") if stem.isdigit() else (1 << 62, stem)


def _read_lines(chunk: Path) -> list[_Line]:
    names = (
        chunk.name.replace(".extxyz", ".txt"),
        f"{chunk.name.split('.')[0]}.txt",
        f"{chunk.name.split('.')[0]}.txt.xz",
    )
    path = next((chunk.with_name(name) for name in names if chunk.with_name(name).is_file()), None)
    if path is None:
        raise BadInputError(
            f"{chunk.name} has no txt with its references.",
            where=str(chunk.with_name(names[0])),
            hint="both come from one archive; fetch it again",
        )
    lines = []
    try:
        with open_bytes(path) as stream:
            text = stream.read().decode("ascii")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path.name} is damaged: {error}.", where=str(path), hint="fetch it again"
        ) from error
    for i, line in enumerate(text.split()):
        found = _LINE.fullmatch(line)
        try:
            lines.append(_Line(f"random{found[1]},frame{found[2]}", float(found[3])))  # type: ignore[index]
        except (TypeError, ValueError):
            raise BadInputError(
                f"The line {line[:60]!r} is not random<sid>,frame<fid>,<energy>.",
                where=f"{path} line {i + 1}",
            ) from None
    return lines


def _frame(raw: RawFrame, line: _Line, chunk: Path) -> Frame:
    where = f"{chunk} frame {raw.index}"
    if "energy" not in raw.info:
        raise BadInputError("The frame has no energy.", where=f"{where} key energy")
    forces = raw.arrays.get("forces")
    if forces is None:
        raise BadInputError("The frame has no forces.", where=f"{where} key forces")
    tags = raw.arrays.get("tags")
    try:
        energy = float(as_floats(raw.info["energy"]))
    except (ValueError, TypeError) as error:
        raise BadInputError(f"The energy is no number: {error}.", where=f"{where} key energy") from error
    return Frame(
        numbers=raw.numbers,
        positions=raw.positions,
        cell=raw.cell,
        pbc=np.ones(3, dtype=bool),
        energy=energy,
        forces=atom_column("forces", forces, where),
        stress=None,
        group="oc20",
        source=chunk.name,
        index=raw.index,
        tags=None if tags is None else atom_column("tags", tags, where),
        fixed=held_atoms(raw, where),
        identifier=line.identifier,
        targets={REFERENCE: line.reference},
    )
