"""Averaged weights: by hand, and without any trace in the weights that are trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jmp_calc.training.optim.ema import EMA


def make() -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    module.register_buffer("scale", torch.tensor(3.0))
    with torch.no_grad():
        module.weight.fill_(1.0)
    return module


def test_three_steps_by_hand() -> None:
    module = make()
    ema = EMA(module, 0.9)
    expected = 1.0
    for value in (2.0, -1.0, 4.0):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.update()
        expected = 0.9 * expected + 0.1 * value
    assert float(ema.state_dict()["weight"]) == pytest.approx(expected)


def test_buffers_are_not_averaged() -> None:
    assert set(EMA(make(), 0.9).state_dict()) == {"weight"}


def test_weights_are_bit_identical_after_an_evaluation_even_if_it_fails() -> None:
    module = nn.Linear(7, 5)
    ema = EMA(module, 0.5)
    with torch.no_grad():
        module.weight.normal_()
    ema.update()
    before, average = module.weight.detach().clone(), ema.state_dict()["weight"].clone()
    with pytest.raises(RuntimeError), ema.swapped():
        assert torch.equal(module.weight, average)
        raise RuntimeError("evaluation failed")
    assert torch.equal(module.weight, before)
    assert torch.equal(ema.state_dict()["weight"], average)


def test_without_averaging_the_weights_stay_as_they_are() -> None:
    module = make()
    ema = EMA(module, None)
    ema.update()
    with ema.swapped():
        assert float(module.weight) == 1.0
    assert ema.state_dict() == {}


def test_foreign_averages_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        EMA(make(), 0.9).load_state_dict({"other": torch.zeros(1)})
