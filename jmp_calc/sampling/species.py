"""Sizes and charges of atoms in crystals: what may stand beside what, and how far apart."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from ..model.elements import SYMBOLS
from .geometry import RADII

CRYSTAL_ELEMENTS = frozenset(range(1, 95)) - frozenset(range(84, 89))
"""H to Pu without Po, At, Rn, Fr and Ra: the 89 elements of MPtrj."""


@dataclass(frozen=True)
class Ion:
    """An element with a charge."""

    number: int
    charge: int
    radius: float
    """Å, with six neighbours, for O2- of 1.40 Å."""


def _table(text: str) -> tuple[Ion, ...]:
    found = []
    for line in text.split():
        name, *states = line.split(":")
        for state in states:
            charge, radius = state.split("=")
            found.append(Ion(SYMBOLS.index(name), int(charge), float(radius)))
    return tuple(found)


CATIONS = _table(
    """
    Li:1=0.76 Na:1=1.02 K:1=1.38 Rb:1=1.52 Cs:1=1.67 Be:2=0.45 Mg:2=0.72 Ca:2=1.00 Sr:2=1.18 Ba:2=1.35
    Sc:3=0.745 Y:3=0.90 La:3=1.032 Ce:3=1.01:4=0.87 Pr:3=0.99 Nd:3=0.983 Pm:3=0.97 Sm:3=0.958
    Eu:2=1.17:3=0.947 Gd:3=0.938 Tb:3=0.923:4=0.76 Dy:3=0.912 Ho:3=0.901 Er:3=0.89 Tm:3=0.88
    Yb:2=1.02:3=0.868 Lu:3=0.861 Ac:3=1.12 Th:4=0.94 Pa:4=0.90:5=0.78 U:4=0.89:5=0.76:6=0.73
    Np:3=1.01:4=0.87 Pu:3=1.00:4=0.86
    Ti:2=0.86:3=0.67:4=0.605 Zr:4=0.72 Hf:4=0.71 V:2=0.79:3=0.64:4=0.58:5=0.54 Nb:3=0.72:4=0.68:5=0.64
    Ta:4=0.68:5=0.64 Cr:2=0.80:3=0.615:4=0.55:6=0.44 Mo:3=0.69:4=0.65:6=0.59 W:4=0.66:6=0.60
    Mn:2=0.83:3=0.645:4=0.53 Tc:4=0.645 Re:4=0.63:6=0.55 Fe:2=0.78:3=0.645 Ru:3=0.68:4=0.62 Os:4=0.63
    Co:2=0.745:3=0.61 Rh:3=0.665:4=0.60 Ir:3=0.68:4=0.625 Ni:2=0.69:3=0.60 Pd:2=0.86:4=0.615
    Pt:2=0.80:4=0.625 Cu:1=0.77:2=0.73 Ag:1=1.15 Au:1=1.37:3=0.85 Zn:2=0.74 Cd:2=0.95 Hg:2=1.02
    Al:3=0.535 Ga:3=0.62 In:3=0.80 Tl:1=1.50:3=0.885 Si:4=0.40 Ge:2=0.73:4=0.53 Sn:2=1.10:4=0.69
    Pb:2=1.19:4=0.775 As:3=0.58:5=0.46 Sb:3=0.76:5=0.60 Bi:3=1.03:5=0.76
    B:3=0.27 C:4=0.16 N:5=0.13 P:5=0.38 S:6=0.29 Se:4=0.50:6=0.42 Te:4=0.97:6=0.56 I:5=0.95
    """
)
"""Common charges and effective radii (Shannon, Acta Cryst. A32, 751 (1976); high spin)."""
ANIONS = _table(
    """
    H:-1=1.35 F:-1=1.33 Cl:-1=1.81 Br:-1=1.96 I:-1=2.20 O:-2=1.40 S:-2=1.84 Se:-2=1.98 Te:-2=2.21
    N:-3=1.53 P:-3=1.95 As:-3=2.03 Sb:-3=2.20 Bi:-3=2.26 C:-4=1.55
    """
)
"""Those beyond the halides and chalcogenides from the lattice constants of compounds of rare earths."""
ANION_WEIGHTS = {
    "H": 3.0, "F": 6.0, "Cl": 5.0, "Br": 4.0, "I": 4.0, "O": 16.0, "S": 8.0, "Se": 7.0, "Te": 5.0, "N": 5.0,
    "P": 3.0, "As": 3.0, "Sb": 2.0, "Bi": 1.0, "C": 1.0,
}  # fmt: skip
"""How often a compound is one of an anion."""
WITH_OXYGEN = frozenset(SYMBOLS.index(name) for name in "B C N P S Se Te I As".split())
"""Elements that are cations among oxide (and fluoride) only."""

VOLUMES = {
    name: float(volume)
    for name, volume in (
        item.split("=")
        for item in """
        H=2.9 He=18 Li=20.3 Be=7.9 B=5.5 C=7.0 N=7.0 O=8.5 F=10 Ne=22 Na=37 Mg=23 Al=16.5 Si=14.5 P=14 S=16
        Cl=21 Ar=37.5 K=73 Ca=42.5 Sc=24.6 Ti=17.3 V=13.5 Cr=11.8 Mn=11.2 Fe=11.0 Co=10.9 Ni=10.9 Cu=11.9
        Zn=15.3 Ga=18.9 Ge=18.5 As=18 Se=20.5 Br=26 Kr=45 Rb=91 Sr=54.5 Y=32.5 Zr=23.3 Nb=18.3 Mo=16 Tc=14.5
        Ru=13.8 Rh=14.1 Pd=15.3 Ag=17.8 Cd=22.6 In=27.4 Sn=27.5 Sb=26.5 Te=28 I=35 Xe=60 Cs=115 Ba=63.5
        La=37 Ce=33 Pr=34.5 Nd=34.2 Pm=33.6 Sm=33.2 Eu=44 Gd=33 Tb=32.1 Dy=31.6 Ho=31.1 Er=30.6 Tm=30.1
        Yb=39 Lu=29.3 Hf=22.3 Ta=18.4 W=16.2 Re=14.9 Os=14.3 Ir=14.5 Pt=15.7 Au=18 Hg=26 Tl=30.5 Pb=31.8
        Bi=31.5 Ac=45 Th=32 Pa=25 U=21 Np=19.5 Pu=19.5
        """.split()
    )
}
"""Å³ of an atom in a close-packed lattice at zero pressure: measured, or of density-functional theory where
the element has none; alloys are mixtures of such volumes (Zen's law) to some per cent."""
NOBLE = frozenset(SYMBOLS.index(name) for name in "He Ne Ar Kr Xe".split())
MOLECULAR = {"H": 0.74, "N": 1.10, "O": 1.21, "F": 1.42, "Cl": 1.99, "Br": 2.28, "I": 2.67}
"""Elements of two-atomic molecules and their bonds, Å."""
MOLECULAR_VOLUMES = {"H": 19.0, "N": 22.5, "O": 17.0, "F": 16.0, "Cl": 29.0, "Br": 33.0, "I": 42.5}
"""Å³ per atom of their crystals."""
NONMETALS = (
    frozenset(SYMBOLS.index(name) for name in "H B C N O F Si P S Cl Ge As Se Br Te I".split()) | NOBLE
)
METALS = CRYSTAL_ELEMENTS - NONMETALS
"""Sb and Bi among them: they stand on the sites of metals too."""


def close_packed_distance(number: int) -> float:
    """Distance of neighbours in a close-packed lattice, Å."""
    return (math.sqrt(2.0) * VOLUMES[SYMBOLS[number]]) ** (1 / 3)


@functools.cache
def _shrinkage(number: int) -> float:
    """How the distance falls with the number of neighbours n, as (n / 12)**p: the covalent bond at n = 4."""
    if number in NOBLE:
        return 0.03
    ratio = close_packed_distance(number) / (2 * float(RADII[number]))
    return min(max(math.log(ratio) / math.log(3), 0.06), 0.33)


def elemental_distance(number: int, neighbours: float) -> float:
    """Distance in a lattice of an element where an atom has so many neighbours, Å."""
    return close_packed_distance(number) * (neighbours / 12) ** _shrinkage(number)


def ionic_distance(cation: Ion, anion: Ion, neighbours: float) -> float:
    """Distance of two ions where the cation has so many neighbours, Å."""
    power = 0.22 if neighbours < 6 else 0.08  # SiO2, MgAl2O4 and Li2O; CaF2, CsCl and SrTiO3
    return (cation.radius + anion.radius) * (max(neighbours, 3.0) / 6) ** power
