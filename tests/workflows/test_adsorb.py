"""Adsorbates on slabs: the sites that textbooks name, orientations, contact, and a ranking that is right."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc110, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.data import covalent_radii

from jmp_calc import adsorb, adsorption_energy
from jmp_calc.errors import BadStructureError, UsageError
from jmp_calc.workflows.statics.adsorb import gas_of, planned
from jmp_calc.workflows.statics.adsorb_settings import AdsorbSettings
from jmp_calc.workflows.statics.sites import face_of, sites_of


def kinds(slab: Atoms) -> dict[str, int]:
    """How many there are in the cell, by kind, where a kind may come twice."""
    return {f"{i} {site.name}": len(site.places) for i, site in enumerate(sites_of(face_of(slab)))}


@pytest.mark.parametrize(
    ("slab", "expected"),
    [
        (
            fcc111("Cu", (2, 2, 4), vacuum=8),
            {"0 ontop": 4, "1 bridge": 12, "2 hollow3": 4, "3 hollow3": 4},
        ),
        (fcc100("Cu", (2, 2, 4), vacuum=8), {"0 ontop": 4, "1 bridge": 8, "2 hollow4": 4}),
    ],
    ids=["fcc111: hcp and fcc hollows", "fcc100"],
)
def test_surfaces_have_the_sites_of_the_textbooks(slab: Atoms, expected: dict[str, int]) -> None:
    assert kinds(slab) == expected


def test_sites_do_not_depend_on_where_the_slab_lies_and_how_it_is_turned() -> None:
    slab = fcc111("Cu", (2, 2, 4), vacuum=8)
    first = kinds(slab)
    moved = slab.copy()
    moved.pbc = True
    moved.translate([0.7, -0.4, 9.0])
    moved.wrap()  # cut by the boundary along the normal
    turned = slab.copy()
    turned.rotate(37, [1, 2, 3], rotate_cell=True)
    large = slab.repeat((2, 1, 1))
    assert kinds(moved) == first == kinds(turned)
    assert kinds(large) == {kind: 2 * count for kind, count in first.items()}


def test_an_open_surface_has_long_and_short_bridges_and_its_trough() -> None:
    names = [site.name for site in sites_of(face_of(fcc110("Cu", (2, 2, 4), vacuum=8)))]
    assert names.count("ontop") == 2  # the ridge, and the atoms of the trough
    assert "bridge" in names


@pytest.mark.parametrize(
    ("name", "downs"), [("O", {"O"}), ("CO", {"C", "O", "CO"}), ("H2O", {"O", "H", "HO"})]
)
def test_orientations_point_every_end_of_a_molecule_down(name: str, downs: set[str]) -> None:
    _, candidates = planned(fcc111("Cu", (2, 2, 3), vacuum=8), gas_of(name), AdsorbSettings(sites="ontop"))
    assert {one.down for one in candidates} == downs
    if name == "O":
        assert len(candidates) == 1


def test_atoms_touch_and_do_not_overlap() -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=10)
    _, candidates = planned(slab, gas_of("CH3OH"), AdsorbSettings(turns=1))
    assert len(candidates) > 4
    for one in candidates:
        on, below = one.atoms[-6:], one.atoms[:-6]
        apart = np.array(
            [one.atoms.get_distances(len(below) + i, range(len(below)), mic=True) for i in range(6)]
        )
        sums = covalent_radii[on.numbers][:, None] + covalent_radii[below.numbers][None]
        assert (apart / sums).min() == pytest.approx(1.1, abs=1e-6)
        assert np.sort(on.get_all_distances(), axis=None) == pytest.approx(
            np.sort(molecule("CH3OH").get_all_distances(), axis=None)
        )


@pytest.mark.capability("C19")
def test_the_ranking_is_that_of_adsorption_energies(tmp_path: Path) -> None:
    slab = fcc100("Cu", (2, 2, 3), vacuum=8)
    slab.calc = EMT()
    result = adsorb(slab, "O", fix_bottom=0.7, fmax=0.05, out=tmp_path)
    best = result.best
    assert best.site is not None and best.site.name == "hollow4" and best.intact and best.bound
    energies = [row.adsorption_ev for row in result.rows]
    assert energies == sorted(energies) and len(result.rows) == 3
    frames = ase.io.read(tmp_path / "adsorbed.extxyz", ":")
    assert [frame.info["rank"] for frame in frames] == [1, 2, 3]
    again = adsorption_energy(best.atoms, result.bare, result.molecule, calc=EMT(), fmax=0.05)
    assert again.energy_ev == pytest.approx(best.adsorption_ev, abs=1e-9)
    assert isinstance(best.atoms.constraints[0], FixAtoms)
    assert {path.name for path in tmp_path.iterdir()} >= {"adsorb.csv", "best.extxyz", "adsorb.svg"}
    assert (tmp_path / "adsorb.csv").read_text().count("\n") == 4


def test_what_cannot_be_meant_is_refused() -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    slab.calc = EMT()
    with pytest.raises(UsageError, match="no molecule of ASE's G2 set"):
        adsorb(slab, "unobtainium")
    with pytest.raises(UsageError, match="Unknown site 'top'"):
        adsorb(slab, "O", sites="top")
    with pytest.raises(BadStructureError, match="vacuum along one; this structure has none"):
        adsorb(bulk("Cu", cubic=True), "O", calc=EMT())
    thin = fcc111("Cu", (2, 2, 3), vacuum=3.0, periodic=True)
    with pytest.raises(UsageError, match="the vacuum above the slab"):
        adsorb(thin, "C6H6", calc=EMT())


def test_a_killed_search_takes_the_relaxations_that_had_ended(tmp_path: Path) -> None:
    slab = fcc100("Cu", (1, 1, 3), vacuum=8)
    whole = adsorb(slab, "O", calc=EMT(), fix_bottom=0.7, fmax=0.05, out=tmp_path / "whole", plot=False)
    folder = tmp_path / "killed"
    adsorb(slab, "O", calc=EMT(), fix_bottom=0.7, fmax=0.05, out=folder, plot=False)
    journal = folder / "relax.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:20])  # the last one is cut short
    again = adsorb(slab, "O", calc=EMT(), fix_bottom=0.7, fmax=0.05, out=folder, resume=True, plot=False)
    energies = [[row.adsorption_ev for row in result.rows] for result in (whole, again)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    assert len(journal.read_text().splitlines()) == len(lines)
