"""``sample``: structures worth labelling, as a Python function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .run import SampleResult, sample_set
from .settings import SampleSettings


def sample(
    what: str,
    *,
    count: int = 1000,
    start: int = 0,
    seed: int = 0,
    atoms: tuple[int, int] | None = None,
    elements: Sequence[str] | None = None,
    shares: Mapping[str, float] | None = None,
    exclude: str | os.PathLike[str] | None = None,
    processes: int = 1,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> SampleResult:
    """Draw structures worth labelling: molecules by valence rules, or crystals by prototypes.

    Sample ``i`` depends on the seed and on ``i`` alone. Near copies and structures with overlapping atoms are
    left out and counted. Isolated atoms of all elements stand before sample 0.

    Args:
        what: "molecules" (needs RDKit) or "crystals".
        count: how many samples to draw. Default: 1000.
        start: number of the first sample; shards of one set differ in it. Default: 0.
        seed: random seed. Default: 0.
        atoms: least and largest number of atoms of a sample; None: 2 to 30 for molecules, 1 to 40
            for crystals. Default: None.
        elements: symbols of the elements to use; None: all that the kind has. Default: None.
        shares: how many samples are of a kind, relative to the others; None: the shares of the
            documentation. Default: None.
        exclude: file of what must not be drawn, one SMILES or one composition per line. Default: None.
        processes: how many processes draw. Default: 1.
        out: folder for samples.extxyz; a run that was stopped goes on with what is there. Default: None.
        prefix: put PREFIX- before the name of the file. Default: ''.
        quiet: no progress. Default: True.

    Returns:
        frames and counts. ``info`` of a frame has ``sample_kind``, ``sample_id``, and ``graph`` (SMILES) or
        ``prototype`` and ``composition``.

    Raises:
        UsageError: settings that contradict each other, or RDKit is missing.
        BadInputError: a list of exclusions that cannot be read.
    """
    settings = SampleSettings(
        what=what,
        count=count,
        start=start,
        seed=seed,
        atoms=atoms,
        elements=None if elements is None else tuple(elements),
        shares=shares,
        exclude=None if exclude is None else Path(exclude),
    )
    return sample_set(settings, processes=processes, out=out, prefix=prefix, quiet=quiet)
