"""Transition-1x (``datasets.md`` section 4): frames along reaction paths, wB97x/6-31G(d), already in eV and
eV/Å."""

from __future__ import annotations

from pathlib import Path

from jmp_calc.errors import BadInputError

from ..data.frame import Frame
from .base import choose, find_file, molecule_frame
from .formats.hdf5 import GroupedFrames, Keys, inner, opened

KEYS = Keys("atomic_numbers", "positions", "wB97x_6-31G(d).energy", "wB97x_6-31G(d).forces")
PARTS = ("train", "val", "test")
"""The file's own; its group ``data`` holds all of them and is not read, because that would leak val and
test."""


class Transition1xFrames(GroupedFrames):
    """Frames of one part."""

    def __init__(self, path: Path, part: str) -> None:
        """``part``: train, val or test."""
        self.part = part
        with opened(path) as file:
            if part not in file:
                raise BadInputError(f"{path.name} has no group {part!r}.", where=f"{path} group {part}")
            # The sub-groups reactant, product and transition_state repeat frames of their reaction.
            reactions = [
                f"{part}/{formula}/{name}"
                for formula in sorted(inner(file, part, path))
                for name in sorted(inner(file, f"{part}/{formula}", path))
            ]
        super().__init__(path, reactions, KEYS)

    def __getitem__(self, index: int) -> Frame:
        number, frame, (z, x, energies, forces) = self.row(index)
        _, formula, reaction = self.groups[number].split("/")
        return molecule_frame(
            z,
            x[frame],
            f"{self.path.name}/{self.groups[number]}",
            frame,
            "transition1x",
            energy=float(energies[frame]),
            forces=forces[frame],
            # Names of reactions repeat across formulas.
            identifier=f"{formula}_{reaction}/{frame}",
        )


def open_transition1x(folder: Path, member: str) -> Transition1xFrames:
    """The frames of one part of ``Transition1x.h5``."""
    part = choose(member, PARTS, "part of Transition-1x")
    return Transition1xFrames(
        find_file(folder, ["Transition1x.h5", "transition1x.h5"], "Transition-1x"), part
    )
