"""MD22 (``datasets.md`` section 7): seven large molecules, PBE+MBD, sGDML archives in kcal/mol.

The published ``E_mean`` is not used: it covers all frames, not the training ones.
"""

from __future__ import annotations

from pathlib import Path

from jmp_calc.errors import BadInputError

from .base import FrameSource, Parts, choose, find_file, shuffled_parts
from .formats.npz import kcal_frames, read_members

TRAIN_AND_VALID = {
    "Ac-Ala3-NHMe": 6000, "DHA": 8000, "stachyose": 8000, "AT-AT": 3000, "AT-AT-CG-CG": 2000,
    "buckyball-catcher": 600, "double-walled_nanotube": 800,
}  # fmt: skip
"""Frames for training and validation together; a twentieth of them validates."""
MOLECULES = tuple(TRAIN_AND_VALID)
SPLITS = ("jmp",)
_OTHER_NAMES = {"double-walled_nanotube": ("dw_nanotube", "double-walled-nanotube")}


def open_md22(folder: Path, member: str) -> FrameSource:
    """All frames of one molecule from ``md22_<name>.npz``; BadInputError if its units are not kcal/mol and
    Å."""
    molecule = choose(member, MOLECULES, "MD22 molecule")
    names = [f"md22_{name}.npz" for name in (molecule, *_OTHER_NAMES.get(molecule, ()))]
    path = find_file(folder, [*names, *(f"md22/{name}" for name in names)], f"MD22 {molecule}")
    data = read_members(path, ("z", "R", "E", "F", "e_unit", "r_unit"))
    for key, expected in (("e_unit", "kcal/mol"), ("r_unit", "Ang")):
        found = str(data[key].reshape(-1)[0] if data[key].size else "")
        if found != expected:
            raise BadInputError(
                f"{key} is {found!r}, not {expected!r}.",
                where=f"{path} key {key}",
                hint="use the file as published; a converted one may have other numbers",
            )
    return kcal_frames(path, molecule, data["z"], data["R"], data["E"], data["F"])


def split_md22(source: FrameSource, member: str, split: str = "jmp", *, total: int | None = None) -> Parts:
    """``total`` frames of the legacy shuffle for training and validation (int(5 %) of them, from their end),
    the rest for testing; ``total=None``: the number of the paper."""
    choose(split, SPLITS, "split of MD22")
    total = TRAIN_AND_VALID[choose(member, MOLECULES, "MD22 molecule")] if total is None else total
    n_valid = int(0.05 * total)
    return shuffled_parts(len(source), total - n_valid, n_valid)
