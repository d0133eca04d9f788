"""Record sets: frames come back as they went in, statistics are those of the data, and nothing half-written
looks finished."""

from __future__ import annotations

import multiprocessing
import pickle
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import BadInputError
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.records.format import DoesNotFitError, Tables, decode, encode
from jmp_calc.training.records.writer import RecordWriter, ShardWriter
from tests.training.helpers.record_frames import made, molecule
from tests.training.helpers.tiny import emt_frames


def assert_same(found: Frame, frame: Frame) -> None:
    assert np.array_equal(found.numbers, frame.numbers)
    assert found.numbers.dtype == np.int64
    assert np.array_equal(found.positions, frame.positions.astype(np.float32).astype(float))
    assert np.array_equal(found.cell, frame.cell)
    assert np.array_equal(found.pbc, frame.pbc)
    for name in ("energy", "group", "source", "index", "head", "identifier", "targets"):
        assert getattr(found, name) == getattr(frame, name)
    for name in ("forces", "stress", "tags", "fixed"):
        got, expected = getattr(found, name), getattr(frame, name)
        assert (got is None) == (expected is None)
        if expected is not None:
            assert got.dtype == {"tags": np.int64, "fixed": bool}.get(name, float)
            assert np.array_equal(got, expected if name in ("tags", "fixed") else expected.astype(np.float32))


def test_frames_come_back(tmp_path: Path) -> None:
    frames = [
        *emt_frames(3),
        molecule(
            [8, 1, 1],
            -2043.123456789012,
            7,
            identifier="wasser-Ω",
            targets={"gap": 1.25, "µ": -3e-9},
            head="wb97",
        ),
        molecule([6], None, 1, forces=None, targets={"µ": 2.0}),
        molecule(
            [29] * 11,
            -1.0,
            2,
            tags=np.arange(11) - 1,
            fixed=np.arange(11) % 3 == 0,
            pbc=np.array([True, False, True]),
            cell=np.diag([5.0, 6.0, 7.0]) + 0.1,
            group="slab",
            source="other.xyz",
        ),
    ]
    records = made(tmp_path / "set", frames)
    assert len(records) == len(frames)
    for i, frame in enumerate(frames):
        assert_same(records[i], frame)
    assert_same(records[-1], frames[-1])
    assert [found.where for found in records] == [frame.where for frame in frames]
    assert [found.where for found in records[1:3]] == [frame.where for frame in frames[1:3]]
    with pytest.raises(IndexError):
        records[len(frames)]


