"""Programs compiled ahead of time: the results of the network, and a refusal of every file made for something
else."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner

from jmp_calc import JMPCalculator
from jmp_calc.cli.main import cli
from jmp_calc.errors import JMPWarning, ModelError, UsageError
from jmp_calc.graph.batch import collate, filled
from jmp_calc.inference.compiled import Program
from jmp_calc.inference.export import export_program
from jmp_calc.inference.program import HEADER, ProgramHeader, read_header, runs_on
from tests.inference.program_cases import assert_equal, structures
from tests.small_network import OFFICIAL


@pytest.fixture(scope="module")
def calc(simple_path: Path) -> JMPCalculator:
    """The network of the programs."""
    return JMPCalculator(simple_path, device="cpu")


@pytest.fixture(scope="module")
def header(calc: JMPCalculator) -> ProgramHeader:
    """Of a program for `calc`."""
    return calc.evaluator.program_header()


def package(
    path: Path, header: ProgramHeader | dict[str, Any] | str, compression: int = zipfile.ZIP_STORED
) -> Path:
    """A file with this header and without a library."""
    text = (
        header
        if isinstance(header, str)
        else json.dumps(header if isinstance(header, dict) else dataclasses.asdict(header))
    )
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"program/extra/{HEADER}", text)
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 1}, "is for format version 1, not 2"),
        ({"jmp_calc": "0.0.9"}, "is for jmp-calc 0.0.9, not "),
        (
            {"torch": "2.1.0+cpu"},
            r"is for torch 2\.1\.0\+cpu, not 2.*make the file again: jmp-calc export MODEL --to aoti",
        ),
        ({"device": "cuda"}, "is for device cuda, not cpu"),
        ({"system": "Darwin arm64"}, "is for system Darwin arm64, not "),
        ({"instructions": "SVE256"}, "is for processors with SVE256, not "),
        ({"sha256": 64 * "0"}, r"is of another file of tiny \(sha256 000000000000…, this: "),
        ({"weights": "raw"}, "is for weights raw, not ema"),
        (
            {"head": "organic"},
            "is for head organic, not materials.* choose head='organic', or make the file again",
        ),
        (
            {"dtype": "float64"},
            "is for dtype float64, not float32.* choose dtype='float64', or make the file again",
        ),
        ({"forces": "direct"}, "is for forces direct, not conservative"),
        ({"policy": OFFICIAL}, "is for other graphs"),
    ],
)
def test_a_program_for_something_else_is_refused_with_the_difference(
    simple_path: Path, header: ProgramHeader, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = package(tmp_path / "other.pt2", dataclasses.replace(header, **changes))
    with pytest.raises(ModelError, match=f"^The compiled program {reason}") as caught:
        JMPCalculator(simple_path, device="cpu", compiled=path)
    assert caught.value.where == str(path)


def test_files_that_are_no_programs_are_refused(
    simple_path: Path, header: ProgramHeader, tmp_path: Path
) -> None:
    def refused(path: Path, reason: str) -> None:
        with pytest.raises(ModelError, match=reason):
            JMPCalculator(simple_path, device="cpu", compiled=path)

    refused(tmp_path / "none.pt2", "Cannot open the compiled program: No such file")
    refused(simple_path, "no file of jmp-calc export --to aoti, or it is damaged: File is not a zip file")
    with zipfile.ZipFile(tmp_path / "zip.pt2", "w") as archive:
        archive.writestr("program/data.pkl", b"")
    refused(tmp_path / "zip.pt2", "or it is damaged: it has no header")
    refused(package(tmp_path / "long.pt2", " " * 2_000_000), "its header has more than 1048576 bytes")
    packed = bytearray(package(tmp_path / "cut.pt2", header, zipfile.ZIP_DEFLATED).read_bytes())
    packed[70:80] = bytes(10)
    (tmp_path / "cut.pt2").write_bytes(packed)
    refused(tmp_path / "cut.pt2", "or it is damaged: ")
    refused(package(tmp_path / "text.pt2", "no json"), "or it is damaged: Expecting value")
    less = {name: value for name, value in dataclasses.asdict(header).items() if name != "torch"}
    refused(package(tmp_path / "less.pt2", less), "The key 'torch' is missing")
    refused(package(tmp_path / "empty.pt2", header), "The compiled program cannot be loaded: ")


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_any_damage_of_a_header_is_a_sentence_or_harmless(
    header: ProgramHeader, tmp_path: Path, compression: int
) -> None:
    path = package(tmp_path / "a.pt2", header, compression)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(ModelError):
            read_header(path)


@pytest.mark.parametrize(
    ("theirs", "ours", "runs"),
    [
        ("AVX2", "AVX512", True),
        ("AVX512", "AVX2", False),
        ("AVX2", "DEFAULT", False),
        ("SVE256", "AVX512", False),
    ],
)
def test_code_runs_on_processors_with_the_same_or_more_instructions(
    theirs: str, ours: str, runs: bool
) -> None:
    assert runs_on(theirs, ours) is runs


def test_a_wrong_program_is_reported_and_not_used(
    simple_path: Path, calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch, ethanol: Atoms
) -> None:
    evaluator = calc.evaluator

    def wrong(path: str, wanted: ProgramHeader) -> Program:
        example = collate([evaluator.build_graph(ethanol)])

        def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            found = evaluator.network(filled(example, tensors))
            assert found.forces is not None
            assert found.stress is not None
            return [found.energy, found.energies, found.forces + 1e-2, found.stress]

        return Program(run, ("energy", "energies", "forces", "stress"))

    monkeypatch.setattr("jmp_calc.inference.program.load_program", wrong)
    compiled = JMPCalculator(simple_path, device="cpu", compiled="x.pt2")
    with pytest.warns(
        JMPWarning, match=r"compiled='x\.pt2' has no effect: its results differ by \d\.\de-0[2-4] from"
    ):
        forces = compiled.get_forces(ethanol)
    assert np.array_equal(forces, calc.get_forces(ethanol))


def test_export_refuses_at_once_what_it_could_not_write(
    calc: JMPCalculator, simple_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"ends with \.pt2"):
        export_program(calc, tmp_path / "program.so")
    (tmp_path / "old.pt2").write_text("old")
    for name, reason in (
        ("old.pt2", "The output exists already"),
        ("no/new.pt2", "The folder of the output does not exist"),
        ("new.bin", "ends with .pt2"),
    ):
        done = CliRunner().invoke(cli, ["export", str(simple_path), "-o", str(tmp_path / name)])
        assert done.exit_code == 2, done.output
        assert reason in done.stderr
    assert (tmp_path / "old.pt2").read_text() == "old"


def test_export_without_a_compiler_says_so(simple_path: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "no-compiler"),
        "PATH": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [
        sys.executable,
        "-m",
        "jmp_calc.cli.main",
        "export",
        str(simple_path),
        "-o",
        str(tmp_path / "program.pt2"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: The network could not be compiled" in done.stderr
    assert "a C++ compiler is needed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "program.pt2").exists()


@pytest.mark.capability("B5")
@pytest.mark.slow
def test_an_exported_program_gives_the_results_of_the_network_without_compiling(
    simple_path: Path, calc: JMPCalculator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "an exported program.pt2"
    done = CliRunner().invoke(cli, ["export", str(simple_path), "--to", "aoti", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "largest difference to the network" in done.stdout

    def no_compiler(*_: object, **__: object) -> None:
        raise AssertionError("a program was compiled")

    monkeypatch.setattr("torch._inductor.compile", no_compiler)
    renamed = path.rename(tmp_path / "moved.pt2")
    compiled = JMPCalculator(simple_path, device="cpu", compiled=renamed)
    large = bulk("Al", cubic=True) * (3, 3, 3)
    large.rattle(0.1, seed=5)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):  # the program has as many as torch, not as many as there were at the export
            torch.set_num_threads(threads)
            for atoms in [
                *structures(),
                large,
            ]:  # a program that is not used would be a JMPWarning: an error in tests
                assert_equal(compiled, calc, 1e-5, atoms)
            forces = compiled.results["forces"]
            compiled.reset()
            assert np.array_equal(compiled.get_forces(large), forces)
    finally:
        torch.set_num_threads(before)
    again = pickle.loads(pickle.dumps(compiled))
    again.reset()
    np.testing.assert_allclose(again.get_forces(large), forces, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match="is for dtype float32, not float64"):
        JMPCalculator(simple_path, device="cpu", dtype="float64", compiled=renamed)
