"""QMOF (``datasets.md`` section 10): PBE band gaps of metal-organic frameworks, in two JSON lists joined by
``qmof_id``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError

from .base import Parts, choose, find_file, legacy_shuffle
from .formats.crystals import Crystal, CrystalFrames, parse_structure
from .formats.json_stream import stream_array

TARGET = "bandgap"
SPLITS = ("paper10k", "code")
N_PAPER = 10_000
_ROOTS = ("", "qmof_database/")


def open_qmof(folder: Path, member: str = "bandgap") -> CrystalFrames:
    """All frameworks, in the order of ``qmof.json``; those without a band gap have no target.

    The lists are joined by ``qmof_id`` (their order differs between versions) and read item by item.

    Raises:
        BadInputError: rows without a structure.
    """
    choose(member, (TARGET,), "QMOF property")
    properties = find_file(folder, [f"{root}qmof.json" for root in _ROOTS], "QMOF")
    path = find_file(
        folder if folder.is_dir() else folder.parent,
        [f"{root}qmof_structure_data.json" for root in _ROOTS],
        "QMOF",
    )
    gaps = {
        _identifier(row, properties, i): _gap(row, properties, i)
        for i, row in enumerate(stream_array(properties))
    }
    crystals: dict[str, Crystal] = {}
    for i, row in enumerate(stream_array(path)):
        name = _identifier(row, path, i)
        if name in gaps:
            crystals[name] = Crystal(
                name, *parse_structure(row.get("structure"), f"{path} {name}"), gaps[name]
            )
    missing = [name for name in gaps if name not in crystals]
    if missing or not gaps:
        raise BadInputError(
            f"{len(missing)} of {len(gaps)} rows have no structure, such as {missing[:1]}.",
            where=str(path),
            hint="both files must be of one version of QMOF",
        )
    return CrystalFrames(properties, "qmof", TARGET, [crystals[name] for name in gaps])


def split_qmof(source: CrystalFrames, split: str = "paper10k", *, n_paper: int = N_PAPER) -> Parts:
    """Slices of the legacy shuffle with seed 42 over list positions; rows without a band gap are then left
    out.

    ``code``: int(80 %) / rest / int(10 %), as the official code. ``paper10k``: 10,000 to train, the remainder
        in halves (the paper does not say how it divides them).

    Raises:
        BadInputError: too few frameworks.
    """
    split = choose(split, SPLITS, "split of QMOF")
    count = len(source)
    n_train = n_paper if split == "paper10k" else int(0.8 * count)
    n_test = (count - n_train) // 2 if split == "paper10k" else int(0.1 * count)
    n_valid = count - n_train - n_test
    if min(n_train, n_valid, n_test) < 1:
        raise BadInputError(
            f"{count} frameworks are too few for {n_train} to train on.",
            where=str(source.path),
            hint="--split code divides any number in 80 / 10 / 10 %",
        )
    order = legacy_shuffle(count)
    labelled = np.array([crystal.target is not None for crystal in source.crystals])
    slices = np.split(order, [n_train, n_train + n_valid])
    left_out = int((~labelled).sum())
    note = f"; {left_out} without a band gap left out" if left_out else ""
    train, valid, test = (part[labelled[part]] for part in slices)
    return Parts(
        train,
        valid,
        test,
        f"{split}: RandomState(42) shuffle of {count}: {n_train} / {n_valid} / {n_test}{note}",
    )


def _identifier(row: Any, path: Path, i: int) -> str:
    name = row.get("qmof_id") if isinstance(row, dict) else None
    if not isinstance(name, str):
        raise BadInputError("The row has no qmof_id.", where=f"{path} row {i} key qmof_id")
    return name


def _gap(row: Any, path: Path, i: int) -> float | None:
    try:
        value = row["outputs"]["pbe"].get(TARGET)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError("The row has no PBE results.", where=f"{path} row {i} key outputs.pbe") from error
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
