"""Labels on disk while a run goes on: part files that appear whole or not at all.

A part holds the answers to some batches, by the keys of the batches. The order of the parts means nothing.
"""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..io.atomic import replacing
from .labels import Labels, Refusal
from .pipe import answers_to_arrays, arrays_to_answers

Answers = list[Labels | Refusal]
SHORTEST_S, LONGEST_S, SHARE = 2.0, 30.0, 0.05
"""A worker's answers are written after this time at least and at most, else after a share of the run so
far."""
_CACHED = 32


class Store:
    """The answers of a folder, by the keys of their batches; shared by the threads of a run."""

    def __init__(self, folder: Path, *, retry: bool) -> None:
        """Read which batches are there; parts that cannot be read count as not there, and are removed.

        ``retry``: batches with a structure that failed count as not there.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".part-*.tmp"):
            left.unlink()
        self._lock = threading.Lock()
        self._place: dict[str, tuple[Path, int]] = {}
        self._loaded: OrderedDict[Path, list[Answers]] = OrderedDict()
        self._next = 0
        for path in sorted(folder.glob("part-*.npz")):
            self._next = int(path.stem.removeprefix("part-")) + 1
            try:
                with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as part:
                    keys, reasons = json.loads(str(part["keys"])), json.loads(str(part["reasons"]))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                path.unlink()
                continue
            start = 0
            for number, (key, count) in enumerate(keys):
                failed = any(reason is not None for reason in reasons[start : start + count])
                start += count
                if not (retry and failed):
                    self._place[key] = path, number

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._place

    def answers(self, key: str) -> Answers:
        """The answers to a batch; KeyError for one that is not there."""
        with self._lock:
            path, number = self._place[key]
            if path not in self._loaded:
                self._loaded[path] = _read(path)
                if len(self._loaded) > _CACHED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(path)
            return self._loaded[path][number]

    def write(self, batches: list[tuple[str, Answers, list[int]]]) -> None:
        """Add the answers to some batches: key, answers, sizes of the structures."""
        if not batches:
            return
        sizes = [size for _, _, own in batches for size in own]
        reasons, arrays = answers_to_arrays([a for _, answers, _ in batches for a in answers], sizes)
        keys = [[key, len(answers)] for key, answers, _ in batches]
        data = io.BytesIO()
        texts = {"keys": np.array(json.dumps(keys)), "reasons": np.array(json.dumps(reasons))}
        np.savez(data, allow_pickle=False, **(texts | arrays))
        with self._lock:
            path = self._folder / f"part-{self._next:08d}.npz"
            self._next += 1
        with replacing(path) as temporary:
            temporary.write_bytes(data.getvalue())
        with self._lock:
            self._place |= {key: (path, number) for number, (key, _, _) in enumerate(batches)}


class Writer:
    """Collects the answers of one worker and writes them from time to time."""

    def __init__(self, store: Store, started: float) -> None:
        """``started``: when the run began, on the monotonic clock."""
        self._store, self._started = store, started
        self._batches: list[tuple[str, Answers, list[int]]] = []
        self._since = time.monotonic()

    def add(self, key: str, answers: Answers, sizes: list[int]) -> None:
        """One more batch."""
        self._batches.append((key, answers, sizes))
        now = time.monotonic()
        wait = min(max(SHORTEST_S, SHARE * (now - self._started)), LONGEST_S)
        if now - self._since >= wait:
            self.flush()

    def flush(self) -> None:
        """Write what is collected."""
        self._store.write(self._batches)
        self._batches, self._since = [], time.monotonic()


def _read(path: Path) -> list[Answers]:
    with np.load(path, allow_pickle=False) as part:
        texts = {name: json.loads(str(part[name])) for name in ("keys", "reasons")}
        arrays = {name: part[name] for name in part.files if name not in texts}
    answers = arrays_to_answers(texts["reasons"], arrays)
    found: list[Answers] = []
    start = 0
    for _, count in texts["keys"]:
        found.append(answers[start : start + count])
        start += count
    return found
