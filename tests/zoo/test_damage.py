"""A model file that is not as it was written is never used: bits that flip, parts that go, numbers that are
edited."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from jmp_calc.cli.main import cli
from jmp_calc.errors import ModelError
from jmp_calc.model.potential import Potential
from jmp_calc.zoo import cache
from jmp_calc.zoo.archive import TorchArchive
from jmp_calc.zoo.container import ModelCard, describe_model, load_model, save_model
from jmp_calc.zoo.header import HASH_KEY
from jmp_calc.zoo.names import locate
from jmp_calc.zoo.registry import RegistryEntry, load_registry
from tests.zoo.test_container import CARD, VERSION_1, small_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound file of ours."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    save_model(path, Potential(small_config()), CARD)
    return path.read_bytes()


def begin_of_data(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def tensors(data: bytes) -> dict[str, dict]:
    header = json.loads(data[8 : begin_of_data(data)])
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def flipped(data: bytes, place: int, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= bit
    return bytes(changed)


def swapped_data(data: bytes) -> bytes:
    """Two tensors of one shape whose numbers have changed places."""
    same = [e["data_offsets"] for n, e in tensors(data).items() if n.endswith("dense_mlp.0.linear.weight")]
    (a, b), (c, d) = next((x, y) for x in same for y in same if x[1] - x[0] == y[1] - y[0] and x != y)
    base, changed = begin_of_data(data), bytearray(data)
    changed[base + a : base + b], changed[base + c : base + d] = (
        data[base + c : base + d],
        data[base + a : base + b],
    )
    return bytes(changed)


def swapped_names(data: bytes) -> bytes:
    """The same with the names in the header."""
    first, second = (f'"backbone.int_blocks.{i}.dense_ca.linear.weight"'.encode() for i in range(2))
    return data.replace(first, b"?" * len(first)).replace(second, first).replace(b"?" * len(first), second)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit of a number": lambda d: flipped(d, begin_of_data(d) + 403),
    "the last bit": lambda d: flipped(d, len(d) - 4),
    "zeros in place of numbers": lambda d: d[:-600] + bytes(500) + d[-100:],
    "a reference energy": lambda d: d.replace(b"-2041.25", b"-2041.35"),
    "a licence": lambda d: d.replace(b'\\"MIT\\"', b'\\"GPL\\"'),
    "an element": lambda d: d.replace(b'\\"elements\\": [1, 8]', b'\\"elements\\": [1, 7]'),
    "the cutoff": lambda d: d.replace(b'\\"cutoff\\": 5.0', b'\\"cutoff\\": 4.0'),
    "numbers of two tensors swapped": swapped_data,
    "names of two tensors swapped": swapped_names,
    "spaces of the header": lambda d: d.replace(b" \\", b"\t\\", 1),
    "the hash": lambda d: flipped(d, d.index(HASH_KEY.encode()) + len(HASH_KEY) + 5),
    "the name of the hash": lambda d: d.replace(b"jmp_calc_sha256", b"jmp_calc_sha266"),
    "the end missing": lambda d: d[:-1],
    "the half missing": lambda d: d[: len(d) // 2],
    "a byte more": lambda d: d + b"\0",
    "zeros from the middle on": lambda d: d[: len(d) // 2] + bytes(len(d) - len(d) // 2),
    "nothing but zeros": lambda d: bytes(len(d)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_changed_file_is_refused_wherever_it_is_read(kind: str, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    changed = DAMAGE[kind](whole)
    assert changed != whole
    path.write_bytes(changed)
    for read in (load_model, describe_model):
        with pytest.raises(ModelError) as caught:
            read(path)
        assert str(path) in str(caught.value)
    done = CliRunner().invoke(cli, ["models", "verify", str(path)])
    assert done.exit_code == 5, done.output


def test_no_single_flipped_bit_goes_unnoticed(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), size=60, replace=False):
        path.write_bytes(flipped(whole, int(place), 1 << int(rng.integers(8))))
        with pytest.raises(ModelError):
            load_model(path)


def test_a_sound_file_says_its_hash_and_an_old_one_that_it_has_none(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole)
    loaded = load_model(path)
    assert loaded.content_sha256 == describe_model(path).content_sha256
    assert len(loaded.content_sha256 or "") == 64
    done = CliRunner().invoke(cli, ["models", "verify", str(path), str(VERSION_1)])
    assert done.exit_code == 0
    new, old = done.stdout.splitlines()
    assert str(loaded.content_sha256) in new
    assert "not recorded" in old
    assert load_model(VERSION_1).content_sha256 is None


def test_the_hash_is_that_of_the_file_with_zeros_for_its_digits(whole: bytes, tmp_path: Path) -> None:
    """The rule in words, for other programs."""
    import hashlib

    path = tmp_path / "m.safetensors"
    path.write_bytes(whole)
    recorded = load_model(path).content_sha256
    blank = whole.replace(str(recorded).encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == recorded


def test_bundled_files_have_a_recorded_hash_and_are_checked_by_name(whole: bytes, tmp_path: Path) -> None:
    bundled = {name: entry for name, entry in load_registry().items() if entry.bundled is not None}
    assert bundled
    for name, entry in bundled.items():
        assert entry.sha256 == locate(name).sha256 == cache.sha256_of(locate(name).path)
        assert load_model(locate(name).path).content_sha256 is not None
    path = tmp_path / "other.safetensors"
    path.write_bytes(whole)
    entry = RegistryEntry("a test", "MIT", file=str(path), sha256=cache.sha256_of(path))
    assert cache.checked("other", entry) is not None
    path.write_bytes(DAMAGE["zeros in place of numbers"](whole))
    with pytest.raises(ModelError, match=r"other is damaged.*install jmp-calc again"):
        cache.checked("other", entry)


def test_doctor_fails_for_a_damaged_model(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(DAMAGE["zeros in place of numbers"](whole))
    done = CliRunner().invoke(cli, ["doctor", "-m", str(path)])
    assert done.exit_code == 1
    assert any("fail" in line and "damaged" in line for line in done.stdout.splitlines())


def test_a_storage_that_several_tensors_share_is_checked_as_a_whole(tmp_path: Path) -> None:
    """Files of torch may hold views: none of them is the whole storage that has the checksum."""
    path = tmp_path / "views.pt"
    numbers = torch.arange(1000.0)
    torch.save({"a": numbers[:10], "b": numbers[10:]}, path)
    with TorchArchive(path) as archive:
        archive.read_storage("0", 0, memoryview(bytearray(40)))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(np.float32(999.0).tobytes(), np.float32(998.0).tobytes()))
    with TorchArchive(path) as archive, pytest.raises(ModelError, match="checksum of storage"):
        archive.read_storage("0", 0, memoryview(bytearray(40)))


def test_what_would_be_too_long_to_read_is_not_written(tmp_path: Path) -> None:
    card = ModelCard(name="m", notes=("x" * 2_000_000,))
    with pytest.raises(ModelError, match="shorten the card"):
        save_model(tmp_path / "m.safetensors", Potential(small_config()), card)
    assert list(tmp_path.iterdir()) == []


def escaped_quotes(path: Path) -> None:
    head = b'{"' + b'\\"' * 200_000
    path.write_bytes(len(head).to_bytes(8, "little") + head)


def lone_backslashes(path: Path) -> None:
    head = b'{"a": "' + b"\\" * 400_001
    path.write_bytes(len(head).to_bytes(8, "little") + head)


def long_number(path: Path) -> None:
    head = b'{"a": {"dtype": "F32", "shape": [' + b"9" * 400 + b'], "data_offsets": [0, 4]}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))


def half_a_character(path: Path) -> None:
    head = b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))


def long_name(path: Path) -> None:
    head = b'{"' + b"n" * 500_000 + b'": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))


def sparse(path: Path) -> None:
    """One tensor of a gigabyte that no network has; it is not read."""
    whole = VERSION_1.read_bytes()
    header, end = json.loads(whole[8 : begin_of_data(whole)]), len(whole) - begin_of_data(whole)
    header["x"] = {"dtype": "F32", "shape": [2**28], "data_offsets": [end, end + 2**30]}
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + whole[begin_of_data(whole) :])
    os.truncate(path, path.stat().st_size + 2**30)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def doubling_paths(path: Path) -> None:
    """pathlib.PosixPath(a, a), again and again."""
    steps = b"h\x00h\x01h\x01\x86Rq\x010" * 40
    text = b"X\x10\x00\x00\x00" + b"a" * 16
    content = b"\x80\x02cpathlib\nPosixPath\nq\x00" + text + b"\x85Rq\x010" + steps + b"h\x01."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/byteorder", "little")


@pytest.mark.parametrize(
    "make",
    [
        escaped_quotes, lone_backslashes, long_number, half_a_character, long_name, sparse, pipe, device,
        doubling_paths,
    ],
)  # fmt: skip
def test_small_files_cannot_keep_a_reader_busy(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / ("m.pt" if make is doubling_paths else "m.safetensors")
    make(path)
    done = CliRunner().invoke(cli, ["models", "verify", str(path)])
    assert done.exit_code == 5, done.output
    assert len(done.stderr) < 2000


def test_a_description_of_a_larger_network_is_refused_before_it_is_made(whole: bytes, tmp_path: Path) -> None:
    """64 blocks of 64 layers of every kind would be a hundred thousand modules."""
    path = tmp_path / "m.safetensors"
    begin = begin_of_data(whole)
    header = json.loads(whole[8:begin])
    described = json.loads(header["__metadata__"]["jmp_calc"])
    described["config"]["backbone"].update(
        dict.fromkeys(("num_blocks", "num_before_skip", "num_after_skip", "num_concat", "num_atom"), 64)
    )
    header["__metadata__"]["jmp_calc"] = json.dumps(described)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[begin:])
    with pytest.raises(ModelError, match="its network has at least"):
        load_model(path)


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "y" * 300 + "/m.safetensors", "z" * 5000 + ".pt"])
def test_names_that_no_file_can_have_are_unknown_models(name: str) -> None:
    with pytest.raises(ModelError, match=r"Unknown model|No such model file"):
        locate(name)
