"""Processes share the devices of a machine evenly, without anybody who gives out numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc.machine.device_claim import claimed_device


@pytest.mark.capability("B11")
def test_every_claim_takes_the_device_that_the_fewest_hold(tmp_path: Path) -> None:
    claim = claimed_device.__wrapped__  # as other processes, which have a cache of their own
    held = [claim(tmp_path, 2) for _ in range(5)]
    assert [one.device for one in held] == [0, 1, 0, 1, 0]


def test_a_device_is_free_again_when_its_holder_has_ended(tmp_path: Path) -> None:
    claim = claimed_device.__wrapped__
    first, second = claim(tmp_path, 2), claim(tmp_path, 2)
    first.lock.release()
    assert (second.device, claim(tmp_path, 2).device) == (1, 0)


def test_a_process_keeps_its_device(tmp_path: Path) -> None:
    assert claimed_device(tmp_path, 3) is claimed_device(tmp_path, 3)
