"""Faults 65 to 71 from the command line: models that are misnamed, broken, hostile, or cannot be fetched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
from ase.build import molecule
from click.testing import Result

from tests.programs import JMP_CALC, started
from tests.zoo import synthetic
from tests.zoo.test_download import CONTENT, Server, empty_home, serving

Run = Callable[..., Result]
VERSION_1 = Path(__file__).parents[1] / "zoo" / "data" / "version-1.safetensors"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models, no proxy."""
    return empty_home(tmp_path, monkeypatch)


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    """jmp-s comes from this machine."""
    with serving() as running:
        mirror(home, running)
        yield running


def mirror(home: Path, server: Server, **known: Any) -> None:
    """State what is known of the served file."""
    home.mkdir(exist_ok=True)
    fields = {"summary": "mirror", "licence": "CC-BY-NC-4.0", "url": server.url, **known}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    (home / "registry.toml").write_text("\n".join(["[jmp-s]", *lines]))


@pytest.mark.parametrize("words", [("relax", "w.xyz", "-m", "jmp-l"), ("convert", "jmp-l")])
def test_a_dry_run_fetches_nothing(words, run, tmp_path, monkeypatch) -> None:
    ase.io.write(tmp_path / "w.xyz", molecule("H2O"))
    monkeypatch.chdir(tmp_path)
    done = run(*words, "--dry-run")
    refused(done, "jmp-l is not on this machine", "jmp-calc models fetch jmp-l")


