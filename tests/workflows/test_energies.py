"""Energies that are sums: textbook values of counted bonds, references that fit, zeros that agree."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadStructureError, JMPWarning, ModelError, NotConvergedError, UsageError
from jmp_calc.units import J_M2_PER_EV_A2
from jmp_calc.workflows.statics.energies import (
    adsorption_energy,
    atomisation_energy,
    formation_energy,
    surface_energy,
)
from jmp_calc.workflows.statics.parts import atomisation_parts
from jmp_calc.workflows.statics.sum_settings import SumSettings
from jmp_calc.workflows.statics.sums import Part, open_directions, summed
from tests.small_network import CHON
from tests.workflows.conftest import morse


class Bonds(Calculator):
    """``-energy`` for every pair nearer than ``reach``, and an energy of its own for each atom: no forces."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy: float = 0.3, reach: float = 2.7) -> None:
        super().__init__()
        self.energy, self.reach = energy, reach

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        pairs = len(neighbor_list("i", atoms, self.reach)) / 2
        own = float((-10.0 * atoms.numbers**1.5).sum())
        self.results = {"energy": own - self.energy * pairs, "forces": np.zeros((len(atoms), 3))}


@pytest.mark.capability("C20")
def test_a_compound_forms_from_its_elements() -> None:
    """One bond each of H2 and two of H2O, none of a lone O; and twice the cell is the same per atom."""
    found = formation_energy(molecule("H2O"), [molecule("H2"), Atoms("O")], calc=Bonds(0.3, 1.2))
    assert found.energy_ev == pytest.approx(-2 * 0.3 + 0.3)
    assert found.numbers["energy_ev_per_atom"] == pytest.approx(found.energy_ev / 3)
    assert [term.coefficient for term in found.terms] == pytest.approx([1.0, -1.0, -1.0])
    salt = bulk("NaCl", "rocksalt", a=5.6)
    parts = [bulk("Na", "bcc", a=4.2, cubic=True), molecule("Cl2"), bulk("Cu")]
    small = formation_energy(salt, parts, calc=Bonds())
    large = formation_energy(salt * (2, 1, 1), parts, calc=Bonds())
    assert small.numbers["energy_ev_per_atom"] == pytest.approx(large.numbers["energy_ev_per_atom"])
    assert small.energy_ev == pytest.approx(large.energy_ev / 2)
    assert [term.name for term in small.terms] == ["compound", "reference 0 (Na2)", "reference 1 (Cl2)"]


