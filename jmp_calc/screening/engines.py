"""Who computes: this process, processes of ours, a Dask cluster, or any executor that is handed in."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadInputError, UsageError
from ..machine.cores import available_cores
from .worker import started

if TYPE_CHECKING:
    from collections.abc import Callable

DASK_LOCAL = "local"


class Engine(Protocol):
    """Makes executors: another one where the first is broken."""

    width: int
    """Orders that are under way at once."""
    replaceable: bool
    """Whether ``executor`` gives a sound one after a worker has died."""

    @property
    def threads(self) -> int | None:
        """Of a worker; None: as whoever started it has set them."""
        ...

    def executor(self) -> Any:
        """A context manager that gives a ``concurrent.futures.Executor``."""
        ...


class Here:
    """This process, one order after the other."""

    width, threads, replaceable = 1, None, False

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """One that computes when it is given an order."""
        yield _Immediate()


class _Immediate(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done already."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes:
    """Processes of this machine, which end with this one."""

    replaceable = True

    def __init__(self, count: int) -> None:
        """Each uses its share of the cores."""
        self.width = 2 * count  # the next order is there when a process has finished one
        self.threads = max(available_cores() // count, 1)
        self._count = count

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """A pool; what it still computes at the end is given up."""
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),  # torch does not survive a fork
            initializer=started,
        )
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()  # they write nothing; what they were at is computed again


class Given:
    """An executor of the caller, who ends it."""

    threads, replaceable = None, False

    def __init__(self, executor: Executor, width: int) -> None:
        self.width, self._executor = width, executor

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """The one that was given."""
        yield self._executor


class Dask:
    """A cluster of Dask: a local one, or that of a scheduler."""

    threads, replaceable = None, False  # Dask gives its workers one thread

    def __init__(self, address: str, processes: int) -> None:
        """``address``: "local", or such as tcp://host:8786. UsageError where Dask is not installed."""
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise UsageError("Dask is not installed.", hint="pip install 'jmp-calc[dask]'") from error
        self.width, self._address, self._processes = 2 * processes, address, processes

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """The executor of a client, which is closed at the end.

        Raises:
            BadInputError: no scheduler answers at the address.
        """
        from distributed import Client, LocalCluster

        if self._address == DASK_LOCAL:
            with (
                LocalCluster(
                    n_workers=self._processes, threads_per_worker=1, processes=True, dashboard_address=None
                ) as cluster,
                Client(cluster) as client,
            ):
                yield client.get_executor(pure=False)
            return
        try:
            client = Client(self._address, timeout=20)
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"No Dask scheduler answers: {error}.", where=self._address, hint="start one: dask scheduler"
            ) from error
        with client:
            self.width = 2 * max(sum(client.nthreads().values()), 1)
            yield client.get_executor(pure=False)
