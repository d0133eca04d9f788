"""The teachers with a name of their own: what they need, and what their labels are.

Licences and citations are in ``NOTICE`` too; cards of models trained on labels name them from here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """Level of theory of labels, in the words of a head."""

    functional: str
    basis: str = ""
    dispersion: str = ""
    spin: str = ""
    hubbard_u: bool = False
    """Some elements have a Hubbard U: no other labels of the same functional belong to the same head."""


@dataclass(frozen=True)
class NamedTeacher:
    """One teacher."""

    name: str
    package: str
    """As pip installs it."""
    version: str
    """That was tried."""
    what: str
    level: Level
    domain: str
    """molecules, crystals, or any."""
    elements: str
    licence: str
    """Of the program."""
    weights_licence: str
    training_data: str
    """What the weights come from, with its licence."""
    citation: str
    takes: frozenset[str] = frozenset()
    """Settings of TeacherSpec that it has."""
    needs_weights: bool = False
    """No wheel holds its weights."""

    @property
    def install(self) -> str:
        """The line that installs it beside jmp-calc."""
        return f"pip install 'jmp-calc[{self.name}]'"


GFN = Level(
    "GFN2-xTB", basis="minimal, of the method", dispersion="D4", spin="restricted, fractional at 300 K"
)
PBE_U = Level("PBE", basis="plane waves, PAW", spin="polarised", hubbard_u=True)

TEACHERS = (
    NamedTeacher(
        "tblite",
        "tblite",
        "0.8.0",
        "GFN2-xTB and GFN1-xTB (--method)",
        GFN,
        "any",
        "H to Rn",
        "LGPL-3.0-or-later",
        "parameters: LGPL-3.0-or-later, with the program",
        "no data set: parameters fitted by their authors",
        "C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), "
        "doi:10.1021/acs.jctc.8b01176; GFN1: S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. "
        "13, 1989 (2017), doi:10.1021/acs.jctc.7b00118",
        frozenset({"method"}),
    ),
    NamedTeacher(
        "ani2x",
        "torchani",
        "2.2.4",
        "ANI-2x, eight networks",
        Level("wB97X", basis="6-31G(d)", spin="restricted"),
        "molecules",
        "H C N O F S Cl",
        "MIT",
        "MIT (aiqm/ani-model-zoo at 3a3368b)",
        "ANI-2x data set, 8.9 million molecules, CC BY 4.0",
        "C. Devereux et al., J. Chem. Theory Comput. 16, 4192 (2020), doi:10.1021/acs.jctc.0c00121",
        frozenset({"weights", "dtype"}),
        needs_weights=True,
    ),
    NamedTeacher(
        "nequix",
        "nequix",
        "0.4.5",
        "Nequix-OAM-1 and other .nqx files",
        PBE_U,
        "crystals",
        "89 elements",
        "MIT",
        "MIT (atomicarchitects/nequix at 0ffdf88)",
        "OMat24 (CC BY 4.0), sAlex (CC BY 4.0), MPtrj (MIT)",
        "T. Koker, M. Kotak, T. Smidt, arXiv:2508.16067; arXiv:2601.07742",
        frozenset({"weights"}),
        needs_weights=True,
    ),
    NamedTeacher(
        "chgnet",
        "chgnet",
        "0.4.2",
        "CHGNet 0.3.0",
        PBE_U,
        "crystals",
        "89 elements",
        "BSD-3-Clause-LBNL",
        "BSD-3-Clause-LBNL, in the wheel",
        "MPtrj (MIT)",
        "B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3",
    ),
    NamedTeacher(
        "sevennet",
        "sevenn",
        "0.13.0",
        "SevenNet-0 and others of its wheel (--method)",
        PBE_U,
        "crystals",
        "89 elements",
        "MIT",
        "MIT, in the wheel",
        "MPtrj (MIT); l3i5 the same, MF-0 with OMat24 and sAlex (CC BY 4.0)",
        "Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
        frozenset({"method", "weights", "head"}),
    ),
)
NAMED = {teacher.name: teacher for teacher in TEACHERS}
