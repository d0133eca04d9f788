"""jmp-calc serve: a warm model behind i-PI's protocol, against ASE's own server and against bad company."""

from __future__ import annotations

import copy
import json
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from jmp_calc import JMPCalculator
from jmp_calc.engines import ipi_wire
from jmp_calc.engines import serve as serve_module
from tests import programs
from tests.cli.conftest import model  # noqa: F401  fixture
from tests.engines.serving import WITHIN_S, Served, accepted, listening, posdata, received, word

pytestmark = pytest.mark.usefixtures("no_long_pauses")


def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("make", [lambda: molecule("CH3CH2OH"), crystal, slab])
def test_ase_gets_the_numbers_of_the_calculator(
    make: Callable[[], Atoms], calc: JMPCalculator, name: str
) -> None:
    atoms = make()
    served = Served(atoms, copy.copy(calc), unix=name)
    with SocketIOCalculator(unixsocket=name, timeout=WITHIN_S) as asked:
        for seed in range(3):
            atoms.rattle(0.02, seed=seed)
            if atoms.pbc.all():
                atoms.set_cell(1.01 * atoms.cell, scale_atoms=True)
            atoms.calc = asked
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            stress = atoms.get_stress() if atoms.pbc.any() else None
            atoms.calc = calc
            assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-14, abs=1e-12)
            assert np.abs(forces - atoms.get_forces()).max() < 1e-12
            if stress is not None:
                assert np.abs(stress - atoms.get_stress()).max() < 1e-12
    done = served.ended()
    assert (done.connections, done.evaluations, done.structures) == (1, 3, 3)
    assert any("3 evaluations" in line for line in served.said)


def test_dynamics_through_a_port_conserve_energy_and_the_model_stays_warm(calc: JMPCalculator) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    atoms = molecule("CH3CH2OH")
    served = Served(atoms, calc, port=port)
    for program in (1, 2):  # the second comes when the first has gone
        with SocketIOCalculator(port=port, timeout=WITHIN_S) as asked:
            atoms.calc = asked
            thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(program))
            dynamics, total = VelocityVerlet(atoms, 0.25 * units.fs), []
            dynamics.attach(lambda total=total: total.append(atoms.get_total_energy()))
            dynamics.run(20)
        assert np.ptp(total) < 2e-3 * len(atoms)
    done = served.ended()
    assert (done.connections, done.evaluations) == (2, 42)


def test_batches_of_i_pi_are_one_evaluation(calc: JMPCalculator, name: str) -> None:
    """i-PI announces the number of beads in INIT and then sends them together."""
    beads = [crystal() for _ in range(4)]
    for seed, bead in enumerate(beads):
        bead.rattle(0.05, seed=seed)
        bead.set_cell((1 + 0.01 * seed) * bead.cell, scale_atoms=True)
    text, size = b"batch_size:4", len(beads[0])
    with listening(name) as server:
        served = Served(beads[0], calc, unix=name)
        with accepted(server) as program:
            program.sendall(word("STATUS"))
            assert received(program, 12) == word("NEEDINIT")
            program.sendall(word("INIT") + struct.pack("ii", 0, len(text)) + text + word("STATUS"))
            assert received(program, 12) == word("READY")
            cells = b"".join(2 * (bead.cell.array.T / units.Bohr).tobytes() for bead in beads)
            places = b"".join((bead.positions / units.Bohr).tobytes() for bead in beads)
            program.sendall(word("POSDATA") + struct.pack("i", size) + cells + places + word("STATUS"))
            assert received(program, 12) == word("HAVEDATA")
            program.sendall(word("GETFORCE"))
            assert received(program, 12) == word("FORCEREADY")
            energies = np.frombuffer(received(program, 32)) * units.Ha
            assert struct.unpack("i", received(program, 4)) == (size,)
            forces = np.frombuffer(received(program, 96 * size)).reshape(4, size, 3) * units.Ha / units.Bohr
            virials = np.frombuffer(received(program, 4 * 72)).reshape(4, 3, 3) * units.Ha
            assert received(program, 16) == bytes(16)
            program.sendall(word("EXIT"))
    done = served.ended()
    assert (done.evaluations, done.structures) == (1, 4)
    for number, bead in enumerate(beads):
        bead.calc = calc
        assert energies[number] == pytest.approx(bead.get_potential_energy(), abs=1e-10)
        assert np.abs(forces[number] - bead.get_forces()).max() < 1e-10
        stress = -virials[number] / bead.get_volume()
        assert np.abs(stress - bead.get_stress(voigt=False)).max() < 1e-10


