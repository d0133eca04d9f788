"""``jmp-calc estimate``: table, JSON, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.machine.speed import Machine
from jmp_calc.zoo.container import load_model, save_model

KEYS = {"structure", "formula", "model", "head", "device", "threads", "dtype", "forces", "counts", "counted",
        "recompute", "memory_bytes", "weight_bytes", "free_bytes", "dense_flops", "machine", "seconds",
        "fits",
        "atoms_that_fit", "steps_per_s", "timestep_fs", "ns_per_day"}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(flops=1e11, bytes_per_s=1e10, read_bytes_per_s=1e10, layer_s=1e-4)
    monkeypatch.setattr("jmp_calc.inference.estimate.probe_machine", lambda device, dtype: machine)


@pytest.mark.capability("B14")
def test_table_and_json_say_the_same(run, model: str, salt: Path) -> None:
    words = ("estimate", salt, "-m", model, "--device", "cpu", "--timestep", 2)
    table, printed = run(*words), run(*words, "--json")
    assert table.exit_code == printed.exit_code == 0, table.output
    found = json.loads(printed.stdout)
    assert set(found) == KEYS
    assert found["fits"] is True
    assert found["counts"]["atoms"] == 2
    assert f"main {found['counts']['main']}, " in table.stdout
    assert f"{found['seconds']:.3g} s per step" in table.stdout
    assert found["ns_per_day"] == pytest.approx(2e-6 * 86400 / found["seconds"])


def test_options_reach_the_estimate(run, model: str, salt: Path, tmp_path: Path) -> None:
    official = tmp_path / "official.safetensors"
    small = load_model(model)
    policy = GraphPolicy("official", cutoff=4.0, max_neighbors=30)
    save_model(
        official, small.potential.with_config(replace(small.potential.config, policy=policy)), small.card
    )

    def edges(*options: object) -> int:
        result = run("estimate", salt, "-m", official, "--device", "cpu", "--json", *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["counts"]["main"]

    assert edges("--cutoff", 3.0) < edges() < edges("--cutoff", 6.0)
    result = run(
        "estimate", salt, "-m", model, "--device", "cpu", "--json", "--dtype", "float64", "--threads", 3
    )
    assert (json.loads(result.stdout)["dtype"], json.loads(result.stdout)["threads"]) == ("float64", 3)


def test_options_from_a_file(run, model: str, salt: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"model: {model}\ntimestep: 4.0\nthreads: 2\n")
    found = json.loads(run("estimate", salt, "--config", tmp_path / "a.yaml", "--json").stdout)
    assert (found["model"], found["timestep_fs"], found["threads"]) == ("tiny", 4.0, 2)


def test_frames_are_chosen_as_in_relax_and_md(run, model: str, tmp_path: Path) -> None:
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [bulk("NaCl", "rocksalt", a=5.6), bulk("NaCl", "rocksalt", a=5.6, cubic=True)])
    for spec, atoms in ((path, 8), (f"{path}@0", 2)):
        assert json.loads(run("estimate", spec, "-m", model, "--json").stdout)["counts"]["atoms"] == atoms


def test_fault_23_a_structure_beyond_the_memory_leaves_with_code_6(
    run, model: str, salt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.inference.estimate.free_memory", lambda device: 2**14)
    result = run("estimate", salt, "-m", model, "--device", "cpu")
    assert result.exit_code == 6
    assert "DOES NOT FIT" in result.stdout
    assert "2 atoms with" in result.stderr and "hint:" in result.stderr
    result = run("estimate", salt, "-m", model, "--device", "cpu", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["fits"] is False


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("-m", "jmp-xxs"), 5, "did you mean"),
        (("--head", "nothing"), 5, "has no head 'nothing'"),
        (("--device", "tpu"), 2, "use auto, cpu"),
        (("--timestep", "0"), 2, "timestep"),
        (("--cutoff", "-1"), 2, "cutoff must be positive"),
    ],
)
def test_mistakes_leave_with_their_codes(
    run, model: str, salt: Path, words: tuple, code: int, message: str
) -> None:
    result = run("estimate", salt, "-m", model, *words)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_model_that_is_not_here_is_not_fetched(
    run, salt: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JMP_CALC_HOME", str(tmp_path / "empty"))
    result = run("estimate", salt, "-m", "jmp-l")
    assert result.exit_code == 5
    assert "jmp-calc models fetch jmp-l" in result.stderr
