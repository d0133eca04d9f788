"""The tables of docs/paper.md: published errors (benchmarks/paper.csv) beside ours, and what was run here.

Written by benchmarks/tables.py. Where a results file is missing, the table says that nothing was run.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rows import RESULTS, read_rows

PAPER = Path(__file__).with_name("paper.csv")
"""Restated from arXiv 2310.16802 v2, Tables 2 to 5; an empty cell is not in the paper."""
NOT_RUN = "not run"
STARTS = {
    "jmp-xs": "jmp-xs",
    "scratch": "jmp-xs from scratch",
    "jmp-xs-defaults": "jmp-xs by the defaults of finetune",
}
"""Rows of rmd17.yaml in words."""
ORDER = ("qm9", "rmd17", "md22", "spice", "matbench", "qmof", "pdbbind")
Lines = list[list[str]]


def published() -> list[dict[str, str]]:
    """Rows of the paper's tables by column."""
    with PAPER.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def errors(dataset: str) -> Lines:
    """Published errors of one data set beside ours."""
    head = ["task", "unit", "GN-OC-S", "GN-OC-L", "JMP-S", "JMP-L", "best other", "ours"]
    return [
        head,
        *(
            [
                row["task"].removeprefix(f"{dataset}/"),
                row["unit"],
                *(row[key] or "–" for key in ("gnoc_s", "gnoc_l", "jmp_s", "jmp_l")),
                f"{row['prior_best']} ({row['prior_model']})" if row["prior_best"] else "–",
                ours(row["task"]),
            ]
            for row in published()
            if row["task"].startswith(f"{dataset}/")
        ),
    ]


def ours(task: str) -> str:
    """Our error on a task of the paper, and of which network; only aspirin has data here."""
    if task != "rmd17/aspirin":
        return NOT_RUN
    rows = read_rows(RESULTS / "rmd17.yaml")
    found = [
        f"{row['test']['forces_mae_mev_per_a']:.1f} ({STARTS[name]}, other split)"
        for name, row in rows.items()
        if "/" not in name  # other seeds are in the table of the runs
    ]
    return ", ".join(found) or NOT_RUN


def averages() -> Lines:
    """Mean relative improvements in percent, by data set and over the 40 tasks, from the rounded entries."""
    pairs = {
        "GN-OC-L over GN-OC-S": ("gnoc_s", "gnoc_l"),
        "JMP-L over JMP-S": ("jmp_s", "jmp_l"),
        "JMP-L over GN-OC-L": ("gnoc_l", "jmp_l"),
    }
    lines = [["data set", *pairs, "ours"]]
    means: dict[str, list[list[float]]] = {}
    for row in published():
        name = row["task"].split("/")[0]
        for k, (old, new) in enumerate(pairs.values()):
            # The paper compares means over folds where both networks have them (row 2 only), else fold 0.
            folds = row["task"].endswith("/mean") if k == 1 else row["task"].endswith("/fold0")
            if row[old] and row[new] and (name != "matbench" or folds):
                improvement = 100 * (1 - float(row[new]) / float(row[old]))
                means.setdefault(name, [[], [], []])[k].append(improvement)
    for name, columns in means.items():
        lines.append([f"{name} ({len(columns[0])})", *(f"{sum(c) / len(c):.1f}" for c in columns), NOT_RUN])
    every = [[value for columns in means.values() for value in columns[k]] for k in range(3)]
    return [*lines, [f"all ({len(every[0])})", *(f"{sum(c) / len(c):.1f}" for c in every), NOT_RUN]]


def disagreements() -> Lines:
    """Settings on which paper and code differ, for groups of recipes with the same values."""
    from jmp_calc.training.finetuning.recipes import disagreements, finetune_recipe, recipe_names

    seen: dict[tuple[str, ...], list[str]] = {}
    for name in recipe_names():
        for setting, values in disagreements(name).items():
            key = (setting, *(_text(values[variant]) for variant in ("default", "paper", "code")))
            seen.setdefault(key, []).append(name)
    everything = {
        dataset: {n for n in recipe_names() if finetune_recipe(n).dataset == dataset} for dataset in ORDER
    }
    return [
        ["setting", "recipes", "ours", "paper", "code"],
        *(
            [key[0], ", ".join(_grouped(set(names), everything)), *key[1:]]
            for key, names in sorted(seen.items())
        ),
    ]


def _grouped(names: set[str], everything: dict[str, set[str]]) -> Iterator[str]:
    """Data sets of which all recipes are there, and the other names."""
    if names == set().union(*everything.values()):
        yield "all"
        return
    for dataset, members in everything.items():
        if members <= names:
            yield dataset
        else:
            yield from sorted(members & names)


