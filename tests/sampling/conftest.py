"""RDKit where it is installed; sets of samples that several tests look at."""

from __future__ import annotations

import importlib.util

import pytest

from jmp_calc.sampling.run import SampleResult
from jmp_calc.sampling.sample import sample

NEEDS_RDKIT = pytest.mark.skipif(
    importlib.util.find_spec("rdkit") is None, reason='needs RDKit: pip install "jmp-calc[sample]"'
)


@pytest.fixture(scope="session")
def molecules() -> SampleResult:
    """150 molecules of 3 to 24 atoms."""
    return sample("molecules", count=150, atoms=(3, 24))
