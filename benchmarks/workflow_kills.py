"""Kill runs at random moments, let them go on, and compare their files with those of runs left alone.

    python benchmarks/workflow_kills.py --kills 100 [--only NAME] [--seed 0]

Every workflow that resumes (``tests/kills.py``) has its share of the kills. Prints a row for each, and ends with 1
where files differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kills import CASES, survives


def main() -> int:
    """Run all cases; 1 where one differs."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare.")
    parser.add_argument("--kills", type=int, default=100, help="in all, spread over the cases (default: 100)")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cases = [case for case in CASES if given.only in case.name]
    rng = np.random.default_rng(given.seed)
    wrong = 0
    for number, case in enumerate(cases):
        kills = given.kills // len(cases) + (number < given.kills % len(cases))
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                begun, verdict = survives(case, Path(folder), kills, rng), "same files"
            except AssertionError as error:
                begun, verdict = 0, str(error)
                wrong += 1
        seconds = time.monotonic() - begin
        print(f"{case.name:24s} {kills:4d} kills of {begun} runs: {verdict}  ({seconds:.0f} s)", flush=True)
    print(f"{given.kills} kills of runs at work; {wrong} cases with other files")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
