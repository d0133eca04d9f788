"""The tables of what is done with a model (uncertainty, active learning, screening, other engines); written by
benchmarks/tables.py."""

from __future__ import annotations

from collections.abc import Callable

from rows import Rows


def uncertainty(rows: Rows) -> list[list[str]]:
    """Energies and forces of 3BPA by kind and temperature."""
    head = ["", "errors", "RMSE", "rms deviation", "within 1σ, 2σ", "miscalibration area", "rank correlation"]
    return [
        head,
        *(
            [
                name,
                row["n"],
                _milli(row["rmse"], name),
                _milli(row["rms_std"], name),
                f"{row['within_1_std']:.2f}, {row['within_2_std']:.2f}",
                f"{row['miscalibration_area']:.3f}",
                f"{row['rank_correlation']:.2f}",
            ]
            for name, row in sorted(rows.items(), key=lambda item: _of_uncertainty(item[0]))
        ),
    ]


def _of_uncertainty(name: str) -> tuple[int, int, float]:
    """Last layer first, energies first, by temperature."""
    kind, what, kelvin = name.split(", ")
    return kind != "last-layer", what != "energy", float("inf") if kelvin == "all" else int(kelvin.split()[0])


def _milli(value: float, name: str) -> str:
    return f"{1000 * value:.1f} {'meV' if ', energy' in name else 'meV/Å'}"


def active_learning(rows: Rows) -> list[list[str]]:
    """Errors after the last round, seed by seed."""
    head = [
        "set, way",
        "frames",
        "seeds",
        "force MAE at first (meV/Å)",
        "at last",
        "mean",
        "mean at high energies",
    ]
    names = list(dict.fromkeys(name.rsplit(", seed", 1)[0] for name in rows))
    lines = []
    for name in names:
        own = [row for key, row in rows.items() if key.startswith(f"{name}, seed")]
        ends = [[row["forces_mae_mev_per_a"][place] for row in own] for place in (0, -1)]
        told = [", ".join(f"{value:.1f}" for value in values) for values in ends]
        frames = f"{own[0]['frames'][0]} → {own[0]['frames'][-1]}"
        high = sum(row["high_energies_forces_mae_mev_per_a"][-1] for row in own) / len(own)
        lines.append([name, frames, len(own), *told, f"{sum(ends[1]) / len(own):.1f}", f"{high:.1f}"])
    return [head, *lines]


def screen(rows: Rows) -> list[list[str]]:
    """Killed campaigns against one that was left alone."""
    head = [
        "campaign",
        "structures",
        "killed",
        "rows",
        "computed twice",
        "largest difference (eV)",
    ]
    return [
        head,
        *(
            [
                name.removeprefix("campaign, "),
                row["structures"],
                row["kills"],
                row["rows"],
                row["records_twice"],
                f"{row['largest_difference_ev']:.0e}",
            ]
            for name, row in rows.items()
            if name.startswith("campaign")
        ),
    ]


def engines(rows: Rows) -> list[list[str]]:
    """Differences from ASE, conservation of energy, time of a step."""
    head = [
        "engine/structure",
        "energy (eV)",
        "forces (eV/Å)",
        "stress (GPa)",
        "NVE range (meV/atom)",
        "ms per step",
        "of that in ASE",
    ]
    return [
        head,
        *(
            [
                name,
                *(
                    ("0" if row[key] == 0 else f"{row[key]:.0e}") if key in row else ""
                    for key in ("energy_ev", "forces_ev_per_a", "stress_gpa")
                ),
                f"{row['range_mev_per_atom']:.2g}",
                f"{row['ms_per_step']:.1f}",
                f"{row['ms_per_step'] / row['ms_per_step_ase']:.2f}",
            ]
            for name, row in rows.items()
        ),
    ]


WORKFLOW_TABLES: dict[str, Callable[[Rows], list[list[str]]]] = {
    "uncertainty": uncertainty,
    "active_learning": active_learning,
    "screen": screen,
    "engines": engines,
}
