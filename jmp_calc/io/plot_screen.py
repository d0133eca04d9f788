"""The figure of a campaign: how its main numbers are spread over the structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .plots import INK, LIGHT, RED, _figure, _save, drawn

BARS = 40
EQUAL, EQUAL_SHARE = 1e-6, 1e-5
"""Numbers that differ by less, or by a smaller share, are one bar: what tells them apart is rounding."""
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
    "thermal_heat_capacity_j_per_k_per_mol": "heat capacity (J/K/mol)",
    "temperature_k_mean": "mean temperature (K)",
    "pressure_gpa_mean": "mean pressure (GPa)",
    "volume_a3_mean": "mean volume (Å³)",
    "drift_mev_per_atom_per_ps": "drift (meV/atom/ps)",
    "relaxed_ions_hill_bulk_gpa": "bulk modulus (GPa)",
    "relaxed_ions_hill_shear_gpa": "shear modulus (GPa)",
    "clamped_ions_hill_bulk_gpa": "bulk, clamped ions (GPa)",
    "clamped_ions_hill_shear_gpa": "shear, clamped ions (GPa)",
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
        axis.hist(inside, bins=_edges(inside), color=INK)
        axis.set_xlabel(LABELS.get(name, name))
        axis.locator_params(axis="y", integer=True)
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.locator_params(axis="x", nbins=3, integer=bool((inside == np.round(inside)).all()))
    axes[0].set_ylabel("structures")
    colours = {"ok": INK, "not-converged": LIGHT, "failed": RED}
    names = [status.replace("-", "\n") for status in counts]
    bars = axes[-1].bar(names, list(counts.values()), color=[colours.get(s, LIGHT) for s in counts])
    axes[-1].bar_label(bars)
    axes[-1].margins(y=0.15)
    _save(figure, paths)


def _edges(numbers: np.ndarray) -> int | np.ndarray:
    """Number of bars for numbers (n,), or the edges of a bar for each where they are few whole ones."""
    low, high = numbers.min(), numbers.max()
    if high - low <= max(EQUAL, EQUAL_SHARE * abs(high)):
        return np.array([low, high]) + np.array([-1, 1]) * max(0.01 * abs(high), 0.5)
    if high - low < BARS and (numbers == np.round(numbers)).all():
        return np.arange(low - 0.5, high + 1.0)
    return min(BARS, max(len(numbers) // 3, 5))
