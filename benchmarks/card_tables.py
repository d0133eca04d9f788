"""The tables of docs/model_card.md, from the rows of benchmarks/model_card.py; written by benchmarks/tables.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rows import RESULTS, Rows, read_rows

Lines = list[list[str]]
WANTED = {
    "unseen": "3BPA ≤ 85 meV/Å; MPtrj ≤ 70; crystals below 300 GPa ≤ 440 and ≤ 7 GPa; all frames accepted",
    "bonds": "within 1 eV of the teacher, no wall or dip; without a teacher depth within 25 % of the atomisation "
    "energy per bond",
    "dimers": "no force below −0.1 eV/Å nearer than trained, no more minima than the teacher",
    "volumes": "one minimum, lattice constant within 2 %, bulk modulus within 25 % of the teacher",
    "returns": "energy within 2 meV/atom, volume within 1 % of the crystal that was never rattled, and within 6 % "
    "of the teacher's",
    "phonons": "nothing below −0.1 THz where the teacher has nothing there",
    "dynamics": "bonds or lattice after 10 ps; NVE slope below 0.1 meV/atom/ps",
}
"""What a row must show to pass, by section."""
NO = "–"


def of_section(section: str) -> Rows:
    """Rows of a section by system."""
    rows = read_rows(RESULTS / "model_card.yaml")
    return {name.partition("/")[2]: row for name, row in rows.items() if name.partition("/")[0] == section}


def card_summary() -> Lines:
    """How many rows of each section passed."""
    lines = [["section", "a row passes with", "rows", "passed"]]
    for section, wanted in WANTED.items():
        rows = of_section(section)
        passed = sum(row["passed"] for row in rows.values())
        lines.append([section, wanted, str(len(rows)), str(passed)] if rows else [section, wanted, NO, NO])
    return lines


def card_unseen() -> Lines:
    """Errors against DFT."""
    head = ["set", "head", "frames (accepted)", "elements (accepted)", "force MAE (meV/Å)", "mean force"]
    lines = [[*head, "correlation", "stress MAE (GPa)", "wanted", "others"]]
    for name, row in of_section("unseen").items():
        wanted = [row.get("limit_forces_mae_mev_per_a"), row.get("limit_stress_mae_gpa")]
        lines.append(
            [
                name,
                row.get("head", NO),
                f"{row.get('frames', NO)} ({row.get('accepted', NO)})",
                f"{row.get('elements_of_the_set', NO)} ({row.get('elements_accepted', NO)})",
                number(row, "forces_mae_mev_per_a", ".0f"),
                number(row, "mean_force_mev_per_a", ".0f"),
                number(row, "forces_correlation", ".3f"),
                number(row, "stress_mae_gpa", ".1f"),
                " and ".join(f"≤ {limit:g}" for limit in wanted if limit is not None),
                row.get("compared", ""),
            ]
        )
    return lines


def card_bonds() -> Lines:
    """Bonds by head."""
    lines = [["head", "teacher", "bonds", "passed", "largest difference (eV)", "largest wall or dip (eV)"]]
    for head, rows in by_head(of_section("bonds")).items():
        differences = [row["largest_difference_ev"] for row in rows if row["teacher"]]
        walls = [max(row["fall_beyond_ev"], row["rise_inside_ev"]) for row in rows]
        lines.append(
            [
                head,
                "yes" if differences else "no",
                str(len(rows)),
                str(sum(row["passed"] for row in rows)),
                f"{max(differences):.2f}" if differences else NO,
                f"{max(walls):.2f}",
            ]
        )
    return lines


def card_dimers() -> Lines:
    """Dimers by head."""
    lines = [["head", "pairs", "attracted nearer than trained", "the strongest", "too many minima"]]
    for head, row in of_section("dimers").items():
        worst = row["worst_attracted"][0] if row["worst_attracted"] else NO
        lines.append([head, str(row["pairs"]), str(row["attracted"]), worst, str(row["too_many_minima"])])
    return lines


def card_crystals() -> Lines:
    """What holds of how many of the crystals."""
    volumes, returns = of_section("volumes"), of_section("returns")
    counts = {
        "accepted by the head": [row["covered"] for row in volumes.values()],
        "one minimum of the energy": [
            row.get("minima") == 1 and not row["lowest_at_an_end"] for row in volumes.values()
        ],
        "lattice constant within 2 %": [
            abs(row.get("length_off_percent", 100.0)) <= 2.0 for row in volumes.values()
        ],
        "bulk modulus within 25 %": [
            abs(row.get("bulk_modulus_off_percent", 100.0)) <= 25.0 for row in volumes.values()
        ],
        "back after a rattle and a strain": [row["passed"] for row in returns.values()],
    }
    return [
        ["", "crystals", "of"],
        *([what, str(sum(found)), str(len(found))] for what, found in counts.items()),
    ]


def card_phonons() -> Lines:
    """Frequencies."""
    lines = [["crystal", "lowest (THz)", "teacher", "highest (THz)", "teacher", "passed"]]
    keys = ("lowest_thz", "teacher_lowest_thz", "highest_thz", "teacher_highest_thz")
    for name, row in of_section("phonons").items():
        why = "yes" if row["passed"] else trouble(row) or "no"
        lines.append([name, *(number(row, key, "z.2f") for key in keys), why])
    return lines


def card_dynamics() -> Lines:
    """Runs."""
    lines = [["run", "head", "atoms", "result", "passed"]]
    for name, row in of_section("dynamics").items():
        if "slope_mev_per_atom_per_ps" in row:
            result = f"{row['slope_mev_per_atom_per_ps']:+.4f} meV/atom/ps"
        elif "bonds" in row:
            result = f"{row['broken']} of {row['bonds']} bonds broken, {row['formed']} formed"
        elif "largest_move_share" in row:
            result = f"sites moved by up to {row['largest_move_share']:.2f} of a distance"
        else:
            result = trouble(row)
        lines.append(
            [name, row.get("head", NO), str(row.get("atoms", NO)), result, "yes" if row["passed"] else "no"]
        )
    return lines


def trouble(row: dict[str, Any]) -> str:
    """Why a row has no numbers; empty where it has."""
    if "failure" in row:
        return str(row["failure"])
    return "" if row["covered"] else "not accepted" if "head" in row else "no such head"


def by_head(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Rows by what stands before the stroke of their names."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, row in rows.items():
        found.setdefault(name.partition("/")[0], []).append(row)
    return found


def number(row: dict[str, Any], key: str, form: str) -> str:
    """A number of a row, or a stroke."""
    value = row.get(key)
    return NO if value is None else format(value, form)


CARD_TABLES: dict[str, Callable[[], Lines]] = {
    "card_summary": card_summary, "card_unseen": card_unseen, "card_bonds": card_bonds,
    "card_dimers": card_dimers, "card_crystals": card_crystals, "card_phonons": card_phonons,
    "card_dynamics": card_dynamics,
}  # fmt: skip
