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


@pytest.mark.parametrize(("warmup", "decays"), [(False, (0.9, 0.9, 0.9)), (True, (1 / 10, 2 / 11, 3 / 12))])
def test_three_steps_by_hand(warmup: bool, decays: tuple[float, ...]) -> None:
    module = make()
    ema = EMA(module, 0.9, warmup=warmup)
    expected = 1.0
    for step, (value, decay) in enumerate(zip((2.0, -1.0, 4.0), decays)):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.update(step)
        expected = decay * expected + (1 - decay) * value
    assert float(ema.state_dict()["weight"]) == pytest.approx(expected)


def test_the_warm_up_ends_at_the_decay() -> None:
    ema = EMA(make(), 0.99)
    decays = [ema.decay_of(step) for step in range(2000)]
    assert decays == sorted(decays) and decays[60] < 0.88 and decays[889] < 0.99 == decays[891] == decays[-1]


def test_a_short_run_forgets_where_it_started() -> None:
    """After 60 steps at constant weights the average is there, and not 55 % of the start."""
    module = make()
    ema, published = EMA(module, 0.99), EMA(module, 0.99, warmup=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    for step in range(60):
        ema.update(step)
        published.update(step)
    assert float(ema.shadow["weight"]) < 1e-6 and float(published.shadow["weight"]) == pytest.approx(0.99**60)


def test_buffers_are_not_averaged() -> None:
    assert set(EMA(make(), 0.9).state_dict()) == {"weight"}


def test_weights_are_bit_identical_after_an_evaluation_even_if_it_fails() -> None:
    module = nn.Linear(7, 5)
    ema = EMA(module, 0.5)
    with torch.no_grad():
        module.weight.normal_()
    ema.update(0)
    before, average = module.weight.detach().clone(), ema.state_dict()["weight"].clone()
    with pytest.raises(RuntimeError), ema.swapped():
        assert torch.equal(module.weight, average)
        raise RuntimeError("evaluation failed")
    assert torch.equal(module.weight, before)
    assert torch.equal(ema.state_dict()["weight"], average)


def test_without_averaging_the_weights_stay_as_they_are() -> None:
    module = make()
    ema = EMA(module, None)
    ema.update(0)
    with ema.swapped():
        assert float(module.weight) == 1.0
    assert ema.state_dict() == {}


def test_foreign_averages_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        EMA(make(), 0.9).load_state_dict({"other": torch.zeros(1)})
