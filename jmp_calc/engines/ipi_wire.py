"""i-PI's socket protocol, the side that computes: headers of 12 letters, numbers as they are in memory.

    STATUS    answered by NEEDINIT, READY or HAVEDATA
    INIT      number of the bead, a text; "batch_size:16" in it: positions come 16 structures at a time
    POSDATA   cells, number of atoms, positions: they are evaluated
    GETFORCE  answered by FORCEREADY, energies, number of atoms, forces, virials, a text (none)
    EXIT      the end

What comes is not believed: a number of atoms is compared before anything is read, a text is short, and a
message that does not end in time is an error. Units are hartree and bohr by ASE's numbers, so that what ASE's
SocketIOCalculator gets is what was computed.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.units import Bohr, Ha

from ..errors import BadInputError, JMPError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .replicas import Answer, Replicas

HEADER: Final = 12
POLL_S: Final = 0.2
"""How often a connection on which nothing comes is asked whether it is to stop."""
MESSAGE_S: Final = 30.0
"""The longest that the rest of a message may take."""
MOST_TEXT: Final = 2**16
MOST_STRUCTURES: Final = 4096


class ClosedError(JMPError):
    """The other side closed the connection, or broke it, in the middle of a message or between two."""


class StoppedError(JMPError):
    """This side is to stop; raised between two messages."""


class Wire:
    """Bytes of one connection, in time."""

    def __init__(
        self,
        connection: socket.socket,
        stopped: Callable[[], bool] = lambda: False,
        idle: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``stopped`` is asked, and ``idle`` is told for how many seconds nothing came, between messages."""
        self._connection, self._stopped, self._idle = connection, stopped, idle
        connection.settimeout(POLL_S)

    def header(self) -> bytes:
        """The first word of the next message, however long it takes to come.

        Raises:
            ClosedError: no further message comes. StoppedError. BadInputError: its rest does not come.
        """
        since, first = time.monotonic(), b""
        while not first:
            if self._stopped():
                raise StoppedError("Stopped.")
            try:
                first = self._part(HEADER)
            except TimeoutError:
                self._idle(time.monotonic() - since)
        return (first + self.receive(HEADER - len(first))).rstrip()

    def receive(self, size: int) -> bytes:
        """Exactly ``size`` bytes of a message that has begun; memory grows with what comes.

        Raises:
            ClosedError: closed in between. BadInputError: they do not come in time.
        """
        found, end = bytearray(), time.monotonic() + MESSAGE_S
        while len(found) < size:
            try:
                found += self._part(min(size - len(found), 2**20))
            except TimeoutError:
                if time.monotonic() > end:
                    fact = f"A message stopped in the middle: {len(found)} of {size} bytes came."
                    raise BadInputError(fact) from None
        return bytes(found)

    def _part(self, most: int) -> bytes:
        try:
            part = self._connection.recv(most)
        except TimeoutError:
            raise
        except OSError as error:
            raise ClosedError(f"The connection broke: {error.strerror or error}.") from error
        if not part:
            raise ClosedError("The connection was closed.")
        return part

    def integer(self) -> int:
        """One number of 32 bits."""
        return int(np.frombuffer(self.receive(4), np.int32)[0])

    def floats(self, *shape: int) -> NDArray[np.float64]:
        """An array of numbers of 64 bits."""
        return np.frombuffer(self.receive(8 * int(np.prod(shape))), np.float64).reshape(shape)

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ClosedError: nobody takes it.
        """
        self._connection.settimeout(MESSAGE_S)
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise ClosedError(f"The connection broke: {error.strerror or error}.") from error
        finally:
            self._connection.settimeout(POLL_S)


class Session:
    """One connection: what the other side asks, and what it is answered."""

    def __init__(self, wire: Wire, replicas: Replicas) -> None:
        """``replicas`` computes."""
        self._wire, self._replicas = wire, replicas
        self._ready, self._batch = False, 1
        self._answers: list[Answer] = []
        self.evaluations = self.structures = 0

    def run(self) -> None:
        """Answer until the other side says EXIT or closes the connection between two messages.

        Raises:
            BadInputError: what comes is not this protocol, or of another structure. ClosedError: closed in
                the middle. StoppedError. The errors of the calculator.
        """
        handlers = {
            b"STATUS": self._status,
            b"INIT": self._init,
            b"POSDATA": self._positions,
            b"GETFORCE": self._forces,
        }
        while True:
            word = self._wire.header()
            if word == b"EXIT":
                return
            if word not in handlers:
                fact = f"What came is not i-PI's protocol: {_shown(word)}."
                raise BadInputError(fact, hint="name the socket of i-PI or of ASE's SocketIOCalculator")
            handlers[word]()

    def _status(self) -> None:
        state = "HAVEDATA" if self._answers else "READY" if self._ready else "NEEDINIT"
        self._wire.send(_padded(state))

    def _init(self) -> None:
        self._wire.integer()  # of the bead that comes first, which means nothing to a potential
        size = self._wire.integer()
        if not 0 <= size <= MOST_TEXT:
            raise BadInputError(f"INIT announces a text of {size} bytes, more than {MOST_TEXT}.")
        self._batch = _batch_size(self._wire.receive(size).decode("utf-8", "replace"))
        self._ready = True

    def _positions(self) -> None:
        together = self._batch > 1  # then the number of atoms comes before the cells, see i-PI's sockets.py
        if together:
            self._check_atoms(self._wire.integer())
        cells = self._wire.floats(self._batch, 2, 3, 3)[:, 0]  # the second is the inverse
        if not together:
            self._check_atoms(self._wire.integer())
        positions = self._wire.floats(self._batch, len(self._replicas), 3)
        self._answers = self._replicas.evaluate(
            [Bohr * cell.T for cell in cells], [Bohr * places for places in positions]
        )
        self._ready = True
        self.evaluations += 1
        self.structures += self._batch

    def _check_atoms(self, count: int) -> None:
        if count != len(self._replicas):
            raise BadInputError(
                f"The program sent {count} atoms, the structure has {len(self._replicas)}.",
                hint="give both the same structure, atoms in the same order",
            )

    def _forces(self) -> None:
        if not self._answers:
            raise BadInputError("GETFORCE came before POSDATA.")
        answers, self._answers = self._answers, []
        self._wire.send(
            _padded("FORCEREADY")
            + np.array([answer.energy / Ha for answer in answers]).tobytes()
            + np.int32(len(self._replicas)).tobytes()
            + np.array([answer.forces * (Bohr / Ha) for answer in answers]).tobytes()
            + np.array([answer.virial / Ha for answer in answers]).tobytes()
            + np.zeros(len(answers), np.int32).tobytes()  # lengths of texts that are not sent
        )


def _padded(word: str) -> bytes:
    return word.ljust(HEADER).encode()


def _shown(word: bytes) -> str:
    return repr(word.decode("ascii", "backslashreplace"))


def _batch_size(text: str) -> int:
    """Structures of a POSDATA, from the text of INIT; BadInputError for a number that cannot be meant."""
    for token in text.split(","):
        key, _, value = token.partition(":")
        if key.strip(" \0") == "batch_size":
            count = value.strip(" \0")
            if not count.isdecimal() or not 1 <= int(count) <= MOST_STRUCTURES:
                raise BadInputError(f"INIT announces batches of {count[:20]!r} structures.")
            return int(count)
    return 1
