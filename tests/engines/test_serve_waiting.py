"""Addresses of serve, and how long it waits at them for a program that asks."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from ase.build import molecule
from ase.calculators.socketio import SocketIOCalculator

from jmp_calc import JMPCalculator
from jmp_calc.engines.serve import address_of
from jmp_calc.errors import UsageError
from tests.engines.serving import WITHIN_S, Served

pytestmark = pytest.mark.usefixtures("no_long_pauses")


def test_nobody_listens(calc: JMPCalculator, name: str) -> None:
    with pytest.raises(UsageError, match=f"Nobody listened at the socket /tmp/ipi_{name} for 0.5 s"):
        Served(molecule("H2O"), calc, unix=name, wait=0.5).joined()


def test_what_is_in_the_way_of_the_socket_is_told_at_once(calc: JMPCalculator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path, what in ((tmp_path / "file", "a file"), (tmp_path, "a folder")):
        served = Served(molecule("H2O"), calc, unix=str(path))
        with pytest.raises(UsageError, match=f"{path} is {what}, no socket"):
            served.joined()
    assert (tmp_path / "file").read_text() == "mine"


def test_names_of_computers_that_are_none(calc: JMPCalculator) -> None:
    for host in ("node..17", "x" * 70):
        with pytest.raises(UsageError, match="Connecting to port 31555 of .* failed"):
            Served(molecule("H2O"), calc, port=31555, host=host).joined()


@pytest.mark.parametrize(
    "error", [OSError(errno.EHOSTUNREACH, "No route to host"), socket.gaierror(socket.EAI_AGAIN, "again")]
)
def test_a_network_that_is_away_may_come_back(
    error: OSError, calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def away(address: tuple[str, int], timeout: float) -> socket.socket:
        tried.append(address[0])
        raise error

    monkeypatch.setattr(socket, "create_connection", away)
    with pytest.raises(
        UsageError, match="Nobody listened at port 5555 of node17 for 0.5 s: (No route|again)"
    ):
        Served(molecule("H2O"), calc, port=5555, host="node17", wait=0.5).joined()
    assert len(tried) > 1


@pytest.mark.parametrize("wait", [float("nan"), -1.0])
def test_what_is_no_time_to_wait(calc: JMPCalculator, name: str, wait: float) -> None:
    with pytest.raises(UsageError, match="is no time to wait"):
        Served(molecule("H2O"), calc, unix=name, wait=wait).joined()


def test_it_ends_when_nobody_listens_any_more(calc: JMPCalculator, name: str) -> None:
    atoms = molecule("H2O")
    with SocketIOCalculator(unixsocket=name, timeout=WITHIN_S) as asked:
        served = Served(atoms, calc, unix=name, wait=0.5)
        atoms.calc = asked
        atoms.get_potential_energy()
    done = served.joined()
    assert (done.connections, done.stopped_by) == (1, None)


@pytest.mark.parametrize(
    "address, text",
    [
        ({}, "No socket was named"),
        ({"unix": "a", "port": 1}, "Two sockets"),
        ({"unix": "a", "host": "b"}, "no host"),
        ({"port": 65536}, "65536 is no port"),
        ({"unix": "x" * 200}, "cannot be a name"),
        ({"unix": ""}, "cannot be a name"),
    ],
)
def test_addresses_that_cannot_be_meant(address: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        address_of(**{"unix": None, "port": None, **address})


def test_names_are_those_of_i_pi_and_ase_and_ports_are_of_this_computer() -> None:
    assert address_of("water", None).unix == "/tmp/ipi_water"
    assert address_of("/run/my.socket", None).unix == "/run/my.socket"
    assert address_of(None, 31415).host == "localhost"