def test_references_may_be_compounds() -> None:
    """H2O2 from water and hydrogen: 2 H2O - H2."""
    found = formation_energy(molecule("H2O2"), [molecule("H2O"), molecule("H2")], calc=Bonds(0.3, 1.2))
    assert [term.coefficient for term in found.terms] == pytest.approx([1.0, -2.0, 1.0])


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        (["H2"], "No reference contains O"),
        ([], "No reference contains H, O"),
        (["H2O2"], r"references \(H2O2\) cannot make up H2O"),
        (["H2", "O2", "H2O"], "in several ways"),
        (["H2", "H2", "O2"], "in several ways"),
    ],
)
def test_references_that_do_not_fit_are_refused(references: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        formation_energy(molecule("H2O"), [molecule(name) for name in references], calc=Bonds())


@pytest.mark.capability("C20")
def test_atomisation_breaks_every_bond(cluster: Atoms) -> None:
    """Six pairs of a Morse tetrahedron at their distance, its depth 0.34 eV."""
    found = atomisation_energy(cluster, fmax=1.0)
    assert found.energy_ev == pytest.approx(6 * 0.34, abs=1e-6)
    assert found.numbers["energy_ev_per_atom"] == pytest.approx(6 * 0.34 / 4, abs=1e-6)
    assert repr(found) == "<EnergySum: atomisation energy of Cu4, energy_ev_per_atom 0.51>"
    crystal = atomisation_energy(bulk("Cu", a=3.6), calc=Bonds())
    assert crystal.numbers["energy_ev_per_atom"] == pytest.approx(6 * 0.3)


@pytest.mark.parametrize("atoms", [molecule("H2O"), bulk("Cu", a=3.6)], ids=["molecule", "crystal"])
def test_lone_atoms_are_of_the_kind_of_their_structure(atoms: Atoms) -> None:
    """A model with a head for molecules and one for crystals computes both with one."""
    structure, *lone = atomisation_parts(atoms)
    assert {bool(part.atoms.pbc.any()) for part in (structure, *lone)} == {bool(atoms.pbc.any())}
    for part in lone:
        assert not part.atoms.pbc.any() or open_directions(part.atoms).all()


@pytest.mark.capability("C19")
@pytest.mark.parametrize("layers", [3, 6])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_close_packed_surface_breaks_three_bonds(layers: int, periodic: bool) -> None:
    slab = fcc111("Cu", (2, 1, layers), a=3.6, vacuum=8.0, periodic=periodic)
    found = surface_energy(slab, bulk("Cu", a=3.6), calc=Bonds(0.3))
    area = 3.6**2 * 3**0.5 / 4
    assert found.numbers["area_a2"] == pytest.approx(2 * area)
    assert found.numbers["surface_energy_ev_per_a2"] == pytest.approx(1.5 * 0.3 / area)
    assert found.numbers["surface_energy_j_per_m2"] == pytest.approx(1.5 * 0.3 / area * J_M2_PER_EV_A2)
    assert found.numbers["faces_alike"] is True
    assert found.terms[1].coefficient == -2 * layers


def test_faces_that_differ_are_told() -> None:
    slab = fcc111("Cu", (2, 1, 3), a=3.6, vacuum=8.0)
    add_adsorbate(slab, "Cu", 3.6 / 3**0.5, "fcc")
    with pytest.warns(JMPWarning, match="two faces of the slab differ"):
        found = surface_energy(slab, bulk("Cu", a=3.6), calc=Bonds(0.3))
    assert found.numbers["faces_alike"] is False


def test_a_face_that_is_held_while_the_other_relaxes_is_told() -> None:
    slab, copper = fcc111("Cu", (1, 1, 6), a=3.59, vacuum=8.0), bulk("Cu", a=3.59)  # that of EMT
    slab.set_constraint(FixAtoms(mask=slab.get_tags() > 3))
    assert surface_energy(slab, copper, calc=Bonds()).numbers["faces_alike"] is True  # nothing relaxes
    with pytest.warns(JMPWarning, match="one face of the slab relaxes and the other is held"):
        found = surface_energy(slab, copper, calc=EMT(), relax="positions")
    assert found.numbers["faces_alike"] is False
    slab.set_constraint(FixAtoms(mask=abs(slab.get_tags() - 3.5) < 1))  # the middle
    assert surface_energy(slab, copper, calc=EMT(), relax="positions").numbers["faces_alike"] is True


def test_a_slab_of_another_lattice_is_told() -> None:
    copper = bulk("Cu", a=3.6)
    with pytest.warns(JMPWarning, match=r"inside the slab neighbours are 2.6\d\d Å apart, in the bulk 2.5"):
        surface_energy(fcc111("Cu", (1, 1, 4), a=3.75, vacuum=8.0), copper, calc=Bonds())
    surface_energy(fcc111("Cu", (1, 1, 4), a=3.61, vacuum=8.0), copper, calc=Bonds())


def test_crystals_under_stress_are_told() -> None:
    with pytest.warns(JMPWarning, match=r"cells under stress, by this calculator: reference 0 \(Cu\) \("):
        formation_energy(bulk("Cu", a=3.59), [bulk("Cu", a=3.5)], calc=EMT())


def test_energies_that_were_read_are_enough(tmp_path: Path) -> None:
    """Of other codes, in files with energies alone."""
    frames = [molecule("H2O"), molecule("H2"), molecule("O2")]
    for frame, energy in zip(frames, (-14.2, -6.8, -9.9), strict=True):
        frame.calc = SinglePointCalculator(frame, energy=energy)
    ase.io.write(tmp_path / "read.extxyz", frames)
    water, *gases = ase.io.read(tmp_path / "read.extxyz", ":")
    found = formation_energy(water, gases)
    assert found.energy_ev == pytest.approx(-14.2 + 6.8 + 9.9 / 2)
    assert found.terms[0].fmax is None
    with pytest.raises(UsageError, match="The calculator gives no forces for a compound"):
        formation_energy(water, gases, relax="positions")


def test_slabs_that_are_none_are_refused() -> None:
    copper, slab = bulk("Cu", a=3.6), fcc111("Cu", (1, 1, 3), a=3.6, vacuum=8.0)
    for wrong in (copper, molecule("H2O"), Atoms("Cu", cell=[20, 20, 3], pbc=True)):
        with pytest.raises(BadStructureError, match="vacuum along one; this structure"):
            surface_energy(wrong, copper, calc=Bonds())
    with pytest.raises(BadStructureError, match="the bulk of a surface can only be of a crystal"):
        surface_energy(slab, slab, calc=Bonds())
    salt = bulk("NaCl", "rocksalt", a=5.6)
    for numbers in ([11, 11, 17], [29, 29, 29]):
        slab.numbers[:] = numbers
        with pytest.raises(UsageError, match="not made of whole formula units of ClNa"):
            surface_energy(slab, salt, calc=Bonds())
    with pytest.raises(UsageError, match="relax='full' would change them"):
        surface_energy(slab, copper, calc=Bonds(), relax="full")


def covered(count: int = 1, **options) -> tuple[Atoms, Atoms, Atoms]:
    """Copper with oxygen on top, 1.2 Å above, bare copper, and lone oxygen."""
    slab = fcc111("Cu", (2, 1, 3), a=3.6, vacuum=8.0, **options)
    both = slab.copy()
    for i in range(count):
        add_adsorbate(both, "O", 1.2, "ontop", offset=(i, 0))
    return both, slab, Atoms("O")


@pytest.mark.capability("C19")
@pytest.mark.parametrize("count", [1, 2])
def test_adsorption_is_per_molecule(count: int) -> None:
    """Within 1.3 Å, only the oxygen and the atom below it are neighbours."""
    found = adsorption_energy(*covered(count), calc=Bonds(0.3, 1.3))
    assert found.numbers == {"energy_ev_per_adsorbate": pytest.approx(-0.3), "n_adsorbates": count}
    assert found.energy_ev == pytest.approx(-0.3 * count)


def test_slabs_and_molecules_that_do_not_belong_together_are_refused() -> None:
    both, slab, gas = covered()
    for wrong in ((slab, both, gas), (both, both, gas), (both, slab, molecule("CO")), (slab, slab, gas)):
        with pytest.raises(UsageError, match="The covered slab is not the bare one"):
            adsorption_energy(*wrong, calc=Bonds())
    other = slab.copy()
    other.set_cell(1.01 * slab.cell.array, scale_atoms=True)
    for cell in (other, fcc111("Cu", (2, 1, 3), a=3.6, vacuum=9.0), covered(periodic=True)[1]):
        with pytest.raises(UsageError, match="cells of the bare and of the covered slab differ"):
            adsorption_energy(both, cell, gas, calc=Bonds())
    with pytest.raises(BadStructureError, match="adsorbate O repeats"):
        adsorption_energy(both, slab, Atoms("O", cell=[3, 3, 3], pbc=True), calc=Bonds())
    both.set_constraint(FixAtoms([0, 1]))
    for fixed in ([], [FixAtoms([0])]):
        slab.set_constraint(fixed)
        with pytest.raises(UsageError, match="have other constraints"):
            adsorption_energy(both, slab, gas, calc=Bonds())
    slab.set_constraint(FixAtoms([0, 1]))
    adsorption_energy(both, slab, gas, calc=Bonds())


def test_slabs_of_which_other_atoms_are_held_are_told() -> None:
    """As many held, but below in one and above in the other: the two do not relax alike."""
    both, slab, gas = covered()
    slab.set_constraint(FixAtoms(np.argsort(slab.positions[:, 2])[:2]))
    both.set_constraint(FixAtoms(np.argsort(slab.positions[:, 2])[-2:]))
    with pytest.warns(JMPWarning, match=r"\(Cu\) of the bare slab is held, and none at its place"):
        adsorption_energy(both, slab, gas, calc=Bonds())
    order = np.roll(np.arange(len(both)), 1)  # the adsorbate first
    both.set_constraint(FixAtoms(np.argsort(slab.positions[:, 2])[:2]))
    turned = both[order]
    turned.calc = both.calc
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)
        adsorption_energy(turned, slab, gas, calc=Bonds())


