"""jmp-calc serve: what it says before and without a program that asks."""

from __future__ import annotations

import json
from pathlib import Path


def test_dry_run_names_model_structure_and_address(run, water: Path, model: str) -> None:  # type: ignore[no-untyped-def]
    result = run("serve", water, "-m", model, "--unix", "water", "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["model"]["name"] == "tiny"
    assert facts["address"] == "the socket /tmp/ipi_water"
    assert "not periodic" in facts["structure"]
    assert "out" not in facts


def test_bad_options_leave_with_a_sentence(run, water: Path, model: str) -> None:  # type: ignore[no-untyped-def]
    for words, text in (
        ([], "No socket was named"),
        (["--unix", "a", "--port", "1"], "Two sockets"),
        (["--port", "0"], "0 is no port"),
        (["--unix", "a", "--wait", "-1"], "-1"),
        (["--unix", "a", "--wait", "nan", "--dry-run"], "nan s is no time to wait"),
        (["--port", "31999", "--host", "node..17", "--wait", "0"], "of node..17 failed"),
        (["--unix", "jmp_no_such", "--wait", "0"], "Nobody listened"),
        (
            ["--port", "31999", "--host", "no.such.host.invalid", "--wait", "0"],
            "no.such.host.invalid",  # failed, or nobody: without a network it may be there later
        ),
    ):
        result = run("serve", water, "-m", model, *words)
        assert result.exit_code == 2, (words, result.stderr)
        assert text in result.stderr


def test_a_crystal_says_what_is_periodic(run, salt: Path, model: str) -> None:  # type: ignore[no-untyped-def]
    result = run("serve", salt, "-m", model, "--unix", "a", "--dry-run")
    assert "ClNa, 2 atoms, periodic along xyz" in result.stdout
    assert "model: name tiny, " in result.stdout and "wait: no limit" in result.stdout
