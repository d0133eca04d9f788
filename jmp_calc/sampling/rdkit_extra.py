"""RDKit, which molecules need and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ..errors import UsageError


def require_rdkit() -> None:
    """UsageError with the line to install it where RDKit is missing."""
    if find_spec("rdkit") is None:
        raise UsageError("Molecules are drawn with RDKit, which is not installed.", hint=INSTALL)


INSTALL = 'pip install "jmp-calc[sample]"'


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Keep RDKit from writing to stderr about every graph that it refuses."""
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        yield
