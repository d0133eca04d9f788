"""The graph form of QM9, ``qm9_v3.pt`` or ``qm9_v3.zip`` (``datasets.md`` section 5): a list of dicts of
tensors.

Read without executing its pickle. Its numbers are float32: U0 is rounded to about 1 meV.
"""

from __future__ import annotations

import math
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError, ModelError
from jmp_calc.zoo.archive import TorchArchive
from jmp_calc.zoo.official import read_tensor
from jmp_calc.zoo.pickled import LazyTensor, load_contents

from .catalogue import DAMAGED, allowance
from .formats.graph_pickles import Budget, load_old_torch, materialise
from .qm9_frames import TARGETS, QM9Frames

_MAX_ENTRIES = 2_000_000
_MAX_PICKLE_BYTES = 1 << 30


def open_graphs(folder: Path) -> QM9Frames | None:
    """The molecules of ``qm9_v3.pt``, directly or inside ``qm9_v3.zip``; None if neither is there.

    Raises:
        BadInputError: a damaged file.
    """
    names = ("qm9_v3.pt", "raw/qm9_v3.pt", "qm9_v3.zip")
    path = (
        folder
        if folder.is_file() and folder.suffix in (".pt", ".zip")
        else next((folder / name for name in names if (folder / name).is_file()), None)
    )
    if path is None:
        return None
    if path.suffix != ".zip":
        return _frames(path)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                member = next((n for n in archive.namelist() if Path(n).name == "qm9_v3.pt"), None)
                if member is None:
                    raise BadInputError(f"{path.name} holds no qm9_v3.pt.", where=str(path))
                allowance(path).take(archive.getinfo(member).file_size, path)
                frames = _frames(Path(archive.extract(member, temporary)))
                frames.path = path
                return frames
        except DAMAGED as error:
            raise BadInputError(
                f"{path.name} is damaged: {error}.", where=str(path), hint="fetch it again"
            ) from error


def _frames(path: Path) -> QM9Frames:
    molecules = _load(path)
    if not isinstance(molecules, list) or not molecules:
        raise BadInputError("It is not a list of molecules.", where=str(path))
    numbers, positions, targets, names = [], [], [], []
    for i, molecule in enumerate(molecules):
        where = f"{path} molecule {i}"
        if not isinstance(molecule, dict):
            raise BadInputError(f"It is a {type(molecule).__name__}, not a dict.", where=where)
        z, x, y = (_array(molecule, key, where) for key in ("z", "pos", "y"))
        if z.ndim != 1 or x.shape != (len(z), 3) or y.shape != (1, len(TARGETS)):
            raise BadInputError(
                f"Z {z.shape}, pos {x.shape} and y {y.shape} do not belong together.", where=where
            )
        numbers.append(z.astype(np.int64))
        positions.append(x.astype(np.float64))
        targets.append(y[0].astype(np.float64))
        names.append(str(molecule.get("name", f"row_{i}")))
    return QM9Frames(
        path,
        np.cumsum([0, *(len(z) for z in numbers)]),
        np.concatenate(numbers),
        np.concatenate(positions),
        tuple(names),
        np.stack(targets),
    )


def _load(path: Path) -> Any:
    """The object in the file; torch.save's zip form, or the one before it."""
    if not zipfile.is_zipfile(path):
        return load_old_torch(path.read_bytes(), str(path))
    try:
        with TorchArchive(path, max_entries=_MAX_ENTRIES, max_pickle_bytes=_MAX_PICKLE_BYTES) as archive:
            budget = Budget(path.stat().st_size)

            def read(tensor: LazyTensor) -> np.ndarray:
                budget.take(math.prod(tensor.shape) * tensor.storage.kind.item_size)
                return np.asarray(read_tensor(archive, tensor).numpy())

            wanted = ("name", "z", "pos", "y")
            contents = load_contents(archive)
            if not isinstance(contents, list):
                return contents
            picked = [{k: m.get(k) for k in wanted} if isinstance(m, dict) else m for m in contents]
            return materialise(picked, read)
    except ModelError as error:
        raise BadInputError(error.fact, where=error.where, hint=error.hint) from error
    except pickle.UnpicklingError as error:
        raise BadInputError(
            f"The data are refused: {error}.", where=str(path), hint="fetch them again"
        ) from error


def _array(molecule: dict[str, Any], key: str, where: str) -> np.ndarray:
    value = molecule.get(key)
    if not isinstance(value, np.ndarray):
        raise BadInputError(f"It has no tensor {key!r}.", where=f"{where} key {key}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise BadInputError("A number is not finite.", where=f"{where} key {key}")
    return value
