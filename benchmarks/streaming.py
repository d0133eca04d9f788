"""Streaming from a record set of two million small molecules: start-up, memory and rate of shuffled reading.

    python benchmarks/streaming.py --work /tmp/streaming [--records 2000000]

Writes random molecules of 4 to 12 atoms into WORK (0.6 GB, kept for the next call), takes the files out of
the page cache
and reads in a fresh process: the seconds from the start of the program, imports included, to the first
shuffled batch of 64 frames; anonymous memory (the pages of LMDB belong to its file) after 10,000 and 200,000
shuffled frames; frames per second. Writes benchmarks/results/streaming.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, in_process, write_row

ORDER = ("write", "read")
WHAT = "record set of random molecules of 4 to 12 atoms; benchmarks/streaming.py"
CHUNK = 10_000


def molecules(count: int) -> Iterator[Any]:
    """Labelled frames with energies that are sums over elements plus noise of 1 eV."""
    from jmp_calc.training.data.frame import Frame

    rng = np.random.default_rng(0)
    of_element = np.zeros(10)
    of_element[[1, 6, 7, 8]] = -13.6, -1036.0, -1488.0, -2042.0
    cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    for start in range(0, count, CHUNK):
        sizes = rng.integers(4, 13, min(CHUNK, count - start))
        ends = np.cumsum(sizes)
        numbers = rng.choice([1, 6, 7, 8], ends[-1])
        positions, forces = rng.normal(scale=3.0, size=(2, ends[-1], 3))
        noise = rng.normal(size=len(sizes))
        for i, (end, size) in enumerate(zip(ends.tolist(), sizes.tolist(), strict=True)):
            atoms = slice(end - size, end)
            yield Frame(
                numbers=numbers[atoms],
                positions=positions[atoms],
                cell=cell,
                pbc=pbc,
                energy=float(of_element[numbers[atoms]].sum() + noise[i]),
                forces=forces[atoms],
                stress=None,
                group="random",
                source="benchmark",
                index=start + i,
            )


def write(folder: Path, count: int) -> dict[str, Any]:
    """Write the set."""
    from jmp_calc.training.records.writer import RecordWriter

    began, cpu = time.perf_counter(), time.process_time()
    with RecordWriter(folder, overwrite=True) as writer:
        for frame in molecules(count):
            writer.add(frame)
        records = writer.finish()
    return {
        "records": count,
        "megabytes": sum(p.stat().st_size for p in folder.iterdir()) / 1e6,
        "seconds": time.perf_counter() - began,
        "records_per_cpu_s": count / (time.process_time() - cpu),
        "anonymous_mb": anonymous_mb(),
        "energy_std": records.statistics.energy_std or 0.0,
    }


def read(folder: Path, began: float) -> dict[str, Any]:
    """Open and read in shuffled order."""
    from jmp_calc.training.batches.shuffle import Permutation
    from jmp_calc.training.records.record_set import RecordSet

    records = RecordSet(folder)
    order = Permutation(len(records), seed=0)
    batch = [records[int(i)] for i in order.block(0, 64)]
    started = time.perf_counter() - began
    atoms = sum(frame.n_atoms for frame in batch)
    result: dict[str, Any] = {
        "start_s": started,
        "start_cpu_s": time.process_time(),
        "first_batch_atoms": atoms,
    }
    at, cpu = time.perf_counter(), time.process_time()
    for start in range(64, 200_064, 500):
        for i in order.block(start, start + 500):
            atoms += records[int(i)].n_atoms
        if start + 500 in (10_064, 200_064):
            result[f"anonymous_mb_after_{start + 436}"] = anonymous_mb()
    result["frames_per_s"] = 200_000 / (time.perf_counter() - at)
    result["frames_per_cpu_s"] = 200_000 / (time.process_time() - cpu)
    if atoms != int(records.sizes[order.block(0, 200_064), 0].sum(dtype=np.int64)):
        raise SystemExit("The frames are not those that the sizes announce.")
    return result


def anonymous_mb() -> float:
    """Resident memory of this process that belongs to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) / 1e3


def drop_from_cache(folder: Path) -> None:
    """Let the kernel forget the pages of the files."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Write where there is no set of that size, then read."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/jmp-streaming"))
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--measure", choices=ORDER)
    args = parser.parse_args()
    folder = args.work / f"set-{args.records}"
    if args.measure:
        print(json.dumps(write(folder, args.records) if args.measure == "write" else read(folder, began)))
        return
    options = ("--work", str(args.work), "--records", str(args.records))
    for row in ORDER:
        if row == "write" and folder.exists():
            continue
        if row == "read":
            drop_from_cache(folder)
        numbers = in_process(__file__, row, *options)
        write_row(RESULTS / "streaming.yaml", row, numbers, what=WHAT, threads=1, order=ORDER)
        print(row, numbers, flush=True)


if __name__ == "__main__":
    main()
