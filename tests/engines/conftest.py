"""What tests of sockets share."""

from __future__ import annotations

import os
import time

import pytest

from jmp_calc.engines import ipi_wire
from jmp_calc.engines import serve as serve_module


@pytest.fixture
def name() -> str:
    """Of a socket that no other test has."""
    return f"jmp_test_{os.getpid()}_{time.monotonic_ns()}"


@pytest.fixture
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """For files whose tests wait for serve."""
    monkeypatch.setattr(serve_module, "POLL_S", 0.02)
    monkeypatch.setattr(ipi_wire, "POLL_S", 0.02)
    monkeypatch.setattr(serve_module, "FIRST_PAUSE_S", 0.02)
