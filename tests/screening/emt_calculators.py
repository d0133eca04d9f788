"""Calculators that worker processes make by the name of a function of this module."""

from __future__ import annotations

import os
import signal

from ase.calculators.emt import EMT


class Deadly(EMT):
    """EMT that ends its process at gold, as a crash in compiled code does."""

    def calculate(self, atoms: object = None, *rest: object) -> None:
        if 79 in atoms.numbers:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *rest)


class Mortal(EMT):
    """EMT that kills the campaign at an evaluation, as JMP_TEST_KILL says: "30" its own process at the
    30th, "20 parent" the one that has started it; "20 interrupt" is a Ctrl-C."""

    count = 0

    def calculate(self, *given: object) -> None:
        type(self).count += 1
        at, _, whom = os.environ.get("JMP_TEST_KILL", "").partition(" ")
        if str(self.count) == at and whom == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        elif str(self.count) == at:
            os.kill(os.getppid() if whom else os.getpid(), signal.SIGKILL)
        super().calculate(*given)
