"""A head is of use where its force errors are well below the forces and follow them; proposals begin with the
best."""

from __future__ import annotations

import pytest

from jmp_calc.model.config import DomainErrors, HeadConfig
from jmp_calc.model.skill import (
    by_skill,
    describe_errors,
    describe_heads,
    force_share,
    has_skill,
    propose,
    skill_note,
)


def errors(mae: float, mean: float, correlation: float | None, frames: int = 40) -> DomainErrors:
    return DomainErrors("crystals", frames, mae, mean, correlation)


@pytest.mark.parametrize(
    ("found", "skill"),
    [
        (errors(50, 1000, 0.99), True),
        (errors(500, 1000, 0.8), True),
        (errors(501, 1000, 0.95), False),
        (errors(50, 1000, 0.79), False),
        (errors(249, 245, 0.009), False),
        (errors(50, 1000, None), False),
        (errors(50, 1000, -0.9), False),
        (errors(1, 0, None), None),
        (errors(900, 1000, 0.1, frames=19), None),
        (errors(900, 1000, 0.1, frames=20), False),
    ],
)
def test_skill_needs_small_errors_and_correlation_on_enough_frames(
    found: DomainErrors, skill: bool | None
) -> None:
    assert has_skill(found) is skill


def test_a_head_that_says_zero_has_the_share_one() -> None:
    assert force_share(errors(245, 245, None)) == 1.0
    assert force_share(errors(1, 0, None)) == float("inf")


GOOD = HeadConfig("good", errors=(errors(30, 1000, 0.99), DomainErrors("surfaces", 90, 990, 1000, 0.01)))
FAIR = HeadConfig("fair", errors=(errors(300, 1000, 0.9),))
FEW = HeadConfig("few", errors=(errors(10, 1000, 0.99, frames=3),))
UNKNOWN = HeadConfig("unknown")
POOR = HeadConfig("poor", errors=(errors(900, 1000, 0.1),))
WORSE = HeadConfig("worse", errors=(errors(1900, 1000, 0.1),))


def test_heads_are_ordered_by_skill() -> None:
    """Those whose errors nobody knows stand between those that are good and those that are not."""
    found = by_skill([WORSE, UNKNOWN, POOR, FEW, FAIR, GOOD])
    assert [head.name for head in found] == ["good", "fair", "unknown", "few", "poor", "worse"]


def test_heads_without_known_errors_keep_their_order() -> None:
    assert [head.name for head in by_skill([HeadConfig("b"), HeadConfig("a")])] == ["b", "a"]


def test_proposals_mark_what_has_no_skill() -> None:
    assert propose([POOR, GOOD, UNKNOWN]) == (
        "good (no skill for surfaces), unknown, poor (no skill for crystals)"
    )
    assert describe_heads([POOR, UNKNOWN]).startswith("unknown (energy, unknown, elements unknown); poor (")
    assert describe_heads([POOR]).endswith("no skill for crystals)")


def test_errors_in_words() -> None:
    found = DomainErrors("molecules", 40, 31.234, 912.0, 0.9911, 2.5)
    assert describe_errors(found) == (
        "molecules: 31.2 meV/Å, 3.4 % of the mean force, correlation 0.991, 2.5 meV/atom (40 held-out frames)"
    )
    assert "25 % of the mean force" in describe_errors(errors(249, 1000, None))
    assert "102 % of the mean force" in describe_errors(errors(249, 245, None))
    assert "no correlation" in describe_errors(errors(0, 0, None))
    assert "%" not in describe_errors(errors(0, 0, None))


def test_a_note_names_the_head_and_the_domain() -> None:
    assert skill_note(UNKNOWN) is None
    assert skill_note(FAIR) is None
    note = skill_note(GOOD)
    assert note is not None
    assert note.startswith("Head good has no skill for surfaces: 990 meV/Å, 99 % of the mean force")
