"""The two kinds of programs that fill a results file: rows measured in a process of their own, and long runs.

Both write every row at once, so that a program that is stopped loses one row at most.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from folders import add_data_option
from rows import RESULTS, in_process, read_rows, write_row


def measuring_parser(description: str | None, rows: Sequence[str]) -> argparse.ArgumentParser:
    """Options of a program whose rows are measured."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", choices=rows, default=list(rows), metavar="ROW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser


def with_networks(parser: argparse.ArgumentParser, folder: str = "runs/speed") -> argparse.ArgumentParser:
    """The same with the folder where networks with random weights are kept."""
    parser.add_argument(
        "--work", type=Path, default=Path(folder), help="folder for files with random weights"
    )
    return parser


def with_calculator_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same with further arguments of JMPCalculator; rows with any have them in their names
    (``suffix``)."""
    parser.add_argument(
        "--options", type=json.loads, default={}, help="JSON: further arguments of JMPCalculator"
    )
    return parser


def suffix(options: Mapping[str, object]) -> str:
    """What the name of a row ends with; of a path the last part."""
    return "".join(f" {key}={str(value).rpartition('/')[2]}" for key, value in options.items())


def parsed(
    parser: argparse.ArgumentParser, measure: Callable[[str, argparse.Namespace], dict[str, Any]]
) -> argparse.Namespace:
    """The options; in the process of a row, prints what ``measure`` finds and ends the program."""
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args)))
        raise SystemExit
    return args


def measured_rows(
    script: str,
    names: Sequence[str],
    path: Path,
    *options: str,
    threads: int,
    what: str,
    order: Sequence[str],
    prepare: Callable[[str], object] = lambda name: None,
    suffix: str = "",
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure each row with ``script --measure NAME``, write it into ``path`` as NAME and suffix, and give it
    back.

    ``prepare`` is called with the name before, ``options`` go to the script.
    """
    for name in names:
        prepare(name)
        numbers = in_process(script, name, "--threads", str(threads), *options)
        write_row(path, name + suffix, numbers, what=what, threads=threads, order=order)
        yield name + suffix, numbers


def training_parser(description: str | None, name: str, *, processes: int = 2) -> argparse.ArgumentParser:
    """Options of a program whose rows are trained, in folders below ``runs/NAME``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--processes", type=int, default=processes, help="CPU processes, one thread each")
    parser.add_argument("--work", type=Path, default=Path("runs") / name, help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    return parser


def with_draws(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same with a seed and a number of training frames; rows with another than the default have them in their
    names (``draw``)."""
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and subset")
    parser.add_argument("--n-train", type=int, help="train on a random subset of the frames")
    return parser


def draw(name: str, seed: int, n_train: int | None) -> str:
    """Name of a row under a seed, with so many training frames (None: all)."""
    few = "" if n_train is None else f"/{n_train}-frames"
    return name + few + (f"/seed-{seed}" if seed else "")


def compute_missing(
    path: Path,
    names: Sequence[str],
    compute: Callable[[str], dict[str, Any]],
    *,
    threads: int,
    what: str,
    order: Sequence[str],
    same: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Compute and write the rows that ``path`` does not have yet with these numbers (``same``)."""
    for name in names:
        done = read_rows(path).get(name)
        if done and all(done.get(key) == value for key, value in same.items()):
            print(f"{name}: done before")
            continue
        write_row(path, name, compute(name), what=what, threads=threads, order=order)


def check_full_time(name: str, train_s: float, minutes: float) -> None:
    """Ends the program if a row was stopped before its time was over, so that it is not recorded."""
    if train_s < 0.95 * 60.0 * minutes:
        raise SystemExit(f"{name}: stopped after {train_s:.0f} of {60.0 * minutes:.0f} s, not recorded")