def _text(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, tuple)
        else {True: "yes", False: "no", None: "none"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def steps() -> Lines:
    """What one optimizer step of the recipes took, by network and data set."""
    from jmp_calc.training.finetuning.recipes import recipe_names

    rows = read_rows(RESULTS / "recipes.yaml")
    lines = [
        [
            "network",
            "data set",
            "recipes run",
            "trained weights (M)",
            "weights that did not move",
            "CPU seconds of the step",
            "memory of the process (GB)",
        ]
    ]
    for network in ("jmp-s", "jmp-l"):
        for dataset in ORDER:
            known = [f"{network}/{name}" for name in recipe_names() if name.startswith(f"{dataset}-")]
            found = [rows[name] for name in known if name in rows]
            if not found:
                lines.append([network, dataset, f"0 of {len(known)}", *[NOT_RUN] * 4])
                continue
            lines.append(
                [
                    network,
                    dataset,
                    f"{len(found)} of {len(known)}",
                    _range([(row["weights"] - row["without_gradient"]) / 1e6 for row in found], ".1f"),
                    str(sum(row["unmoved"] for row in found)),
                    _range([row["step_s"] for row in found], ".1f"),
                    _range([row["peak_gb"] for row in found], ".1f"),
                ]
            )
    return lines


def _range(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def runs(name: str) -> Lines | None:
    """Rows of a results file as they are, numbers and words only; None: there is no file."""
    rows = read_rows(RESULTS / f"{name}.yaml")
    if not rows:
        return None
    kept = {
        key: {k: v for k, v in _flat(row).items() if not isinstance(v, list)} for key, row in rows.items()
    }
    columns = list(dict.fromkeys(column for row in kept.values() for column in row))
    return [
        ["run", *columns],
        *([key, *(str(row.get(column, "–")) for column in columns)] for key, row in kept.items()),
    ]


def rmd17() -> Lines | None:
    """Aspirin in a fixed number of steps."""
    rows = read_rows(RESULTS / "rmd17.yaml")
    head = ["run", "recipe", "split", "steps", "epochs", "validation (meV/Å)", "test (meV/Å)"]
    return (
        [
            head,
            *(
                [
                    name,
                    row["recipe"],
                    row["split"],
                    str(row["steps"]),
                    str(row["epochs"]),
                    *(f"{row[part]['forces_mae_mev_per_a']:.1f}" for part in ("valid", "test")),
                ]
                for name, row in rows.items()
            ),
        ]
        if rows
        else None
    )


def scalars() -> Lines | None:
    """Scalars in a fixed time."""
    rows = read_rows(RESULTS / "scalars.yaml")
    head = ["run", "unit", "minutes", "cores that it had", "epochs", "test MAE", "constant predictor", "R²"]
    return (
        [
            head,
            *(
                [
                    name,
                    row["unit"],
                    f"{row['minutes']:g}",
                    f"{row['busy_cores']:.2g}",
                    str(row["epochs"]),
                    f"{row['test_mae']:.4g}",
                    f"{row['constant_mae']:.4g}",
                    f"{row['test_r2']:.2f}",
                ]
                for name, row in rows.items()
            ),
        ]
        if rows
        else None
    )


def pretraining() -> Lines | None:
    """Validation errors by set, with and without temperature and structure-wise loss."""
    rows = read_rows(RESULTS / "pretraining.yaml")
    tasks = list(dict.fromkeys(task for row in rows.values() for task in row["valid"]))
    head = [
        "run",
        "temperature",
        "structure-wise loss",
        "steps",
        *(f"{task}, force MAE (meV/Å)" for task in tasks),
    ]
    return (
        [
            head,
            *(
                [
                    name,
                    f"{row['temperature']:g}",
                    "yes" if row["structure_wise"] else "no",
                    str(row["steps"]),
                    *(f"{row['valid'][task]['forces_mae_mev_per_a']:.0f}" for task in tasks),
                ]
                for name, row in rows.items()
            ),
        ]
        if rows
        else None
    )


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


PAPER_TABLES: dict[str, Callable[[], Lines | None]] = {
    **{
        f"paper_{name}": (lambda name=name: errors(name))
        for name in ("qm9", "rmd17", "md22", "spice", "matbench", "qmof")
    },
    "paper_averages": averages,
    "paper_disagreements": disagreements,
    "recipes": steps,
    "rmd17": rmd17,
    "scalars": scalars,
    "pretraining": pretraining,
    "forgetting": lambda: runs("forgetting"),
}
