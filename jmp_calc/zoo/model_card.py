"""A model card in Markdown from what a model file says of itself (``describe``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .citations import GEMNET_OC, JMP, Citation, cited_data

USE = """A start for fine-tuning, and an interatomic potential where the tables below say that it is good
enough: with the elements of a head, in surroundings like those of its data. Energies of different heads
belong to different levels of theory and must not be mixed. There is no input for charge or spin."""
STRUCTURES = {"molecules": "molecules", "periodic": "periodic structures"}


def model_card(described: Mapping[str, Any], given: str) -> str:
    """Markdown with a YAML head, as model hubs read it; ``given``: the name or path that opens the model."""
    return "\n".join(_lines(described, given)) + "\n"


def _lines(d: Mapping[str, Any], given: str) -> Iterator[str]:
    yield from ("---", f"license: {str(d['licence']).lower()}", "library_name: jmp-calc", "tags:")
    yield from (f"- {tag}" for tag in ("interatomic-potential", "gemnet-oc", "jmp", "ase", "chemistry"))
    yield from ("---", "", f"# {d['name']}", "")
    yield from _table(("what", "value"), _facts(d))
    yield from ("", "```python", "from jmp_calc import JMPCalculator", "")
    yield from (f'atoms.calc = JMPCalculator("{given}")', "```")
    yield from ("", "## Intended use", "", USE, "", "## Heads", "")
    rows = [(h["name"], h["kind"], h["level_of_theory"], h["domain"], h["elements"]) for h in d["heads"]]
    yield from _table(("head", "gives", "level of theory", "domain", "elements"), rows)
    errors = [(h["name"], *_error_row(e)) for h in d["heads"] for e in h.get("errors", ())]
    if errors:
        columns = ("head", "domain", "frames", "forces, meV/Å", "of the mean force", "energy, meV/atom")
        yield from ("", "## Errors on held-out frames", "", *_table(columns, errors))
    yield from ("", "## Training data", "")
    yield from _table(("set", "head", "frames", "licence", "source"), _sets(d))
    if d["notes"]:
        yield from ("", "## Limits", "", *(f"* {note}" for note in d["notes"]))
    yield from ("", "## Cite", "", *(f"* {_reference(work)}" for work in (JMP, GEMNET_OC)))
    yield from (f"* {name}: {text}" for name, text in cited_data(d).items())


def _facts(d: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of the first table that the file has something for."""
    graphs, network = d["graphs"], d["network"]
    by_kind = d["default_heads"] or {"all structures": d["default_head"] or "none"}
    defaults = {STRUCTURES.get(kind, kind): head for kind, head in by_kind.items()}
    rows = [
        ("licence", d["licence"]),
        ("made", " ".join(part for part in (d["created"], d["source"]) if part)),
        ("file", f"{d['size_bytes'] / 1e6:.1f} MB, {d['format']}"),
        ("sha256", d["sha256"]),
        ("network", f"GemNet-OC, {network['blocks']} blocks, {network['atom_features']} features of an atom"),
        ("graphs", f"{graphs['policy']}, cutoff {graphs['cutoff_angstrom']:g} Å"),
        ("head unless named", "; ".join(f"{head} for {kind}" for kind, head in defaults.items())),
        ("zero of energy", d["energy_reference"]),
    ]
    return [(name, value) for name, value in rows if value]


def _error_row(error: Mapping[str, Any]) -> tuple[str, ...]:
    """Domain, frames, force error, its share of the mean force, energy error."""
    share = error.get("forces_mae_share_of_mean_force")
    numbers = (error.get("forces_mae_mev_per_a"), error.get("energy_mae_mev_per_atom"))
    forces, energy = ("" if number is None else f"{number:.3g}" for number in numbers)
    return error["domain"], str(error["frames"]), forces, "" if share is None else f"{share:.0%}", energy


def _sets(d: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each training set."""
    return [
        (
            entry["name"],
            str(entry.get("head", "")),
            str(entry.get("train_frames", "")),
            str(entry.get("licence", "")),
            str(entry.get("source", "")),
        )
        for entry in d["training_data"]
    ]


def _reference(work: Citation) -> str:
    """One line for people."""
    where = work.where.get("journal") or work.where.get("booktitle", "")
    return f"{', '.join(work.authors)}: {work.title}. {where}, {work.where['year']}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown; bars and line breaks inside cells are replaced."""
    yield "| " + " | ".join(columns) + " |"
    yield "| " + " | ".join("---" for _ in columns) + " |"
    for row in rows:
        yield "| " + " | ".join(" ".join(str(cell).split()).replace("|", "/") for cell in row) + " |"
