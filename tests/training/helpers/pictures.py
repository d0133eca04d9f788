"""Figures of training runs, which take longer to draw than a tiny network takes to train."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jmp_calc.training.validation import plots


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are made and not drawn; tests/training/validation/test_plots.py draws each kind."""

    def empty(figure: object, path: Path) -> None:
        path.write_text("<svg/>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_save", empty)
        yield
