"""A model that stays loaded and computes for whoever opens a socket by i-PI's protocol: i-PI, ASE, others.

In this protocol the program that moves the atoms listens and asks, and the one that computes connects to it:
``serve`` connects, answers, and when the program has ended waits for the next one at the same place.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import JMPError, UsageError
from ..machine.signals import deferred_signals
from .ipi_wire import POLL_S, ClosedError, Session, StoppedError, Wire
from .replicas import Replicas

if TYPE_CHECKING:
    from ase import Atoms

UNIX_PREFIX: Final = "/tmp/ipi_"
"""Where i-PI and ASE make the sockets that they are given a name for."""
CONNECT_S: Final = 10.0
QUIET_S: Final = 10.0
"""After so long without a question the user is told that the program may be talking to another process."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
"""Between connections that fail one after the other; each pause is twice the last."""
CLOSED_AT_ONCE: Final = 50
"""Connections one after the other on which nothing was asked, after which the user is told."""
PASSING: Final = {
    *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL),
    socket.EAI_AGAIN,
}
"""Numbers of errors of a network that may be there again."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Address:
    """Where the other program listens; ``str`` names it for messages."""

    unix: str | None
    host: str
    port: int

    def __str__(self) -> str:
        return f"port {self.port} of {self.host}" if self.unix is None else f"the socket {self.unix}"

    def check_free(self) -> None:
        """UsageError where a file or folder is in the way of the socket, so that nobody can ever listen."""
        path = None if self.unix is None else Path(self.unix)
        if path is not None and path.exists() and not path.is_socket():
            what = "a folder" if path.is_dir() else "a file"
            raise UsageError(f"{path} is {what}, no socket.", hint="remove it, or choose another name")

    def connected(self) -> socket.socket:
        """A connection to whoever listens.

        Raises:
            OSError: nobody does, or it may not be used.
        """
        if self.unix is not None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.settimeout(CONNECT_S)
                connection.connect(self.unix)
            except BaseException:
                connection.close()
                raise
            return connection
        connection = socket.create_connection((self.host, self.port), CONNECT_S)
        if connection.getsockname() == connection.getpeername():
            connection.close()  # the system had given the free port that we knock at to our own side
            raise ConnectionRefusedError
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection


def address_of(unix: str | None, port: int | None, host: str | None = None) -> Address:
    """The address that options name.

    Args:
        unix: name that i-PI and ASE put /tmp/ipi_ before, or a path.
        port: number, 1 to 65535.
        host: of the port; None: this computer.

    Raises:
        UsageError: none or both of ``unix`` and ``port``, ``host`` beside ``unix``, a name that is too long.
    """
    if (unix is None) == (port is None):
        fact = "No socket was named." if unix is None else "Two sockets were named."
        raise UsageError(fact, hint="give --unix NAME or --port NUMBER, as the other program has it")
    if port is not None:
        if not 1 <= port <= 65535:
            raise UsageError(f"{port} is no port.", hint="choose one from 1 to 65535")
        return Address(None, host or "localhost", port)
    assert unix is not None
    if host is not None:
        raise UsageError("A unix socket has no host.", hint="give --port NUMBER with --host")
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("This system has no unix sockets.", hint="use --port NUMBER")
    path = unix if "/" in unix else UNIX_PREFIX + unix
    if not unix or len(path.encode()) > 107 or "\0" in path:
        raise UsageError(f"{unix!r} cannot be a name of a socket.", hint="choose a name of 1 to 98 letters")
    return Address(path, "", 0)


@dataclass(frozen=True)
class ServeResult:
    """What was done for all programs."""

    connections: int
    """Connections on which something was computed."""
    evaluations: int
    structures: int
    """More than evaluations where i-PI sent batches."""
    seconds: float
    """From the first wait to the end."""
    stopped_by: int | None = None
    """Number of the signal, or None: nobody listened any more."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"connections: {self.connections}, evaluations: {self.evaluations}, "
            f"structures: {self.structures}, {self.seconds:.1f} s"
        )


def serve(
    atoms: Atoms,
    *,
    unix: str | None = None,
    port: int | None = None,
    host: str | None = None,
    wait: float | None = None,
    until: Callable[[], bool] = lambda: False,
    say: Say = print,
    fault: Say | None = None,
) -> ServeResult:
    """Compute for the programs that listen at one address, one after the other, until a signal.

    Args:
        atoms: structure with a calculator, whose elements and periodicity the programs' atoms have, in
            this order. Only read.
        unix: name of a unix socket, as i-PI and ASE are given it (/tmp/ipi_NAME), or a path with a slash.
            Default: None.
        port: number of a TCP port, instead of ``unix``. Default: None.
        host: computer on which the program listens at ``port``; this one if none is given. Default: None.
        wait: seconds that nobody may listen before the end; no limit if none is given. Default: None.
        until: asked between messages whether to end: in a thread, where no signal arrives. Default: never.
        say: called with a line about each connection. Default: print.
        fault: called instead with a line about each that failed. Default: ``say``.

    Raises:
        UsageError: an address that is none, one that may not be used, a ``wait`` that is none, or nobody was
            served within it.
        BadStructureError, ModelError: as ``relax`` of ``atoms``.
        Interrupted: at a second signal. The first ends it when the evaluation under way is done.
    """
    address = address_of(unix, port, host)
    check_wait(wait)
    replicas = Replicas(atoms, atoms.calc)
    with deferred_signals() as signals:

        def stopped() -> bool:
            return signals.received is not None or until()

        service = _Service(address, replicas, wait, Told(say, fault or say), stopped)
        done = service.run()
    return replace(done, stopped_by=signals.received)


