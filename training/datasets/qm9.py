"""QM9 (``datasets.md`` section 5): 130,831 molecules with 19 scalar properties, in any of its three public
forms.

The forms are in :mod:`.qm9_files`; all give energies in eV, rotational constants last, and other units as
published.
"""

from __future__ import annotations

from pathlib import Path

from jmp_calc.errors import BadInputError

from .base import FrameSource, Parts, choose, shuffled_parts
from .qm9_frames import TARGETS

UNITS = (
    "D",
    "a0^3",
    "eV",
    "eV",
    "eV",
    "a0^2",
    "eV",
    "eV",
    "eV",
    "eV",
    "eV",
    "cal/mol/K",
    "eV",
    "eV",
    "eV",
    "eV",
    "GHz",
    "GHz",
    "GHz",
)
N_MOLECULES = 130_831
N_TRAIN, N_VALID, N_TEST = 110_831, 10_000, 10_000
SPLITS = ("jmp",)


def open_qm9(folder: Path, member: str = "all", *, complete: bool = True) -> FrameSource:
    """The characterised molecules, in the order of their index, from the form that ``folder`` has.

    Looked for in this order: the original xyz files (full float64 energies), ``gdb9.sdf`` with its csv, and
    ``qm9_v3.pt`` or its zip (energies already rounded to float32). ``complete`` demands all 130,831
    molecules, without which the published split means nothing.

    Raises:
        BadInputError: none of the forms is there, or molecules are missing.
    """
    from . import qm9_files, qm9_graphs

    choose(member, ("all", *TARGETS), "QM9 property")
    for form in (qm9_files.open_xyz, qm9_files.open_sdf, qm9_graphs.open_graphs):
        found = form(folder)
        if found is not None:
            break
    else:
        raise BadInputError(
            f"No form of QM9 is in {folder}.",
            where=str(folder),
            hint="give the folder with dsgdb9nsd.xyz.tar.bz2 (or its xyz files), gdb9.sdf and gdb9.sdf.csv, "
            "or qm9_v3.pt",
        )
    if complete and len(found) != N_MOLECULES:
        raise BadInputError(
            f"{found.path.name} gives {len(found)} characterised molecules, not {N_MOLECULES}.",
            where=str(folder),
            hint="the file is not complete; fetch it again",
        )
    return found


def split_qm9(
    source: FrameSource,
    split: str = "jmp",
    *,
    n_train: int = N_TRAIN,
    n_valid: int = N_VALID,
    n_test: int = N_TEST,
) -> Parts:
    """110,831 / 10,000 / 10,000 of the legacy shuffle with seed 42 over the molecules in file order."""
    choose(split, SPLITS, "split of QM9")
    return shuffled_parts(len(source), n_train, n_valid, n_test)
