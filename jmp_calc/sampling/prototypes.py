"""Structure types: where the atoms are and what stands there.

A line has name, space group, cell (a b c, Å; hexagonal groups have 120°), and sites as label(x,y,z). Cells
have the size of an example; drawn crystals are scaled to the distances of their own atoms.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..graph.neighbours import neighbour_edges
from .geometry import Floats, Ints

ELEMENT, METALLIC, IONIC, COVALENT, MOLECULE = "element", "metallic", "ionic", "covalent", "molecule"
LIKE = "like"
"""The bonding of structure types of somebody's crystals: any."""
FRACTIONS = {"1/3": 1 / 3, "2/3": 2 / 3}

_TYPES = {
    ELEMENT: """
    fcc 225 4 A(0,0,0)
    bcc 229 3.2 A(0,0,0)
    hcp 194 3,3,4.87 A(1/3,2/3,.25)
    dhcp 194 3,3,9.74 A(0,0,0) A(1/3,2/3,.25)
    sc 221 3 A(0,0,0)
    diamond 227 5.43 A(0,0,0)
    beta-tin 141 5.83,5.83,3.18 A(0,0,0)
    arsenic 166 4.31,4.31,11.27 A(0,0,.2335)
    graphite 194 2.46,2.46,6.71 A(0,0,.25) A(1/3,2/3,.25)
    black-phosphorus 64 3.31,10.48,4.37 A(0,.1017,.0808)
    omega 191 4.6,4.6,2.82 A(0,0,0) A(1/3,2/3,.5)
    beta-tungsten 223 5.06 A(0,0,0) A(.25,0,.5)
    selenium 152 4.37,4.37,4.95 A(.225,0,1/3)
    indium 139 3.25,3.25,4.95 A(0,0,0)
    gallium 64 4.52,7.66,4.53 A(0,.154,.081)
    simple-hexagonal 191 3,3,2.8 A(0,0,0)
    """,
    MOLECULE: """
    molecules-on-fcc 205 5.66 A(.0515,.0515,.0515)
    """,
    METALLIC: """
    cscl 221 3 A(0,0,0) B(.5,.5,.5)
    l1_0 123 2.8,2.8,3.7 A(0,0,0) B(.5,.5,.5)
    l1_1 166 2.7,2.7,13.2 A(0,0,0) B(0,0,.5)
    l1_2 221 3.75 A(0,0,0) B(0,.5,.5)
    d0_3 225 5.8 A(0,0,0) B(.25,.25,.25) B(.5,.5,.5)
    d0_22 139 3.85,3.85,8.6 A(0,0,0) B(0,0,.5) B(0,.5,.25)
    d0_19 194 5.78,5.78,4.67 A(1/3,2/3,.25) B(.833,.666,.25)
    a15 223 5.1 A(0,0,0) B(.25,0,.5)
    laves-c15 227 7.1 A(0,0,0) B(.625,.625,.625)
    laves-c14 194 5.2,5.2,8.5 A(1/3,2/3,.062) B(0,0,0) B(.8305,.661,.25)
    mosi2 139 3.2,3.2,7.85 A(0,0,0) B(0,0,.3353)
    alb2 191 3,3,3.26 A(0,0,0) X(1/3,2/3,.5)
    cab6 221 4.15 A(0,0,0) X(.2,.5,.5)
    cacu5 191 5.09,5.09,4.09 A(0,0,0) B(1/3,2/3,0) B(.5,0,.5)
    fesi 198 4.49 A(.137,.137,.137) X(.842,.842,.842)
    natl 227 7.4 A(0,0,0) B(.5,.5,.5)
    cual2 140 6.07,6.07,4.87 A(0,0,.25) B(.158,.658,0)
    ni2in 194 4.2,4.2,5.2 A(0,0,0) A(1/3,2/3,.75) B(1/3,2/3,.25)
    nias 194 3.6,3.6,5.0 A(0,0,0) X(1/3,2/3,.25)
    wc 187 2.9,2.9,2.84 A(0,0,0) X(1/3,2/3,.5)
    heusler 225 6 A(.25,.25,.25) B(0,0,0) C(.5,.5,.5)
    inverse-heusler 216 6 A(0,0,0) A(.25,.25,.25) B(.5,.5,.5) C(.75,.75,.75)
    half-heusler 216 6 A(0,0,0) B(.25,.25,.25) C(.5,.5,.5)
    thcr2si2 139 4.04,4.04,10.57 A(0,0,0) B(0,.5,.25) X(0,0,.374)
    max-phase 194 3.05,3.05,13.6 A(1/3,2/3,.086) B(1/3,2/3,.75) X(0,0,0)
    metal-antiperovskite 221 3.85 A(0,0,0) B(0,.5,.5) X(.5,.5,.5)
    pyrite 205 5.42 A(0,0,0) X(.385,.385,.385)
    marcasite 58 4.44,5.42,3.39 A(0,0,0) X(.2,.378,0)
    """,
    COVALENT: """
    zincblende 216 5.6 A(0,0,0) X(.25,.25,.25)
    wurtzite 186 3.25,3.25,5.3 A(1/3,2/3,0) X(1/3,2/3,.375)
    chalcopyrite 122 5.29,5.29,10.42 A(0,0,0) B(0,0,.5) X(.257,.25,.125)
    boron-nitride 194 2.5,2.5,6.66 A(1/3,2/3,.25) X(1/3,2/3,.75)
    """,
    IONIC: """
    rocksalt 225 5.6 A(0,0,0) X(.5,.5,.5)
    cscl 221 4.1 A(0,0,0) X(.5,.5,.5)
    nias 194 3.6,3.6,5.8 A(0,0,0) X(1/3,2/3,.25)
    zincblende 216 5.6 A(0,0,0) X(.25,.25,.25)
    fluorite 225 5.5 A(0,0,0) X(.25,.25,.25)
    antifluorite 225 5.5 A(.25,.25,.25) X(0,0,0)
    rutile 136 4.6,4.6,2.96 A(0,0,0) X(.305,.305,0)
    anatase 141 3.785,3.785,9.514 A(0,0,0) X(0,0,.208)
    cdi2 164 4.24,4.24,6.84 A(0,0,0) X(1/3,2/3,.25)
    cdcl2 166 3.85,3.85,17.46 A(0,0,0) X(0,0,.25)
    mos2 194 3.16,3.16,12.29 A(1/3,2/3,.25) X(1/3,2/3,.621)
    perovskite 221 3.95 A(.5,.5,.5) B(0,0,0) X(.5,0,0)
    antiperovskite 221 3.95 A(.5,0,0) X(0,0,0) Y(.5,.5,.5)
    double-perovskite 225 8 A(.25,.25,.25) B(0,0,0) C(.5,.5,.5) X(.25,0,0)
    k2ptcl6 225 9.75 A(.25,.25,.25) B(0,0,0) X(.24,0,0)
    reo3 221 3.8 A(0,0,0) X(.5,0,0)
    corundum 167 4.76,4.76,12.99 A(0,0,.352) X(.306,0,.25)
    ilmenite 148 5.09,5.09,14.09 A(0,0,.355) B(0,0,.146) X(.317,.023,.245)
    spinel 227:2 8.1 A(.125,.125,.125) B(.5,.5,.5) X(.2625,.2625,.2625)
    delafossite 166 3.04,3.04,17.1 A(0,0,0) B(0,0,.5) X(0,0,.11)
    nafeo2 166 2.9,2.9,15.4 A(0,0,.5) B(0,0,0) X(0,0,.255)
    k2nif4 139 3.87,3.87,12.7 A(0,0,.355) B(0,0,0) X(.5,0,0) X(0,0,.155)
    cuprite 224:2 4.27 A(0,0,0) X(.25,.25,.25)
    litharge 129:2 3.97,3.97,5.02 A(.25,.25,.237) X(.75,.25,0)
    matlockite 129:2 4.11,4.11,7.23 A(.25,.25,.205) X(.75,.25,0) Y(.25,.25,.65)
    cristobalite 227 7.16 A(0,0,0) X(.125,.125,.125)
    quartz 154 4.913,4.913,5.405 A(.4697,0,2/3) X(.4133,.2672,.7855)
    scheelite 88:2 5.243,5.243,11.376 A(0,.25,.625) B(0,.25,.125) X(.1504,.0085,.2111)
    zircon 141:2 6.607,6.607,5.982 A(0,.75,.125) B(0,.25,.375) X(0,.0661,.1953)
    calcite 167 4.99,4.99,17.06 A(0,0,0) B(0,0,.25) X(.257,0,.25)
    bi2te3 166 4.39,4.39,30.5 A(0,0,.4) X(0,0,0) X(0,0,.212)
    la2o3 164 3.94,3.94,6.13 A(1/3,2/3,.245) X(0,0,0) X(1/3,2/3,.645)
    li3n 191 3.65,3.65,3.87 A(0,0,.5) A(1/3,2/3,0) X(0,0,0)
    li3bi 225 6.6 A(.25,.25,.25) A(.5,.5,.5) X(0,0,0)
    ges 62 11.2,3.98,4.33 A(.1198,.25,.1194) X(.8508,.25,.4793)
    """,
}