def test_a_slab_that_was_rebuilt_is_told() -> None:
    both, slab, gas = covered()
    both.positions[5] += [0, 0, 4.0]
    with pytest.warns(JMPWarning, match=r"atom 5 \(Cu\) of the bare slab is"):
        adsorption_energy(both, slab, gas, calc=Bonds())


def test_a_molecule_in_a_box_is_a_gas() -> None:
    both, slab, _ = covered()
    box = Atoms("O", cell=[12, 12, 12], pbc=True)
    assert adsorption_energy(both, slab, box, calc=Bonds(0.3, 1.3)).energy_ev == pytest.approx(-0.3)


def test_parts_are_relaxed_and_keep_their_constraints() -> None:
    both, slab, gas = covered()
    for atoms in (both, slab):
        atoms.set_constraint(FixAtoms(range(4)))
    with pytest.warns(JMPWarning, match=r"not relaxed, by this calculator: covered slab \(.* --relax"):
        loose = adsorption_energy(both, slab, gas, calc=EMT())
    tight = adsorption_energy(both, slab, gas, calc=EMT(), relax="positions", fmax=0.05)
    assert tight.energy_ev < loose.energy_ev
    assert all(term.fmax <= 0.05 for term in tight.terms)
    assert np.array_equal(tight.terms[0].atoms.positions[:4], both.positions[:4])
    with pytest.raises(NotConvergedError, match="The covered slab is not relaxed"):
        adsorption_energy(both, slab, gas, calc=EMT(), relax="positions", relax_steps=1)