def check_wait(wait: float | None) -> None:
    """UsageError for what is no time to wait."""
    if wait is not None and not wait >= 0:
        raise UsageError(f"{wait} s is no time to wait.", hint="0 or more; without it there is no limit")


class Told(NamedTuple):
    """Where lines go."""

    say: Say
    fault: Say


class _Service:
    """The loop over connections, and what is counted."""

    def __init__(
        self,
        address: Address,
        replicas: Replicas,
        wait: float | None,
        told: Told,
        stopped: Callable[[], bool],
    ) -> None:
        self._address, self._replicas, self._wait, self._told = address, replicas, wait, told
        self._stopped = stopped
        self._closed_at_once = 0
        self._connections = self._evaluations = self._structures = 0
        self._fault: JMPError | None = None
        self._pause = 0.0
        self._away = ""
        """Why the network gave no connection, for the sentence at the end."""

    def run(self) -> ServeResult:
        """Connect and answer, again and again."""
        started = served = time.monotonic()
        self._told.say(f"waiting for a program at {self._address}")
        while not self._stopped():
            connection = self._connection()
            if connection is not None and self._answer(connection):
                served = time.monotonic()
            if self._wait is not None and time.monotonic() - served > self._wait:
                if not self._connections:
                    raise self._nobody()
                break
            left = float("inf") if self._wait is None else served + self._wait - time.monotonic()
            self._sleep(max(min(self._pause, left), POLL_S))
        return ServeResult(
            self._connections,
            self._evaluations,
            self._structures,
            round(time.monotonic() - started, 3),
        )

    def _sleep(self, seconds: float) -> None:
        """In short naps: a signal that is remembered ends no sleep."""
        end = time.monotonic() + seconds
        while not self._stopped() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_S))

    def _connection(self) -> socket.socket | None:
        """None while nobody listens; UsageError for what waiting does not change."""
        try:
            return self._address.connected()
        except (ConnectionError, FileNotFoundError, TimeoutError, BlockingIOError):
            self._address.check_free()
            return None
        except (OSError, UnicodeError) as error:  # the latter of names that are none
            number = getattr(error, "errno", None)
            if number in PASSING or (self._connections and number is not None):
                self._away = f": {error.strerror}" if isinstance(error, OSError) else ""
                return None
            raise UsageError(
                f"Connecting to {self._address} failed: {getattr(error, 'strerror', None) or error}.",
                hint="check name, host and permissions",
            ) from error

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one program until it leaves; whether anything was computed."""
        started = time.monotonic()
        told = False

        def idle(seconds: float) -> None:
            nonlocal told
            if seconds > QUIET_S and not session.evaluations and not told:
                told = True
                self._told.say(
                    f"connected to {self._address}, which asks for nothing: it may not have started its "
                    "dynamics, or be talking to another process"
                )

        fault: JMPError | None = None
        session = Session(Wire(connection, self._stopped, idle), self._replicas)
        with connection:
            try:
                session.run()
            except StoppedError:
                pass
            except JMPError as error:
                fault = error
        self._count(session, fault, time.monotonic() - started)
        return session.evaluations > 0

    def _count(self, session: Session, fault: JMPError | None, seconds: float) -> None:
        """Add up, and tell one line of the connection; the same fault again is not told again."""
        self._evaluations += session.evaluations
        self._structures += session.structures
        self._connections += session.evaluations > 0
        known = isinstance(fault, ClosedError)  # most programs leave without EXIT
        repeated = fault is not None and not session.evaluations and str(fault) == str(self._fault)
        self._pause = (
            min(max(2 * self._pause, FIRST_PAUSE_S), LONGEST_PAUSE_S) if fault and not known else 0.0
        )
        self._fault = fault
        if known and not session.evaluations:
            self._closed_at_once += 1
            if self._closed_at_once == CLOSED_AT_ONCE:
                self._told.fault(
                    f"connected to {self._address} {CLOSED_AT_ONCE} times, and closed each time before a "
                    "question: something else may listen there"
                )
            if self._closed_at_once >= CLOSED_AT_ONCE:
                self._pause = FIRST_PAUSE_S
            return
        self._closed_at_once = 0
        if repeated:
            return
        done = f"{session.evaluations} evaluations of {session.structures} structures in {seconds:.1f} s"
        what = f"connection {self._connections}: {done}" if session.evaluations else "nothing was computed"
        if fault is None or known:
            self._told.say(f"{what}; the program ended")
        else:
            self._told.fault(f"{what}; disconnected: {fault}")

    def _nobody(self) -> UsageError:
        if self._fault is not None and not isinstance(self._fault, ClosedError):
            return UsageError(f"Nothing could be computed: {self._fault.fact}", hint=self._fault.hint)
        hint = "start the program that opens it, or wait longer with --wait"
        return UsageError(f"Nobody listened at {self._address} for {self._wait:g} s{self._away}.", hint=hint)