def test_layout_is_the_documented_one() -> None:
    frame = molecule(
        [8, 1, 1], -2043.5, 9, pbc=np.array([True, False, False]), tags=np.array([2, 2, 0]), head="a"
    )
    data = encode(frame, Tables())
    crc, atoms, flags, targets, letters, zero, head = struct.unpack_from("<IIHHHHH", data)
    assert crc == zlib.crc32(data[4:])
    assert (atoms, targets, letters, zero, head) == (3, 0, 0, 0, 1)
    assert flags == 1 + 2 + 8 + 64  # energy, forces, tags, periodic along a
    assert struct.unpack_from("<Q", data, 32) == (9,)
    assert struct.unpack_from("<d", data, 40) == (-2043.5,)
    assert np.array_equal(np.frombuffer(data, "<f4", 9, 48), frame.positions.astype("<f4").ravel())
    assert np.array_equal(np.frombuffer(data, "<f4", 9, 84), frame.forces.astype("<f4").ravel())  # type: ignore[union-attr]
    assert np.array_equal(np.frombuffer(data, "<i2", 3, 120), [2, 2, 0])
    assert data[126:] == bytes([8, 1, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": np.array([0, 40_000])},
        {"numbers": np.array([1, 300])},
        {"energy": float("nan")},
        {"forces": np.full((2, 3), np.nan)},
        {"forces": np.full((2, 3), 1e40)},
        {"stress": np.full((3, 3), np.nan)},
        {"index": -1},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    label = {"numbers": "atomic numbers", "index": "frame"}.get(name := next(iter(changes)), name)
    with pytest.raises(
        DoesNotFitError, match=f"The frame does not|of the {label} does not fit into a record"
    ):
        encode(replace(molecule([1, 1], -1.0), **changes), Tables())  # type: ignore[arg-type]


def test_labels_that_no_record_has_are_refused_by_name() -> None:
    for changes in ({"classes": {"phase": "fcc"}}, {"vectors": {"dipole": np.ones(3)}}):
        with pytest.raises(BadInputError, match="The label '(phase|dipole)' is a (class|vector)"):
            encode(replace(molecule([1, 1], -1.0), **changes), Tables())  # type: ignore[arg-type]


def test_every_damaged_byte_is_noticed() -> None:
    tables = Tables()
    data = encode(molecule([8, 1, 1], -1.0, identifier="x"), tables)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(BadInputError, match="checksum"):
            decode(bytes(damaged), tables, "here")
    for length in range(len(data)):
        with pytest.raises(BadInputError, match="damaged"):
            decode(data[:length], tables, "here")


def test_sizes_are_read_without_opening_records(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "set") as writer:
        for i, frame in enumerate(emt_frames(3)):
            writer.add(frame, edges=100 + i, degree=20 + i)
        records = writer.finish()
    assert isinstance(records.sizes, np.memmap)
    assert records.sizes.dtype == np.int32
    assert records.sizes.tolist() == [[4, 100, 20], [4, 101, 21], [4, 102, 22]]
    assert records.n_atoms.tolist() == [4, 4, 4]
    assert np.array_equal(np.load(tmp_path / "set/sizes.npy"), records.sizes)


# ---- statistics
# ---------------------------------------------------------------------------------------------------


def random_molecules(count: int, offsets: dict[int, float], spread: float) -> list[Frame]:
    rng = np.random.default_rng(4)
    frames = []
    for i in range(count):
        numbers = rng.choice(list(offsets), rng.integers(1, 9)).tolist()
        energy = sum(offsets[z] for z in numbers) + spread * rng.normal()
        frames.append(molecule(numbers, energy, i))
    return frames


def test_statistics_are_those_of_plain_numpy(tmp_path: Path) -> None:
    frames = random_molecules(1500, {1: -13.6, 6: -1036.0, 8: -2042.0}, 1.0)
    found = made(tmp_path / "set", frames).statistics
    counts = np.array([[np.sum(frame.numbers == z) for z in range(10)] for frame in frames], dtype=float)
    energies = np.array([frame.energy for frame in frames])
    solution, *_ = np.linalg.lstsq(counts, energies, rcond=None)
    residual = energies - counts @ solution
    assert found.references == pytest.approx({z: solution[z] for z in (1, 6, 8)}, rel=1e-10)
    assert found.energy_std == pytest.approx(residual.std(ddof=0), rel=1e-9)
    assert found.energy_mean == pytest.approx(residual.mean(), abs=1e-9)
    forces = np.concatenate([frame.forces.astype(np.float64) for frame in frames])  # type: ignore[union-attr]
    assert found.force_rms == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-12)
    assert (found.count, found.n_energy, found.n_forces, found.n_stress) == (1500, 1500, 1500, 0)
    assert found.elements == (1, 6, 8)
    assert found.rank == 3
    assert found.mean_atoms == pytest.approx(counts.sum() / 1500)
    assert found.max_atoms == 8


def test_small_spread_of_huge_energies_keeps_its_digits(tmp_path: Path) -> None:
    frames = random_molecules(2000, {55: -2.1e5, 79: -5.2e5, 92: -7.6e5}, 1e-4)
    found = made(tmp_path / "set", frames).statistics
    counts = np.array([[np.sum(frame.numbers == z) for z in (55, 79, 92)] for frame in frames], dtype=float)
    residual = np.array([frame.energy for frame in frames]) - counts @ [-2.1e5, -5.2e5, -7.6e5]
    residual -= counts @ np.linalg.lstsq(counts, residual, rcond=None)[0]
    # E itself is known to 1e-9 eV; sums of its squares (1e13 eV^2 each) would know nothing of 1e-8 eV^2.
    assert found.energy_std == pytest.approx(residual.std(), rel=1e-4)


def test_single_composition_gets_the_references_of_least_norm(tmp_path: Path) -> None:
    found = made(
        tmp_path / "set", [molecule([8, 1, 1], -2040.0 + d, i) for i, d in enumerate((-1.0, 1.0))]
    ).statistics
    # Minimum of a² + b² on 2 a + b = -2040.
    assert found.references == pytest.approx({1: -816.0, 8: -408.0}, rel=1e-12)
    assert found.rank == 1
    assert found.energy_std == pytest.approx(1.0)


def test_frames_without_labels_take_no_part(tmp_path: Path) -> None:
    frames = [
        molecule([1, 1], -30.0, 0),
        molecule([1], -16.0, 1, forces=None),
        molecule([2], None, 2),
        molecule([1], None, 3, forces=None, targets={"gap": 1.0}),
    ]
    found = made(tmp_path / "set", frames).statistics
    assert (found.n_energy, found.n_forces, found.targets) == (2, 2, {"gap": 1})
    assert found.elements == (1, 2)
    assert found.references[1] == pytest.approx((2 * -30.0 - 16.0) / 5)
    assert found.references[2] == 0.0


def test_without_energies_and_forces_there_are_no_scales(tmp_path: Path) -> None:
    found = made(tmp_path / "set", [molecule([1], None, 0, forces=None, targets={"gap": 1.0})]).statistics
    assert found.energy_std is None
    assert found.force_rms is None
    assert found.references == {}


def test_shards_merge_to_the_set_written_at_once(tmp_path: Path) -> None:
    frames = random_molecules(700, {1: -13.6, 6: -1036.0, 8: -2042.0}, 1.0)
    whole = made(tmp_path / "whole", frames)
    with RecordWriter(tmp_path / "parts") as writer:
        shards = []
        for number, bounds in enumerate((slice(0, 1), slice(1, 1), slice(1, 550), slice(550, 700))):
            shard = ShardWriter(writer.part, number)
            for frame in frames[bounds]:
                shard.add(frame)
            shards.append(shard.close())
        parts = writer.finish(shards)
    assert np.array_equal(parts.sizes, whole.sizes)
    for i in (0, 1, 2, 549, 550, 699, -1):
        assert_same(parts[i], frames[i])
    assert parts.statistics.energy_std == pytest.approx(whole.statistics.energy_std, rel=1e-12)
    assert parts.statistics.references == pytest.approx(whole.statistics.references, rel=1e-12)


def test_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    frames = random_molecules(20, {1: -13.6, 6: -1036.0}, 1.0)
    first, again = made(tmp_path / "a", frames), made(tmp_path / "b", frames)
    other = made(tmp_path / "c", [*frames[:-1], replace(frames[-1], energy=-1.0)])
    assert first.info.fingerprint == again.info.fingerprint != other.info.fingerprint


# ---- several processes
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_set_that_their_parent_has_open(tmp_path: Path, method: str) -> None:
    frames = emt_frames(6)
    records = made(tmp_path / "set", frames)
    assert records[0].energy == frames[0].energy  # open here before the workers start
    indices = [0, 5, 2, 4, 4, 1]
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(records.frame, indices, chunksize=1)
    assert [frame.energy for frame in found] == [frames[i].energy for i in indices]
    assert records[3].energy == frames[3].energy


def test_a_pickled_set_is_only_its_place(tmp_path: Path) -> None:
    records = made(tmp_path / "set", emt_frames(40))
    data = pickle.dumps(records)
    assert len(data) < 400
    assert pickle.loads(data)[39].energy == records[39].energy
