"""rMD17 (``datasets.md`` section 6): ten molecules, 100,000 frames each, PBE/def2-SVP, kcal/mol.

``split="jmp"`` is the one of the JMP paper (950 / 50 / rest); ``official-1`` ... ``official-5`` are the
authors' files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError

from .base import FrameSource, Parts, choose, find_file, shuffled_parts
from .formats.npz import kcal_frames, read_members

MOLECULES = (
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
)
SPLITS = ("jmp", "jmp-50", *(f"official-{k}" for k in range(1, 6)))
N_TRAIN, N_VALID = 950, 50
_ROOTS = ("", "rmd17/", "npz_data/", "rmd17/npz_data/")


def open_rmd17(folder: Path, member: str) -> FrameSource:
    """All frames of one molecule from ``rmd17_<molecule>.npz`` in or below ``folder``.

    The original MD17 (``md17_*.npz``) has other noise and another layout: it is refused.
    """
    molecule = choose(member, MOLECULES, "rMD17 molecule")
    original = folder / f"md17_{molecule}.npz"
    if original.is_file() and not (folder / f"rmd17_{molecule}.npz").is_file():
        raise BadInputError(
            f"{original.name} is a file of the original MD17, not of rMD17.",
            where=str(original),
            hint="jmp-calc data list names the address of rMD17",
        )
    path = find_file(folder, [f"{root}rmd17_{molecule}.npz" for root in _ROOTS], f"rMD17 {molecule}")
    data = read_members(path, ("nuclear_charges", "coords", "energies", "forces"))
    return kcal_frames(
        path, molecule, data["nuclear_charges"], data["coords"], data["energies"], data["forces"]
    )


def split_rmd17(
    source: FrameSource, folder: Path, split: str = "jmp", *, n_train: int = N_TRAIN, n_valid: int = N_VALID
) -> Parts:
    """Frame numbers of a split of one molecule.

    ``jmp``: legacy shuffle with seed 42, 950 / 50 / rest. ``jmp-50``: the first 50 of those 950 (the paper
        does not say which 50), validation and test unchanged. ``official-k``: the authors' 1000 training
        frames with the last 50 for validation, and their 1000 test frames.
    """
    split = choose(split, SPLITS, "split of rMD17")
    if split.startswith("official-"):
        return _official(source, folder, split.removeprefix("official-"), n_valid)
    parts = shuffled_parts(len(source), n_train, n_valid)
    if split == "jmp":
        return parts
    return Parts(
        parts.train[:50], parts.valid, parts.test, f"{parts.how}; the first 50 of the training frames"
    )


def _official(source: FrameSource, folder: Path, number: str, n_valid: int) -> Parts:
    train, test = (_indices(source, folder, f"index_{part}_0{number}.csv") for part in ("train", "test"))
    if len(train) <= n_valid:
        raise BadInputError(
            f"The split has {len(train)} training frames, too few to set {n_valid} aside.",
            where=f"index_train_0{number}.csv",
        )
    return Parts(
        train[:-n_valid],
        train[-n_valid:],
        test,
        f"rMD17 index files 0{number}, last {n_valid} training frames for validation",
    )


def _indices(source: FrameSource, folder: Path, name: str) -> np.ndarray:
    root = folder.parent if folder.is_file() else folder
    path = find_file(root, [f"{r}{name}" for r in ("", "splits/", "rmd17/splits/", "../splits/")], name)
    try:
        indices = np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), dtype=np.int64)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"{name} is not a list of frame numbers: {error}.", where=str(path)) from error
    wrong = indices[(indices < 0) | (indices >= len(source))]
    if len(wrong) or not len(indices):
        raise BadInputError(
            f"{name} names frame {wrong[0] if len(wrong) else 'none'}, but the molecule has "
            f"{len(source)} frames.",
            where=str(path),
            hint="use the split files of this molecule set",
        )
    return indices
