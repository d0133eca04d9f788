"""Small files in the layouts of OC20 and OC22: chunks of extended XYZ with their txt, LMDB files of pickled
graphs."""

from __future__ import annotations

import lzma
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

TAGS = np.array([0, 0, 1, 1, 1, 1, 2, 2])
CELL = np.diag([6.0, 6.0, 20.0])


def slab(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, positions and forces of eight atoms; the first two are fixed and feel a force."""
    rng = np.random.default_rng(seed)
    positions = np.array([[2.0 * (i % 3), 2.0 * (i // 3), 5.0 + i] for i in range(8)]) + rng.normal(
        scale=0.1, size=(8, 3)
    )
    return np.array([29] * 6 + [8, 1]), positions, rng.normal(size=(8, 3))


def write_chunk(folder: Path, number: int, count: int, *, packed: bool = True) -> None:
    """``<number>.extxyz.xz`` and ``<number>.txt.xz``; energies -100 - i, references -90 - i, frame numbers
    with gaps."""
    lines, references = [], []
    for i in range(count):
        numbers, positions, forces = slab(1000 * number + i)
        lines += [
            "8",
            'Lattice="6.0 0.0 0.0 0.0 6.0 0.0 0.0 0.0 20.0" '
            "Properties=species:S:1:pos:R:3:move_mask:L:1:tags:I:1:forces:R:3 "
            f'energy={-100.0 - i} free_energy=-1.0 pbc="T T T"',
        ]
        for k in range(8):
            symbol = {29: "Cu", 8: "O", 1: "H"}[int(numbers[k])]
            columns = " ".join(f"{x:.8f}" for x in positions[k]), " ".join(f"{x:.8f}" for x in forces[k])
            lines.append(f"{symbol} {columns[0]} {'F' if k < 2 else 'T'} {TAGS[k]} {columns[1]}")
        references.append(f"random{number + 7},frame{3 * i},{-90.0 - i}")
    for name, text in ((f"{number}.extxyz", "\n".join(lines)), (f"{number}.txt", "\n".join(references))):
        data = (text + "\n").encode()
        (folder / (name + ".xz" if packed else name)).write_bytes(lzma.compress(data) if packed else data)


@contextmanager
def graph_classes() -> Iterator[tuple[Any, Any]]:
    """Stand-ins for PyTorch Geometric's classes under their own names, so that pickles name them as the real
    ones do."""
    names = (
        "torch_geometric",
        "torch_geometric.data",
        "torch_geometric.data.data",
        "torch_geometric.data.storage",
    )
    modules = {name: types.ModuleType(name) for name in names}
    data = type("Data", (), {"__module__": "torch_geometric.data.data"})
    store = type("GlobalStorage", (), {"__module__": "torch_geometric.data.storage"})
    modules[names[2]].Data = data  # type: ignore[attr-defined]
    modules[names[3]].GlobalStorage = store  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield data, store
    finally:
        for name in names:
            del sys.modules[name]


def record(seed: int, *, new_layout: bool, **changes: Any) -> bytes:
    """A pickled graph as in the published files: floats for tags and fixed, tensors, optional edges; None
    removes a key."""
    import torch

    numbers, positions, forces = slab(seed)
    content: dict[str, Any] = {
        "pos": torch.tensor(positions, dtype=torch.float32),
        "cell": torch.tensor(CELL[None], dtype=torch.float32),
        "atomic_numbers": torch.tensor(numbers, dtype=torch.float32),
        "natoms": 8,
        "tags": torch.tensor(TAGS, dtype=torch.float32),
        "fixed": torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0, 0]),
        "sid": 7 + seed,
        "fid": 3 * seed,
        "y": -10.0 - seed,
        "y_relaxed": -99.0,
        "force": torch.tensor(forces, dtype=torch.float32),
        "edge_index": torch.zeros(2, 5, dtype=torch.long),
    }
    content = {key: value for key, value in {**content, **changes}.items() if value is not None}
    with graph_classes() as (data, store):
        graph = data()
        if new_layout:
            inner = store()
            inner.__dict__.update(_mapping=content, _parent=graph)
            graph.__dict__["_store"] = inner
        else:
            graph.__dict__.update(content)
        return pickle.dumps(graph, protocol=-1)


def write_lmdb(path: Path, records: list[bytes], *, length: bool = True) -> None:
    """Keys 0 ... n-1 and, unless told otherwise, ``length``."""
    environment = lmdb.open(str(path), subdir=False, map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for i, value in enumerate(records):
            transaction.put(str(i).encode(), value)
        if length:
            transaction.put(b"length", pickle.dumps(len(records), protocol=-1))
    environment.close()
