"""Factories for the tests of labelling: calculators that hang, crash, give NaN, and a teacher in batches."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from jmp_calc.labelling.labels import CHARGE, Batches, Labels, TeacherFacts


class Moody(EMT):
    """EMT that behaves as the element says: hangs on Ni, crashes on Pd, gives NaN on Ag, fails on Pt."""

    def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
        """As EMT's."""
        super().calculate(atoms, *args, **kwargs)
        print("a teacher that prints on the standard output")
        symbols = set(atoms.symbols)
        if "Ni" in symbols:
            time.sleep(1000)
        if "Pd" in symbols:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "Ag" in symbols:
            self.results["forces"] = np.full((len(atoms), 3), np.nan)
        if "Pt" in symbols:
            raise RuntimeError("no self-consistency after 250 steps")


def slow(seconds: float) -> EMT:
    """EMT that takes its time."""

    class Slow(EMT):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(seconds)
            super().calculate(*args, **kwargs)

    return Slow()


def counting(file: str) -> EMT:
    """EMT that notes every call in a file."""

    class Counting(EMT):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            with open(file, "a") as stream:
                stream.write("x")
            super().calculate(*args, **kwargs)

    return Counting()


class Writing(EMT):
    """EMT that leaves a file."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """As EMT's."""
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        Path(self.directory, "INCAR").write_text("x")
        super().calculate(*args, **kwargs)


class Together:
    """A teacher of its own: an ensemble in batches, that crashes on more than one structure with argon."""

    def __init__(self, log: str | None = None) -> None:
        self._log = log

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""
        return TeacherFacts(
            "LJ", "1", elements=(2, 10, 18), batches=Batches(frames=4, atoms=12), domain="molecules"
        )

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels with a spread of the distance between atoms."""
        if self._log:
            with Path(self._log).open("a") as stream:
                stream.write(f"{[len(atoms) for atoms in frames]}\n")
        if len(frames) > 1 and any((atoms.numbers == 18).any() for atoms in frames):
            os._exit(3)
        return [self._one(atoms) for atoms in frames]

    @staticmethod
    def _one(atoms: Atoms) -> Labels:
        calculator = LennardJones()
        forces = calculator.get_property("forces", atoms)
        spread = float(np.ptp(atoms.positions[:, 0]))
        return Labels(calculator.results["energy"], forces, energy_spread=0.1, forces_spread=spread)


class Ionic:
    """A teacher that honours charges: 1 eV, and 7 eV for each."""

    facts = TeacherFacts("ionic", "1", takes_charge=True)

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels without forces."""
        return [Labels(1.0 + 7.0 * atoms.info[CHARGE], np.zeros((len(atoms), 3))) for atoms in frames]


def no_calculator() -> str:
    """Not what is wanted."""
    return "text"
