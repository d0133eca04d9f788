"""One battery, four potentials: two fitted from scratch, the bundled one, and published weights made
smooth."""

from __future__ import annotations

from functools import cache

import pytest

from tests.physics import models

OWN = ["scratch, fixed", "scratch, adaptive", "jmp-xs"]


@cache
def _built(name: str) -> models.Model:
    makers = {
        "scratch, fixed": models.scratch,
        "scratch, adaptive": lambda: models.scratch(models.ADAPTIVE),
        "jmp-xs": models.bundled,
        "published": models.published,
    }
    return makers[name]()


def _asked(name: str) -> models.Model:
    if name == "jmp-xs" and not models.bundled_file().exists():
        pytest.skip(f"the weights of jmp-xs are not in this tree: {models.bundled_file()}")
    return _built(name)


@pytest.fixture(params=OWN)
def own_model(request: pytest.FixtureRequest) -> models.Model:
    """The potentials of our own, which have energy references."""
    return _asked(request.param)


@pytest.fixture(params=[*OWN, "published"])
def model(request: pytest.FixtureRequest) -> models.Model:
    """All potentials with the policy ``smooth``."""
    return _asked(request.param)
