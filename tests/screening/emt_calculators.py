"""Calculators that worker processes make by the name of a function of this module."""

from __future__ import annotations

import os
import signal
import time

from ase.calculators.emt import EMT


class Deadly(EMT):
    """EMT that ends its process at gold, as a crash in compiled code does."""

    def calculate(self, atoms: object = None, *rest: object) -> None:
        if 79 in atoms.numbers:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *rest)


class Slow(EMT):
    """EMT that takes 5 ms."""

    def calculate(self, *given: object) -> None:
        time.sleep(0.005)
        super().calculate(*given)