def refused(done: Result, *words: str) -> None:
    """Exit code 5, a message with all words, no traceback."""
    assert done.exit_code == 5, done.output
    assert done.stderr.splitlines()[-1].startswith(("error: ", "where: ", "hint: "))
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("jmp-x", ("Unknown model 'jmp-x'", "did you mean jmp-xs")),
        (
            "mace-large",
            (
                "Unknown model 'mace-large'",
                "names are jmp-xs, jmp-xs-v5, jmp-xs-v4, jmp-xs-v3, jmp-xs-v2, jmp-xs-v1, jmp-s, jmp-l",
            ),
        ),
        ("tini.safetensors", ("No such model file: tini.safetensors", "did you mean tiny.safetensors")),
        ("runs/best.safetensors", ("No such model file", "the folder runs does not exist")),
    ],
)
def test_fault_65_names_and_paths_get_their_own_advice(
    run: Run, water: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(VERSION_1, tmp_path / "tiny.safetensors")
    refused(run("singlepoint", water, "-m", model), *words)


def test_fault_66_a_truncated_download_goes_on_at_the_next_call(run: Run, server: Server) -> None:
    server.cut_after = [1000, 0, 0]
    refused(run("models", "fetch", "jmp-s"), "The download ended early", "goes on where it stopped")
    done = run("models", "fetch", "jmp-s")
    assert done.exit_code == 0, done.output
    assert hashlib.sha256(CONTENT).hexdigest() in done.stdout
    assert server.requests[-1] == "bytes=1000-"


def test_fault_66_wrong_hash_size_and_pages_instead_of_files(run: Run, server: Server, home: Path) -> None:
    mirror(home, server, sha256="0" * 64)
    refused(run("models", "fetch", "jmp-s"), "wrong checksum", "it was removed")
    mirror(home, server, size=10)
    refused(run("models", "fetch", "jmp-s"), "this model has 10")
    mirror(home, server)
    server.content = b"<!DOCTYPE html><html>quota exceeded</html>"
    refused(run("models", "fetch", "jmp-s"), "web page")
    assert not (home / "models" / "jmp-s" / "model.pt").exists()


def test_fault_66_offline_and_dead_proxy(
    run: Run, server: Server, water: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as offline:
        offline.setenv("JMP_CALC_OFFLINE", "1")
        refused(run("singlepoint", water, "-m", "jmp-s"), "JMP_CALC_OFFLINE", "models add jmp-s PATH")
    assert server.requests == []
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    refused(run("models", "fetch", "jmp-s"), "No connection", "models add")


def test_fault_67_a_cache_that_cannot_be_written(
    run: Run, server: Server, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "models").write_text("a file where the folder should be")
    refused(run("models", "fetch", "jmp-s"), "Cannot store the model", "JMP_CALC_HOME")


def test_fault_67_two_processes_fetch_once(server: Server) -> None:
    command = [*JMP_CALC, "models", "fetch", "jmp-s"]
    with started(command) as first, started(command) as second:
        jobs = first, second
        texts = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], texts
    assert len({out for out, _ in texts}) == 1
    assert len(server.requests) == 1


def edited(path: Path, change: Callable[[dict[str, Any]], Any], description: bool = True) -> Path:
    """The version 1 file of the tests with another header."""
    raw = VERSION_1.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if description:
        data = json.loads(header["__metadata__"]["jmp_calc"])
        change(data)
        header["__metadata__"]["jmp_calc"] = json.dumps(data)
    else:
        change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    return path


def test_fault_68_newer_files_say_what_to_install(run: Run, water: Path, tmp_path: Path) -> None:
    newer = edited(tmp_path / "m.safetensors", lambda d: d.update(format_version=99, needs="3.4"))
    refused(run("singlepoint", water, "-m", newer), "jmp-calc>=3.4", str(newer))


def test_fault_69_missing_tensors_are_listed_in_short(run: Run, water: Path, tmp_path: Path) -> None:
    def drop(header: dict[str, Any]) -> None:
        for name in [n for n in header if n.startswith("heads.")][:7]:
            header["x" + name] = header.pop(name)

    broken = edited(tmp_path / "m.safetensors", drop, description=False)
    refused(run("relax", water, "-m", broken, "-o", tmp_path / "o"), "7 tensors are missing", "and 2 more")


def test_fault_69_official_file_without_a_scale_factor(run: Run, tmp_path: Path) -> None:
    factor = "backbone.int_blocks.1.trip_interaction.scale_rbf.scale_factor"
    path = synthetic.write(tmp_path / "s.pt", lambda c: c["state_dict"].pop(factor))
    refused(run("convert", path, "-o", tmp_path / "out.safetensors"), "missing", factor)
    assert not (tmp_path / "out.safetensors").exists()


class Touch:
    """Unpickling this would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize(
    "words",
    [
        ("singlepoint", "{water}", "-m", "{model}"),
        ("convert", "{model}"),
        ("models", "info", "{model}"),
        ("models", "add", "jmp-s", "{model}"),
    ],
)
def test_fault_70_code_in_a_checkpoint_never_runs(
    run: Run, water: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    data, mark = synthetic.checkpoint(), tmp_path / "executed"
    data["callbacks"]["payload"] = Touch(mark)
    torch.save(data, tmp_path / "evil.pt")
    done = run(*(word.format(water=water, model=tmp_path / "evil.pt") for word in words))
    refused(done, "names code", "nothing was executed")
    assert not mark.exists()


HEADERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "overlapping": (lambda h: h["backbone.bases.rbf.offset"].update(data_offsets=[0, 24]), "overlaps"),
    "oversized": (lambda h: h["embedding.weight"].update(shape=[2**40, 2**40]), "cannot have"),
    "lying": (lambda h: h["embedding.weight"].update(data_offsets=[10**9, 10**9 + 192]), "file"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_fault_71_lying_headers_are_refused(run: Run, water: Path, tmp_path: Path, kind: str) -> None:
    change, word = HEADERS[kind]
    path = edited(tmp_path / "m.safetensors", change, description=False)
    refused(run("singlepoint", water, "-m", path, "-o", tmp_path / "o"), word, str(path))


def test_fault_71_a_header_longer_than_the_file(run: Run, water: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + VERSION_1.read_bytes()[8:])
    refused(run("singlepoint", water, "-m", path, "-o", tmp_path / "o"), "bytes")
