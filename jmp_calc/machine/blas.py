"""Threads of numpy's linear algebra."""

from __future__ import annotations

import os

VARIABLE = "OPENBLAS_NUM_THREADS"


def one_blas_thread() -> None:
    """Let numpy's linear algebra use one thread, unless the environment says otherwise; to be called before
    numpy is imported.

    An optimizer diagonalises a small matrix in every step. On several threads these wait for those of torch:
    64 relaxations of molecules took 63 s on two threads of each, 28 s with one for numpy
    (benchmarks/screen.py relax --threads 2).
    """
    os.environ.setdefault(VARIABLE, "1")
