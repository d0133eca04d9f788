"""The figure of a campaign: how its main numbers are spread over the structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .plots import INK, LIGHT, RED, _figure, _save, drawn

BARS = 40
LABELS = {
    "energy_ev_per_atom": "energy (eV/atom)",
    "energy_gain_ev_per_atom": "gain of energy (eV/atom)",
    "n_steps": "steps",
    "volume_a3_per_atom": "volume (Å³/atom)",
    "fmax_ev_per_a": "largest force (eV/Å)",
    "pressure_gpa": "pressure (GPa)",
    "bulk_modulus_gpa": "bulk modulus (GPa)",
    "bulk_modulus_derivative": "derivative of the bulk modulus",
    "lowest_frequency_thz": "lowest frequency (THz)",
    "highest_frequency_thz": "highest frequency (THz)",
}
"""What the axes say; other columns are named as in the table."""


@drawn("the figure of the campaign")
def plot_screen(
    panels: Mapping[str, Sequence[float]], counts: Mapping[str, int], paths: Sequence[Path]
) -> None:
    """Histograms of columns, and a bar of how many structures have which status.

    Args:
        panels: numbers by the name of their column.
        counts: structures by status.
        paths: files to write, by their endings.
    """
    columns = len(panels) + 1
    figure, grid = _figure(2.6 * columns, 2.8, columns=columns)
    axes = list(np.ravel(grid))
    for axis, (name, values) in zip(axes, panels.items(), strict=False):
        numbers = np.asarray(values)
        low, high = np.percentile(numbers, [1, 99]) if len(numbers) > 50 else (numbers.min(), numbers.max())
        inside = numbers[(numbers >= low) & (numbers <= high)]
        axis.hist(inside, bins=min(BARS, max(len(inside) // 3, 5)), color=INK)
        axis.set_xlabel(LABELS.get(name, name))
    axes[0].set_ylabel("structures")
    colours = {"ok": INK, "not-converged": LIGHT, "failed": RED}
    bars = axes[-1].bar(list(counts), list(counts.values()), color=[colours.get(s, LIGHT) for s in counts])
    axes[-1].bar_label(bars)
    axes[-1].margins(y=0.15)
    _save(figure, paths)
