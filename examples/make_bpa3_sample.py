"""Make jmp_calc/samples/bpa3_sample.xyz.gz from the published 3BPA files (attribution: NOTICE).

    python examples/make_bpa3_sample.py bpa3_train.xyz.gz bpa3_iso.xyz.gz

The frames are copied as text, so that no digit changes; isolated atoms come first, as
config_type=IsolatedAtom.
The gzip header carries no time stamp: the same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "jmp_calc" / "samples" / "bpa3_sample.xyz.gz"


def frames(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Comment line and atom lines of each frame of a gzipped extended-XYZ file."""
    lines = iter(gzip.decompress(path.read_bytes()).decode().splitlines())
    for count in lines:
        yield next(lines), [next(lines) for _ in range(int(count))]


def with_group(comment: str, group: str) -> str:
    """The comment line with its config_type set to `group`."""
    bare = re.sub(r'\s*\bconfig_type=("[^"]*"|\S+)', "", comment)
    return f"{bare} config_type={group}"


def main(train: str, isolated: str) -> None:
    """Write the sample from the training frames and the isolated atoms."""
    blocks = [(with_group(comment, "IsolatedAtom"), atoms) for comment, atoms in frames(Path(isolated))]
    blocks += list(frames(Path(train)))
    text = "".join(f"{len(atoms)}\n{comment}\n" + "\n".join(atoms) + "\n" for comment, atoms in blocks)
    SAMPLE.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{SAMPLE}: {len(blocks)} frames, {SAMPLE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