def test_cells_relax_where_asked_for() -> None:
    wide = bulk("Cu", a=3.5)
    wide.calc = morse(periodic=False)
    with pytest.warns(JMPWarning, match=r"cells under stress, by this calculator: structure \(20 GPa\)"):
        as_it_is = atomisation_energy(wide)
    assert atomisation_energy(wide, relax="full", fmax=1e-3).energy_ev > as_it_is.energy_ev + 0.01


def test_two_methods_are_refused() -> None:
    both, slab, gas = covered()
    both.calc = slab.calc = EMT()
    gas.calc = LennardJones()
    with pytest.raises(UsageError, match="different zeros"):
        adsorption_energy(both, slab, gas)
    gas.calc = None
    with pytest.raises(UsageError, match="no calculator"):
        adsorption_energy(both, slab, gas)


def test_parts_that_do_not_balance_are_refused() -> None:
    parts = [Part("one", molecule("H2O"), 1.0), Part("other", molecule("H2"), -1.0)]
    with pytest.raises(UsageError, match=r"do not balance: \+1 O is left over"):
        summed("reaction", parts, SumSettings(), calc=Bonds(), quiet=True)


@pytest.mark.parametrize(
    "wrong", [{"relax": "cell"}, {"fmax": 0.0}, {"fmax": float("nan")}, {"relax_steps": 0}]
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        SumSettings(**wrong)


def test_files_hold_the_parts(tmp_path: Path) -> None:
    found = formation_energy(
        molecule("H2O"), [molecule("H2"), molecule("O2")], calc=Bonds(), out=tmp_path, prefix="w"
    )
    frames = ase.io.read(tmp_path / "w-parts.extxyz", ":")
    energy = sum(f.info["coefficient"] * f.get_potential_energy() for f in frames)
    assert energy == pytest.approx(found.energy_ev, abs=1e-6)
    assert [f.info["part"] for f in frames] == [term.name for term in found.terms]


# ------------------------------------------------------------------ heads of JMP models


def test_a_head_with_an_arbitrary_zero_is_refused(by_kind: Path) -> None:
    calc = JMPCalculator(by_kind, head="materials", device="cpu")
    with pytest.raises(ModelError, match="head materials of tiny have an arbitrary zero"):
        formation_energy(molecule("H2O"), [molecule("H2"), molecule("O2")], calc=calc)
    with pytest.raises(ModelError, match="Lone atoms of head materials of tiny have no energy"):
        atomisation_energy(bulk("NaCl", "rocksalt", a=5.6), calc=calc)


def test_molecules_and_crystals_need_one_head(by_kind: Path) -> None:
    """Ice in a cell decides for the head of crystals; the gas is a molecule."""
    slab = fcc111("Cu", (1, 1, 2), a=3.6, vacuum=8.0)
    slab.numbers[:] = 1
    both = slab + Atoms("O", [slab.positions[-1] + [0, 0, 1.2]])
    with pytest.raises(ModelError, match="--head NAME"):
        adsorption_energy(both, slab, Atoms("O"), calc=JMPCalculator(by_kind, device="cpu"))


def test_lone_atoms_have_the_energy_of_their_reference(two_heads: Path, official_path: Path) -> None:
    calc = JMPCalculator(two_heads, head="organic", device="cpu", dtype="float64")
    water = molecule("H2O")
    found = atomisation_energy(water, calc=calc, fmax=1e3)
    assert [term.energy_ev for term in found.terms[1:]] == pytest.approx([-13.6, -2038.0])
    water.calc = calc
    assert found.energy_ev == pytest.approx(2 * -13.6 - 2038.0 - water.get_potential_energy())
    with pytest.raises(ModelError, match="it knows nothing of lone atoms"):
        atomisation_energy(water, calc=JMPCalculator(official_path, device="cpu"), fmax=1e3)


def test_fitted_references_are_no_lone_atoms(make_model) -> None:
    fitted = replace(CHON, reference_kind="least_squares")
    bound = replace(fitted, binding={1: -2.0, 8: -3.0})
    with pytest.raises(ModelError, match="linear reference fitted"):
        atomisation_energy(molecule("H2O"), calc=JMPCalculator(make_model(heads=(fitted,)), device="cpu"))
    with pytest.warns(JMPWarning, match="are estimates"):
        atomisation_energy(
            molecule("H2O"), calc=JMPCalculator(make_model(heads=(bound,)), device="cpu"), fmax=1e3
        )