@dataclass(frozen=True, eq=False)
class Prototype:
    """A structure type at the size of its example, one primitive cell."""

    name: str
    bonding: str
    labels: tuple[str, ...]
    """Of the N atoms."""
    scaled: Floats
    """Positions in parts of the cell, (N, 3)."""
    cell: Floats
    """Å, (3, 3)."""
    group: int
    """Number of the space group."""

    @property
    def counts(self) -> dict[str, int]:
        """Atoms of each label in the cell."""
        return {label: self.labels.count(label) for label in sorted(set(self.labels))}

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.cell)))

    @functools.cached_property
    def surroundings(self) -> list[Surroundings]:
        """Neighbours of each atom; of crystals of ions those of the other charge, seen from the cations."""
        positions, reach = self.scaled @ self.cell, 1.7 * self.volume ** (1 / 3)
        edges, lengths = neighbour_edges(positions, self.cell, np.ones(3, dtype=bool), max(reach, 5.0))
        anion = np.array([label in "XY" for label in self.labels])
        polar = self.bonding in (IONIC, COVALENT)
        found = []
        for atom in range(len(self.labels)):
            if polar and anion[atom]:
                continue
            own = (edges.source == atom) & (anion[edges.target] if polar else True)
            found.append(_weighed(atom, edges.target[own], lengths[own]))
        return found


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Neighbours of an atom, weighed by their distance (Hoppe, Z. Kristallogr. 150, 23 (1979))."""

    atom: int
    neighbours: Ints
    weights: Floats
    length: float
    """Mean distance, Å."""

    @property
    def count(self) -> float:
        """Effective number of neighbours."""
        return float(self.weights.sum())


def _weighed(atom: int, neighbours: Ints, lengths: Floats) -> Surroundings:
    mean = float(lengths.min())
    for _ in range(3):
        weights = np.exp(1 - (lengths / mean) ** 6)
        mean = float((weights * lengths).sum() / weights.sum())
    weights = np.exp(1 - (lengths / mean) ** 6)
    near = weights > 0.05
    length = float((weights * lengths)[near].sum() / weights[near].sum())
    return Surroundings(atom, neighbours[near], weights[near], length)


@functools.cache
def prototypes() -> dict[str, tuple[Prototype, ...]]:
    """All structure types by the bonding in them."""
    return {
        bonding: tuple(_read(bonding, line) for line in lines.strip().splitlines())
        for bonding, lines in _TYPES.items()
    }


def _read(bonding: str, line: str) -> Prototype:
    from ase.spacegroup import crystal

    name, group, lengths, *sites = line.split()
    number, _, setting = group.partition(":")
    edges = [float(length) for length in lengths.split(",")]
    hexagonal = 143 <= int(number) <= 194
    atoms = crystal(
        [_STANDS_FOR[site[0]] for site in sites],
        basis=[[FRACTIONS.get(x) or float(x) for x in site[2:-1].split(",")] for site in sites],
        spacegroup=int(number),
        setting=int(setting or 1),
        cellpar=[*(edges if len(edges) == 3 else 3 * edges), 90, 90, 120 if hexagonal else 90],
        primitive_cell=True,
    )
    label = {symbol: label for label, symbol in _STANDS_FOR.items()}
    labels = tuple(label[symbol] for symbol in atoms.get_chemical_symbols())
    return Prototype(name, bonding, labels, atoms.get_scaled_positions(), atoms.cell.array, int(number))


_STANDS_FOR = {"A": "Sr", "B": "Ti", "C": "Fe", "X": "O", "Y": "Cl"}
