"""A Dask cluster of two workers gives the rows of one process."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ase.calculators.emt import EMT

from jmp_calc.errors import UsageError
from jmp_calc.screening.engines import Dask
from jmp_calc.screening.screen import Source, run_screen, screen
from jmp_calc.screening.settings import ScreenSettings
from jmp_calc.workflows.relax_settings import RelaxSettings
from tests.extras import needs
from tests.screening.test_screen import crystals, energies

INSTALLED = importlib.util.find_spec("distributed") is not None
needs_dask = needs("dask")


@pytest.mark.skipif(INSTALLED, reason="Dask is installed")
def test_without_dask_the_extra_is_named() -> None:
    with pytest.raises(UsageError, match="Dask is not installed") as caught:
        Dask("local", 2)
    assert caught.value.hint == "pip install 'jmp-calc[dask]'"


@needs_dask
def test_a_local_cluster_computes_the_same(tmp_path: Path) -> None:
    given, settings = crystals(), ScreenSettings(settings=RelaxSettings(fmax=0.05), batch=1)
    source = Source.of(given, None)
    (tmp_path / "dask").mkdir()
    found = run_screen(
        source, settings, EMT, tmp_path / "dask" / "screen.jsonl", Dask("local", 2), quiet=True
    )
    here = screen(
        given, calc=EMT, settings=RelaxSettings(fmax=0.05), batch=1, out=tmp_path / "here", plot=False
    )
    assert found.counts["ok"] == len(given)
    assert energies(found) == pytest.approx(energies(here), abs=1e-9)
