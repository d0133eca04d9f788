"""What held-out frames say of a head: its errors as shares of the forces, and heads in the order of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .config import DomainErrors, HeadConfig
from .elements import symbols

SKILL_FRAMES = 20
"""Held-out frames from which on the errors of a domain count."""
LARGEST_SHARE = 0.5
"""Of the mean force: with a larger error a head has no skill."""
LEAST_CORRELATION = 0.8
"""Of predicted and true forces: with a smaller one a head has no skill."""


def force_share(errors: DomainErrors) -> float:
    """Force error over the mean force: 1 is what a head gives that always says zero; infinite without
    forces."""
    if errors.mean_force_mev_per_a == 0:
        return math.inf
    return errors.forces_mae_mev_per_a / errors.mean_force_mev_per_a


def has_skill(errors: DomainErrors) -> bool | None:
    """Whether the head is of use in the domain; None: too few frames to say, or no forces to follow."""
    if errors.frames < SKILL_FRAMES or errors.mean_force_mev_per_a == 0:
        return None
    correlated = errors.forces_correlation is not None and errors.forces_correlation >= LEAST_CORRELATION
    return correlated and force_share(errors) <= LARGEST_SHARE


def without_skill(head: HeadConfig) -> tuple[DomainErrors, ...]:
    """The domains in which the head has no skill."""
    return tuple(errors for errors in head.errors if has_skill(errors) is False)


def by_skill(heads: Iterable[HeadConfig]) -> list[HeadConfig]:
    """The heads with the smallest force errors (as shares of the mean force, in their best domain) first,
    those whose errors are not known behind them, and those without skill last; in their order otherwise."""

    def rank(head: HeadConfig) -> tuple[int, float]:
        best = min((force_share(errors) for errors in head.errors), default=0.0)
        known = [has_skill(errors) for errors in head.errors]
        if True in known:
            return 0, best
        return (2 if False in known else 1), best

    return sorted(heads, key=rank)


def describe_errors(errors: DomainErrors) -> str:
    """Errors in one line: molecules: 31 meV/Å, 3.4 % of the mean force, correlation 0.99 (40 frames)."""
    share, correlation = force_share(errors), errors.forces_correlation
    parts = [f"{errors.forces_mae_mev_per_a:.3g} meV/Å"]
    parts += [f"{_percent(share)} of the mean force"] if math.isfinite(share) else []
    parts += ["no correlation" if correlation is None else f"correlation {correlation:.3f}"]
    if errors.energy_mae_mev_per_atom is not None:
        parts.append(f"{errors.energy_mae_mev_per_atom:.3g} meV/atom")
    return f"{errors.domain}: {', '.join(parts)} ({errors.frames} held-out frames)"


def _percent(share: float) -> str:
    """Two digits below ten per cent: 3.4 %, 25 %, 102 %."""
    return f"{100 * share:.1f} %" if share < 0.095 else f"{100 * share:.0f} %"


def skill_note(head: HeadConfig) -> str | None:
    """A sentence that names the domains in which the head has no skill; None: there are none."""
    poor = without_skill(head)
    if not poor:
        return None
    return f"Head {head.name} has no skill for {'; '.join(describe_errors(errors) for errors in poor)}."


def describe_heads(heads: Iterable[HeadConfig]) -> str:
    """One line for error messages: every head with kind, level of theory and elements, the best first."""
    return "; ".join(f"{head.name} ({', '.join(_facts(head))})" for head in by_skill(heads))


def propose(heads: Iterable[HeadConfig]) -> str:
    """Names of heads to choose from, the best first, those without skill marked."""
    marked = [(head.name, _poor(head)) for head in by_skill(heads)]
    return ", ".join(f"{name} ({poor})" if poor else name for name, poor in marked)


def _facts(head: HeadConfig) -> list[str]:
    elements = "unknown" if head.elements is None else " ".join(symbols(head.elements))
    facts = [head.kind, head.level_of_theory, *head.domain, f"elements {elements}"]
    return [*facts, _poor(head)] if _poor(head) else facts


def _poor(head: HeadConfig) -> str:
    poor = without_skill(head)
    return f"no skill for {' and '.join(errors.domain for errors in poor)}" if poor else ""
