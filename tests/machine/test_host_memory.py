"""Free memory of the machine, of control groups and of this process's own heap; failed allocations."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from jmp_calc.cli.command_run import outcome
from jmp_calc.machine.host_memory import allocation_errors, available_memory, cgroup_available, free_heap
from jmp_calc.machine.malloc import keep_large_arrays

GB = 10**9
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc tells what its heap holds")


def group(folder: Path, limit: int | str, used: int, cache: int, *, version: int) -> None:
    """The files of one control group."""
    names = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip((*names[:2], "memory.stat"), (limit, used, f"anon 7\n{names[2]} {cache}")):
        (folder / name).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("version", "line"), [(1, "4:memory:/slurm/job_7/step_0"), (2, "0::/slurm/job_7/step_0")]
)
def test_the_narrowest_control_group_of_a_batch_job_counts(tmp_path: Path, version: int, line: str) -> None:
    own, mounted = tmp_path / "own", tmp_path / "mounted"
    own.write_text(f"9:name=systemd:/\n1:cpu:/\n{line}\n")
    root = mounted / "memory" if version == 1 else mounted
    group(root, "max" if version == 2 else 2**63 - 4096, 30 * GB, 0, version=version)
    group(root / "slurm" / "job_7", 8 * GB, 6 * GB, 1 * GB, version=version)
    group(
        root / "slurm" / "job_7" / "step_0",
        "max" if version == 2 else 2**63 - 4096,
        5 * GB,
        0,
        version=version,
    )
    assert cgroup_available(mounted, own) == 3 * GB  # the file cache is given back on demand


def test_in_a_container_the_root_group_is_its_own(tmp_path: Path) -> None:
    """The path that the process is told may be that of the host, which is not mounted inside."""
    own, mounted = tmp_path / "own", tmp_path / "mounted"
    own.write_text("0::/docker/1234\n")
    group(mounted, 2 * GB, 3 * GB, 0, version=2)
    assert cgroup_available(mounted, own) == 0


def test_without_control_groups_there_is_no_bound(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/\n")
    assert cgroup_available(tmp_path / "mounted", tmp_path / "own") is None
    assert cgroup_available(tmp_path / "mounted", tmp_path / "none") is None


@GLIBC
def test_memory_that_the_process_holds_unused_is_available() -> None:
    """Otherwise every large call would leave less for the next one, until it is refused."""
    assert keep_large_arrays()
    np.ones(2**28 // 8)
    before, held = available_memory(), free_heap()
    assert held >= 2**28
    for _ in range(3):
        np.ones(2**28 // 8)
    after = available_memory()
    assert before is not None
    assert after is not None
    assert abs(after - before) < 2**27


def test_memory_that_a_cpu_does_not_have_is_an_out_of_memory_error() -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught, allocation_errors():
        torch.empty(2**46)
    assert outcome(caught.value) == ("failed", 6)
    with pytest.raises(RuntimeError) as plain:
        torch.empty(2**46)
    assert outcome(plain.value) == ("failed", 6), "also where nothing translates it, as in training"
    with pytest.raises(RuntimeError, match="shape"), allocation_errors():
        torch.ones(2) @ torch.ones(3, 3)