BAD = {
    "garbage": (b"HTTP/1.1 400 Bad Request\r\n", "not i-PI's protocol: 'HTTP/1.1 400'"),
    "bytes": (bytes(range(200, 224)), "not i-PI's protocol"),
    "atoms": (posdata(molecule("H2O"), 2**31 - 1), "sent 2147483647 atoms, the structure has 9"),
    "negative": (posdata(molecule("H2O"), -1), "sent -1 atoms, the structure has 9"),
    "other atoms": (posdata(molecule("H2O")), "sent 3 atoms, the structure has 9"),
    "text": (word("INIT") + struct.pack("ii", 0, 2**31 - 1), "text of 2147483647 bytes"),
    "batch": (word("INIT") + struct.pack("ii", 0, 21) + b"batch_size:9999999999", "batches of '9999999999'"),
    "order": (word("GETFORCE"), "GETFORCE came before POSDATA"),
    "nan": (posdata(Atoms("H9", np.full((9, 3), np.nan))), "not finite"),
    "one place": (posdata(Atoms("H9", np.zeros((9, 3)))), "atoms"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_company_is_told_once_and_the_next_program_is_served(
    kind: str, calc: JMPCalculator, name: str
) -> None:
    sent, text = BAD[kind]
    atoms = molecule("CH3CH2OH")
    with listening(name) as server:
        served = Served(atoms, calc, unix=name)
        for _ in range(2):
            with accepted(server) as program:
                program.sendall(sent)
                assert received(program, 1) == b"", "the connection is closed, nothing is waited for"
    with SocketIOCalculator(unixsocket=name, timeout=WITHIN_S) as asked:
        atoms.calc = asked
        assert np.isfinite(atoms.get_potential_energy())
    assert served.ended().connections == 1
    assert len([line for line in served.said if text in line]) == 1, served.said


@pytest.mark.parametrize(
    "sent", [b"", b"STAT", posdata(molecule("CH3CH2OH"))[:200], posdata(molecule("CH3CH2OH"))]
)
def test_programs_that_vanish_are_followed_by_the_next(sent: bytes, calc: JMPCalculator, name: str) -> None:
    atoms = molecule("CH3CH2OH")
    with listening(name) as server:
        served = Served(atoms, calc, unix=name)
        with accepted(server) as program:
            program.sendall(sent)
            linger = struct.pack("ii", 1, 0)  # closes as a killed machine: reset
            program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    with SocketIOCalculator(unixsocket=name, timeout=WITHIN_S) as asked:
        atoms.calc = asked
        atoms.get_potential_energy()
    assert served.ended().connections >= 1


def test_a_message_that_stops_in_the_middle_does_not_hang(
    calc: JMPCalculator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipi_wire, "MESSAGE_S", 0.5)
    with listening(name) as server:
        served = Served(molecule("CH3CH2OH"), calc, unix=name)
        with accepted(server) as program:
            program.sendall(posdata(molecule("CH3CH2OH"))[:100])
            assert received(program, 1) == b""
    assert served.ended().evaluations == 0
    assert any("stopped in the middle: 88 of 144 bytes" in line for line in served.said)


def test_two_at_one_socket(calc: JMPCalculator, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASE talks to one of them; the other waits, says so, and ends when nobody listens."""
    monkeypatch.setattr(serve_module, "QUIET_S", 0.3)
    atoms = molecule("CH3CH2OH")
    with SocketIOCalculator(unixsocket=name, timeout=WITHIN_S) as asked:
        both = [Served(atoms, copy.copy(calc), unix=name) for _ in range(2)]
        atoms.calc = asked
        atoms.get_potential_energy()
        end = time.monotonic() + WITHIN_S
        while not any("another process" in line for one in both for line in one.said):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert np.isfinite(atoms.get_forces()).all()
    assert sorted(one.ended().evaluations for one in both) == [0, 1]


def test_faults_go_where_they_are_wanted_and_closed_doors_are_told(
    calc: JMPCalculator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "CLOSED_AT_ONCE", 3)
    faults: list[str] = []
    with listening(name) as server:
        served = Served(molecule("CH3CH2OH"), calc, unix=name, fault=faults.append)
        with accepted(server) as program:
            program.sendall(posdata(molecule("H2O")))
            assert received(program, 1) == b""
        for _ in range(4):
            accepted(server).close()
        served.ended()
    assert len(faults) == 2 and "sent 3 atoms" in faults[0] and "closed each time" in faults[1], faults
    assert not any("disconnected" in line for line in served.said)


def test_the_command_ends_at_a_signal_with_what_it_did(
    model: str,  # noqa: F811
    name: str,
    tmp_path: Path,
) -> None:
    atoms = molecule("H2O")
    write(tmp_path / "water.xyz", atoms)
    words = [*programs.JMP_CALC, "serve", tmp_path / "water.xyz", "-m", model, "--unix", name, "--json"]
    with (
        SocketIOCalculator(unixsocket=name, timeout=programs.LIMIT_S) as asked,
        programs.started(words) as command,
    ):
        atoms.calc = asked
        energy = atoms.get_potential_energy()
        command.send_signal(signal.SIGTERM)
        stdout, stderr = command.communicate(timeout=WITHIN_S)
    assert command.returncode == 0, stderr
    assert "ended: connections: 1, evaluations: 1," in stderr
    assert json.loads(stdout)["results"]["stopped_by"] == signal.SIGTERM
    atoms.calc = JMPCalculator(model, device="cpu")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
