"""The tables of docs/*.md with numbers of benchmarks, made from benchmarks/results/*.yaml.

    python benchmarks/tables.py           rewrite them in the pages
    python benchmarks/tables.py --check   only say whether they are up to date (exit code 1 if not)

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. Where a results file does not exist yet,
the command that makes it is named instead.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import ablation
import ten_minutes
import transfer_tables
import yaml
from card_tables import CARD_TABLES
from paper_tables import PAPER_TABLES
from rows import RESULTS, Rows
from workflow_tables import WORKFLOW_TABLES

DOCS = Path(__file__).parent.parent / "docs"
PAGES = (
    "speed.md",
    "paper.md",
    "descriptors.md",
    "pretraining.md",
    "transfer.md",
    "model_card.md",
    "uncertainty.md",
    "active_learning.md",
    "screening.md",
    "engines.md",
)


def speed(rows: Rows) -> list[list[str]]:
    """Time, dense work and share of the matrix rate."""
    head = [
        "model/structure",
        "atoms",
        "edges",
        "ms",
        "dense work (GFLOP)",
        "share of the matrix rate",
        "process (GB)",
    ]
    return [
        head,
        *(
            [
                name,
                row["atoms"],
                row["main_edges"],
                f"{1e3 * row['seconds']:.0f}",
                f"{row['dense_gflop']:.3g}",
                f"{row['share_of_rate']:.2f}",
                f"{row['peak_gb']:.2f}",
            ]
            for name, row in rows.items()
        ),
    ]


def peers(rows: Rows) -> list[list[str]]:
    """Milliseconds per step of both."""
    head = ["MACE size/structure", "jmp-xs (ms per step)", "MACE (ms per step)", "ratio"]
    return [
        head,
        *(
            [name, f"{row['jmp_xs_ms']:.0f}", f"{row['mace_ms']:.0f}", f"{row['ratio']:.2f}"]
            for name, row in rows.items()
        ),
    ]


def estimates(rows: Rows) -> list[list[str]]:
    """Estimated against measured."""
    head = [
        "model/structure",
        "ms",
        "estimated / measured time",
        "GB of a call",
        "estimated / measured memory",
    ]
    return [
        head,
        *(
            [
                name,
                f"{1e3 * row['seconds']:.0f}",
                f"{row['time_ratio']:.2f}",
                f"{row['call_gb']:.3f}",
                f"{row['memory_ratio']:.2f}",
            ]
            for name, row in rows.items()
        ),
    ]


def memory(rows: Rows) -> list[list[str]]:
    """Peak of a call and of the process."""
    head = ["model/structure/kind", "atoms", "GB of the call", "GB of the process", "s"]
    return [
        head,
        *(
            [name, row["atoms"], f"{row['call_gb']:.2f}", f"{row['process_gb']:.2f}", f"{row['seconds']:.2f}"]
            for name, row in rows.items()
        ),
    ]


def scaling(rows: Rows) -> list[list[str]]:
    """Time, time in products, memory."""
    head = ["structure", "edges", "s", "time (GFLOP at the matrix rate)", "GB of the call"]
    return [
        head,
        *(
            [
                name,
                row["main_edges"],
                f"{row['seconds']:.2f}",
                f"{row['products']:.0f}",
                f"{row['call_gb']:.2f}",
            ]
            for name, row in rows.items()
        ),
    ]


def compiled(rows: Rows) -> list[list[str]]:
    """Eager and compiled calls per second."""
    head = ["structure", "main edges", "calls/s", "compiled calls/s", "gain", "largest difference (eV/Å)"]
    return [
        head,
        *(
            [
                name,
                row["main_edges"],
                f"{row['eager_calls_per_s']:.3g}",
                f"{row['compiled_calls_per_s']:.3g}",
                f"{row['gain']:.2f}",
                f"{row['largest_difference_ev_per_a']:.0e}",
            ]
            for name, row in rows.items()
        ),
    ]


def aoti(rows: Rows) -> list[list[str]]:
    """Start and calls of the three kinds."""
    head = ["", "start (s)", "ethanol (calls/s)", "Si64 (calls/s)", "largest difference (eV/Å)"]
    return [
        head,
        *(
            [
                f"`{name}`" if "=" in name else name,
                f"{row['start_s']:.1f}",
                f"{row['ethanol_calls_per_s']:.3g}",
                f"{row['Si64_calls_per_s']:.3g}",
                f"{max(row['ethanol_largest_difference_ev_per_a'], row['Si64_largest_difference_ev_per_a']):.0e}",
            ]
            for name, row in rows.items()
        ),
    ]


def training_step(rows: Rows) -> list[list[str]]:
    """A training step, eager and compiled, and in inference calls."""
    head = ["model/batch", "structures", "atoms", "step (ms)", "compiled (ms)", "gain"]
    head += ["inference call (ms)", "step / call"]
    return [
        head,
        *(
            [
                name,
                row["structures"],
                row["atoms"],
                f"{1e3 * row['step_s']:.0f}",
                f"{1e3 * row['compiled_s']:.0f}" if "compiled_s" in row else "",
                f"{row['gain']:.2f}" if "gain" in row else "",
                f"{1e3 * row['call_s']:.0f}",
                f"{row['ratio']:.1f}",
            ]
            for name, row in rows.items()
        ),
    ]


def embeddings(rows: Rows) -> list[list[str]]:
    """How well sets and domains lie apart, and the share of few components."""
    head = [
        "description",
        "nearest neighbour from the same set",
        "from the same domain",
        "the same without the own set",
        "variance in 2 components",
        "components for 95 %",
        "3BPA: distance against energy",
    ]
    return [
        head,
        *(
            [
                name,
                f"{row['set_accuracy']:.0%}",
                f"{row['domain_accuracy']:.0%}",
                f"{row['domain_accuracy_from_other_sets']:.0%}",
                f"{row['variance_in_2_components']:.0%}",
                row["components_for_95_percent"],
                f"{row['bpa3_distance_against_energy']:.2f}",
            ]
            for name, row in rows.items()
        ),
    ]


TABLES: dict[str, Callable[[Rows], list[list[str]]]] = {
    "speed": speed, "peers": peers, "estimates": estimates, "memory": memory, "scaling": scaling,
    "compiled": compiled,
    **WORKFLOW_TABLES,
    "aoti": aoti, "training_step": training_step, "embeddings": embeddings,
}  # fmt: skip


COMPARED: dict[str, Callable[[], list[list[str]]]] = {
    "transfer_molecules": lambda: transfer_tables.of_domain("molecules"),
    "transfer_crystals": lambda: transfer_tables.of_domain("crystals"),
    "transfer_scalars": lambda: transfer_tables.of_domain("scalars"),
    "transfer_spread": transfer_tables.spread,
    "ten_minutes": ten_minutes.table,
    "ablation": ablation.table,
}
"""Of docs/transfer.md and pretraining.md: rows that are not finished are shown as missing."""


def table(name: str) -> str:
    """Markdown of one table."""
    if name in COMPARED:
        head, *lines = COMPARED[name]()
    elif name in CARD_TABLES:
        head, *lines = CARD_TABLES[name]()
    elif name in PAPER_TABLES:
        made = PAPER_TABLES[name]()
        if made is None:
            return f"Not run here (there is no `benchmarks/results/{name}.yaml`)."
        head, *lines = made
    else:
        path = RESULTS / f"{name}.yaml"
        if not path.exists():
            return f"Not measured yet: `python benchmarks/{name}.py`."
        content = yaml.safe_load(path.read_text())
        rows = content["rows"] if "rows" in content else content["runs"]["threads_2"]["rows"]
        head, *lines = TABLES[name](rows)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *lines])


def filled(text: str) -> str:
    """A page with all its tables made anew."""
    pattern = re.compile(r"(<!-- table: (\w+) -->\n)(?:(?!<!-- ).*\n)*(<!-- end -->)")
    return pattern.sub(lambda found: f"{found[1]}{table(found[2])}\n{found[3]}", text)


def main() -> None:
    """Rewrite or check the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        if args.check and filled(text) != text:
            sys.exit(f"docs/{page} is not up to date: run python benchmarks/tables.py")
        if not args.check:
            rewrite(page)


def rewrite(page: str) -> None:
    """Make the tables of one page anew."""
    path = DOCS / page
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
