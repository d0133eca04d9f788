"""Write tests/reference/compact from JMP_CALC_REFERENCE: ``python tests/reference/make_compact.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reference.data import COMPACT, FULL, from_full, write_compact


def main() -> None:
    """Rewrite the compact copy and report its size."""
    write_compact(from_full(FULL))
    files = sorted(COMPACT.iterdir())
    for path in files:
        print(f"{path.name:28s} {path.stat().st_size / 1e3:8.0f} kB")
    print(f"{'total':28s} {sum(path.stat().st_size for path in files) / 1e3:8.0f} kB")


if __name__ == "__main__":
    main()
