"""What to cite: this package, the method, and the data of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..version import __version__


@dataclass(frozen=True)
class Citation:
    """One work; ``CITATION.cff`` lists the same."""

    key: str
    kind: str
    """Entry type of BibTeX: software, article, inproceedings."""
    authors: tuple[str, ...]
    """``Given Family``."""
    title: str
    where: Mapping[str, str]
    """Further fields of the entry: journal, year, doi, ..."""
    why: str
    """When to cite it."""

    def bibtex(self) -> str:
        """The entry, with the reason above it."""
        fields = {"author": " and ".join(self.authors), "title": f"{{{self.title}}}", **self.where}
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"% {self.why}\n@{self.kind}{{{self.key},\n{body}}}"


JMP_CALC = Citation(
    "jmp-calc",
    "software",
    ("{the jmp-calc authors}",),
    "jmp-calc: JMP interatomic potentials as ASE calculators",
    {"version": __version__, "year": "2026"},
    "the program",
)
JMP = Citation(
    "shoghi2024molecules",
    "inproceedings",
    (
        "Nima Shoghi",
        "Adeesh Kolluru",
        "John R. Kitchin",
        "Zachary W. Ulissi",
        "C. Lawrence Zitnick",
        "Brandon M. Wood",
    ),
    "From Molecules to Materials: Pre-training Large Generalizable Models for Atomic Property Prediction",
    {
        "booktitle": "International Conference on Learning Representations (ICLR)",
        "year": "2024",
        "eprint": "2310.16802",
    },
    "the method of pre-training; always with jmp-s and jmp-l, whose weights it published",
)
GEMNET_OC = Citation(
    "gasteiger2022gemnet",
    "article",
    (
        "Johannes Gasteiger",
        "Muhammed Shuaibi",
        "Anuroop Sriram",
        "Stephan Günnemann",
        "Zachary Ulissi",
        "C. Lawrence Zitnick",
        "Abhishek Das",
    ),
    "GemNet-OC: Developing Graph Neural Networks for Large and Diverse Molecular Simulation Datasets",
    {"journal": "Transactions on Machine Learning Research", "year": "2022", "eprint": "2204.02782"},
    "the network of every model",
)
BPA3 = Citation(
    "kovacs2021linear",
    "article",
    (
        "Dávid Péter Kovács",
        "Cas van der Oord",
        "Jiri Kucera",
        "Alice E. A. Allen",
        "Daniel J. Cole",
        "Christoph Ortner",
        "Gábor Csányi",
    ),
    "Linear Atomic Cluster Expansion Force Fields for Organic Molecules: Beyond RMSE",
    {
        "journal": "Journal of Chemical Theory and Computation",
        "volume": "17",
        "pages": "7696",
        "year": "2021",
        "doi": "10.1021/acs.jctc.1c00647",
    },
    "the sample of 3BPA that the package ships",
)
ASE = Citation(
    "larsen2017atomic",
    "article",
    ("Ask Hjorth Larsen", "others"),
    "The atomic simulation environment - a Python library for working with atoms",
    {
        "journal": "Journal of Physics: Condensed Matter",
        "volume": "29",
        "pages": "273002",
        "year": "2017",
        "doi": "10.1088/1361-648X/aa680e",
    },
    "relaxation, dynamics, paths and thermochemistry",
)
PHONOPY = Citation(
    "togo2023implementation",
    "article",
    ("Atsushi Togo", "Laurent Chaput", "Terumasa Tadano", "Isao Tanaka"),
    "Implementation strategies in phonopy and phono3py",
    {
        "journal": "Journal of Physics: Condensed Matter",
        "volume": "35",
        "pages": "353001",
        "year": "2023",
        "doi": "10.1088/1361-648X/acd831",
    },
    "phonons, qha, sscha, conductivity",
)
ALL = (JMP_CALC, JMP, GEMNET_OC, BPA3, ASE, PHONOPY)


def cited_data(described: Mapping[str, Any]) -> dict[str, str]:
    """Training sets of a model and what to cite for them, from ``describe``; those without are left out."""
    return {entry["name"]: entry["citation"] for entry in described["training_data"] if entry.get("citation")}
