"""serve() beside a test, which is the program that asks: ASE's, or one that says what it likes."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase import Atoms, units
from ase.calculators.calculator import Calculator

from jmp_calc.engines.serve import ServeResult, serve

WITHIN_S = 60.0
Listening = socket.socket


class Served(threading.Thread):
    """serve() beside the test, which is the program that asks."""

    def __init__(self, atoms: Atoms, calc: Calculator, **address: Any) -> None:
        super().__init__(daemon=True)
        self.atoms, self.address = atoms.copy(), {"wait": WITHIN_S, **address}
        self.atoms.calc = calc
        self.said: list[str] = []
        self.result: ServeResult | None = None
        self.error: Exception | None = None
        self.finished = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            stop = self.finished.is_set
            self.result = serve(self.atoms, **self.address, until=stop, say=self.said.append)
        except Exception as error:
            self.error = error

    def ended(self) -> ServeResult:
        """What was done, when all that came is answered."""
        self.finished.set()
        return self.joined()

    def joined(self) -> ServeResult:
        """What was done, when nobody listens any more."""
        self.join(WITHIN_S)
        assert not self.is_alive(), "serve hangs"
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


@contextmanager
def listening(name: str) -> Iterator[Listening]:
    """A program that is not ASE: the test says what it sends."""
    path = f"/tmp/ipi_{name}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(4)
        server.settimeout(WITHIN_S)
        try:
            yield server
        finally:
            Path(path).unlink()


def accepted(server: Listening) -> socket.socket:
    """The next connection of serve."""
    connection, _ = server.accept()
    connection.settimeout(WITHIN_S)
    return connection


def word(text: str) -> bytes:
    return text.ljust(12).encode()


def received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            part = connection.recv(size - len(found))
        except ConnectionResetError:  # closed with bytes that were not read
            break
        if not part:
            break
        found += part
    return found


def posdata(atoms: Atoms, count: int | None = None) -> bytes:
    cell = atoms.cell.array.T / units.Bohr
    size = struct.pack("i", len(atoms) if count is None else count)
    return word("POSDATA") + cell.tobytes() * 2 + size + (atoms.positions / units.Bohr).tobytes()
