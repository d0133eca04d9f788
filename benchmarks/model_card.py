"""What a model is worth as it is shipped, without fine-tuning: the rows of its card.

    python benchmarks/model_card.py --data DIR                       all rows of jmp-xs that are missing
    python benchmarks/model_card.py --data DIR --sections unseen bonds dimers
    python benchmarks/model_card.py --data DIR --model runs/stage3/jmp_xs.safetensors --results DIR
    python benchmarks/model_card.py --data DIR --rows "bonds/*/ethane C-C" "volumes/Si"
    python benchmarks/model_card.py --data DIR --table               only say what passed

One row per system in RESULTS/model_card.yaml, written at once, with the SHA-256 of the model: rows of another model
are dropped. Values of the teachers lie in benchmarks/teachers (benchmarks/card_teachers.py). The tables of
docs/model_card.md are made of the rows by benchmarks/tables.py.

On one core: unseen 10 s for few elements, bonds 10 s, dimers 25 ms for a pair of elements, volumes 10 s, returns and
phonons a minute each; a row of dynamics takes 2 to 10 minutes and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from cards import bonds, crystals, dimers, dynamics, unseen, vibrations
from cards.model import CardModel
from folders import add_data_option
from row_programs import compute_missing
from rows import RESULTS, keep_rows, read_rows

WHAT = "a model as it is shipped, without fine-tuning; benchmarks/model_card.py"
FILE = "model_card.yaml"


@dataclass(frozen=True)
class Section:
    """One part of the card."""

    names: Callable[[CardModel], list[str]]
    measured: Callable[[str, CardModel], dict[str, Any]]


SECTIONS = {
    "unseen": Section(unseen.names, unseen.measured),
    "bonds": Section(bonds.names, bonds.measured),
    "dimers": Section(dimers.names, dimers.measured),
    "volumes": Section(crystals.names, crystals.measured),
    "returns": Section(crystals.names, crystals.returned),
    "phonons": Section(vibrations.names, vibrations.measured),
    "dynamics": Section(dynamics.names, dynamics.measured),
}


def main() -> None:
    """Compute what is missing, then say what passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--model", default="jmp-xs", help="name or file")
    parser.add_argument("--sections", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--crystal-head", help="head for crystals instead of pbe-u; with --results DIR")
    parser.add_argument("--rows", nargs="*", default=["*"], metavar="PATTERN", help="such as volumes/Si")
    parser.add_argument("--work", type=Path, default=Path("runs/model_card"), help="folder of the dynamics")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="compute rows that are there once more")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    args = parser.parse_args()
    if (args.model != "jmp-xs" or args.crystal_head) and args.results == RESULTS:
        parser.error("rows of another model than jmp-xs, or of another head, need --results DIR")
    path = args.results / FILE
    if not args.table:
        model = CardModel(args.model, args.data, args.work, args.crystal_head)
        every = [f"{section}/{name}" for section in SECTIONS for name in SECTIONS[section].names(model)]
        chosen = [
            name
            for name in every
            if name.partition("/")[0] in args.sections and any(fnmatch(name, rows) for rows in args.rows)
        ]
        again = set(chosen) if args.again else set()
        keep_rows(path, lambda name, row: row["model_sha256"] == model.sha256 and name not in again)
        compute_missing(
            path,
            chosen,
            lambda name: computed(name, model),
            what=WHAT,
            threads=torch.get_num_threads(),
            order=every,
            same={"model_sha256": model.sha256},
        )
    show(read_rows(path))


def computed(name: str, model: CardModel) -> dict[str, Any]:
    """One row, and how long it took."""
    section, _, system = name.partition("/")
    began = time.perf_counter()
    row = SECTIONS[section].measured(system, model)
    seconds = time.perf_counter() - began
    print(f"{name}: {'passed' if row['passed'] else 'not passed'} ({seconds:.1f} s)", flush=True)
    return {"model_sha256": model.sha256, **row, "seconds": seconds}


def show(rows: dict[str, dict[str, Any]]) -> None:
    """How many rows of each section passed, and which did not."""
    for section in SECTIONS:
        own = {name: row for name, row in rows.items() if name.startswith(f"{section}/")}
        passed = [name for name, row in own.items() if row["passed"]]
        if own:
            failed = [name.partition("/")[2] for name in own if name not in passed]
            print(
                f"{section:9s} {len(passed)} of {len(own)} passed"
                + (f"; not: {', '.join(failed)}" if failed else "")
            )


if __name__ == "__main__":
    main()
