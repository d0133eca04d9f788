"""A figure of measured numbers against their limits, as SVG text: one bar a line, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LOWEST, HIGHEST = -12, 4
"""Orders of magnitude of the limit that are shown; bars end there."""
ROW, LEFT, WIDTH, RIGHT, TOP = 20, 110, 560, 90, 28
"""Sizes in px."""
COLOURS = {"pass": "#2e8b57", "fail": "#b3261e"}


@dataclass(frozen=True)
class Margin:
    """One line of the figure."""

    label: str
    measured: float | None
    """None: nothing was measured, and no bar is drawn."""
    limit: float
    status: str
    """pass or fail decide the colour; other words stand in place of the bar."""

    @property
    def orders(self) -> float:
        """Orders of magnitude between the number and its limit, within what is shown."""
        if self.measured is None or math.isnan(self.measured):
            return HIGHEST
        if self.measured <= 0.0:
            return LOWEST
        ratio = math.inf if self.limit == 0 else math.log10(self.measured / self.limit)
        return min(max(ratio, LOWEST), HIGHEST)


def margins_svg(margins: Sequence[Margin]) -> str:
    """The figure; the vertical line is the limit."""
    height = TOP + ROW * len(margins) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="#fff"/>',
    ]
    for order in range(LOWEST, HIGHEST + 1, 2):
        x, bottom = _place(order), height - 24
        strong = ' stroke="#222" stroke-width="1.5"' if order == 0 else ' stroke="#ddd"'
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}"{strong}/>')
        label = "limit" if order == 0 else f"10<tspan dy='-4' font-size='9'>{order}</tspan>"
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{LEFT}" y="14" fill="#555">measured number over its limit</text>')
    for number, margin in enumerate(margins):
        parts += _line(margin, TOP + ROW * number)
    return "\n".join([*parts, "</svg>", ""])


def _place(order: float) -> float:
    return LEFT + WIDTH * (order - LOWEST) / (HIGHEST - LOWEST)


def _line(margin: Margin, top: float) -> list[str]:
    """Label and bar."""
    middle = top + ROW / 2 + 4
    label = f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(margin.label)}</text>'
    if margin.measured is None:
        colour = COLOURS.get(margin.status, "#999")
        return [label, f'<text x="{LEFT + 6}" y="{middle}" fill="{colour}">{escape(margin.status)}</text>']
    width = max(_place(margin.orders) - LEFT, 2.0)
    colour = COLOURS.get(margin.status, "#999")
    bar = f'<rect x="{LEFT}" y="{top + 4}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>'
    end = LEFT + width + 5
    number = f'<text x="{end:.1f}" y="{middle}" fill="#555" font-size="10">{margin.measured:.1e}</text>'
    return [label, bar, number]
