"""Elastic constants: springs with known ones, clamped and relaxed ions, axes, stability, refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list
from matscipy.elasticity import Voigt_6_to_full_3x3_strain, rotate_elastic_constants
from scipy.spatial.transform import Rotation

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadStructureError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.io.records import STATE
from jmp_calc.units import GPA_PER_EV_A3
from jmp_calc.workflows.relax import relax
from jmp_calc.workflows.relax_cell import point_group
from jmp_calc.workflows.relax_many import JOURNAL
from jmp_calc.workflows.statics.elastic import elastic
from jmp_calc.workflows.statics.elastic_settings import ElasticSettings
from jmp_calc.workflows.statics.eos import eos
from jmp_calc.workflows.statics.tensor import ElasticTensor
from tests.workflows.conftest import Counted, morse


class Springs(Calculator):
    """Harmonic springs: stiffness in eV/Å² by length in Å, at rest at that length."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, springs: dict[float, float], *, twist: float = 0.0) -> None:
        super().__init__()
        self.springs, self.twist = springs, twist

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        lengths = np.array(sorted(self.springs))
        i, distance, vector = neighbor_list("idD", atoms, 1.1 * lengths[-1])
        nearest = np.abs(distance[:, None] - lengths).argmin(axis=1)
        k = np.array([self.springs[length] for length in lengths])[nearest]
        stretch = distance - lengths[nearest]
        pull = (k * stretch / distance)[:, None] * vector
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, pull)
        stress = 0.5 * np.einsum("ni,nj->ij", pull, vector) / atoms.get_volume()
        voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        voigt[2] *= 1 + self.twist
        self.results = {
            "energy": float(0.25 * k @ stretch**2),
            "forces": forces,
            "stress": voigt,
        }


A, K1, K2 = 5.4, 6.0, 1.5


def diamond(second: float = K2) -> Atoms:
    """Silicon-like crystal of springs between first and second neighbours."""
    atoms = bulk("Si", "diamond", a=A)
    atoms.calc = Springs({A * 3**0.5 / 4: K1, A / 2**0.5: second})
    return atoms


def cubic(c11: float, c12: float, c44: float) -> np.ndarray:
    found = np.diag([c11 - c12] * 3 + [c44] * 3).astype(float)
    found[:3, :3] += c12
    return found


@pytest.mark.capability("C15")
def test_springs_between_nearest_neighbours_have_the_constants_of_the_textbook() -> None:
    atoms = bulk("Cu", "fcc", a=3.6)
    length = 3.6 / 2**0.5
    atoms.calc = Springs({length: 2.0})
    result = elastic(atoms, max_strain=0.001)
    stiff = 2.0 / length * GPA_PER_EV_A3
    expected = cubic(2**0.5 * stiff, stiff / 2**0.5, stiff / 2**0.5)
    assert np.allclose(result.tensor.constants_gpa, expected, atol=1e-3 * stiff)
    assert result.space_group == "Fm-3m (225)" and result.n_rotations == 48
    assert result.tensor.symmetry_gap_gpa < 1e-3 * stiff
    assert result.relaxed is not None
    assert np.allclose(result.relaxed.constants_gpa, result.clamped.constants_gpa)


@pytest.mark.capability("C15")
def test_clamped_and_relaxed_ions_are_told_apart() -> None:
    """Shear of diamond moves its sublattices until the first neighbours feel nothing of it."""
    result = elastic(diamond(), max_strain=0.001, fmax=1e-6)
    first, second = K1 / (3 * A) * GPA_PER_EV_A3, 2 * K2 / A * GPA_PER_EV_A3
    clamped = cubic(first + 2 * second, first + second, first + second)
    relaxed = cubic(first + 2 * second, first + second, second)
    tolerance = 0.005 * clamped.max()
    assert result.relaxed is not None and result.ions == "relaxed"
    assert np.allclose(result.clamped.constants_gpa, clamped, atol=tolerance)
    assert np.allclose(result.relaxed.constants_gpa, relaxed, atol=tolerance)
    assert result.tensor is result.relaxed
    alone = elastic(diamond(), max_strain=0.001, ions="clamped")
    assert alone.relaxed is None and alone.tensor is alone.clamped and alone.ions == "clamped"
    assert np.allclose(alone.clamped.constants_gpa, result.clamped.constants_gpa)
    assert "relaxed ions" in repr(result) and "clamped ions" in repr(alone)


def test_a_strain_that_costs_nothing_is_named() -> None:
    """Diamond of nearest-neighbour springs alone: its shears are free.

    Two of them cost the same nothing, so that rounding decides which mixture of them is named."""
    atoms = diamond()
    atoms.calc = Springs({A * 3**0.5 / 4: K1})
    result = elastic(atoms, ions="clamped", max_strain=0.001)
    assert not result.tensor.stable
    assert result.tensor.hill is None and result.tensor.reuss is None and "unstable" in repr(result)
    assert "young_hill_gpa" not in result.to_dict()["clamped_ions"]
    with pytest.raises(NotConvergedError, match=r"The crystal is not stable: .*\[strain ") as caught:
        result.require_stable()
    assert caught.value.exit_code == 3
    parts = re.findall(r"(-?[\d.]+) (xx|yy|zz|yz|xz|xy)", str(caught.value))
    assert {place for _, place in parts} <= {"xx", "yy", "zz"}
    assert abs(sum(float(size) for size, _ in parts)) < 0.02
    elastic(diamond(), ions="clamped").require_stable()


def test_the_tensor_turns_with_the_crystal() -> None:
    how = {"max_strain": 0.001, "n_strains": 2, "fmax": 1e-5}
    plain = elastic(diamond(), **how)
    turn = Rotation.from_euler("xyz", [0.3, -0.8, 1.1]).as_matrix()
    atoms = diamond()
    atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    turned = elastic(atoms, **how)
    expected = rotate_elastic_constants(plain.tensor.constants_gpa, turn)
    assert np.allclose(turned.tensor.constants_gpa, expected, atol=0.01)
    assert np.allclose(turned.standard_gpa, plain.tensor.constants_gpa, atol=0.01)
    assert np.allclose(plain.standard_gpa, plain.tensor.constants_gpa, atol=0.01)
    assert np.allclose(turned.tensor.eigenvalues_gpa, plain.tensor.eigenvalues_gpa, atol=0.01)
    for one, other in ((turned.tensor.hill, plain.tensor.hill), (turned.tensor.voigt, plain.tensor.voigt)):
        assert one is not None and other is not None
        assert one.bulk_gpa == pytest.approx(other.bulk_gpa, rel=1e-4)
        assert one.shear_gpa == pytest.approx(other.shear_gpa, rel=1e-4)


@pytest.fixture
def hexagonal() -> Atoms:
    atoms = bulk("Cu", "hcp", a=2.34, c=3.82)
    atoms.calc = morse()
    return relax(atoms, cell="full", fmax=1e-5).atoms


def test_energies_of_small_strains_are_those_of_the_constants(hexagonal: Atoms) -> None:
    clamped = elastic(hexagonal, ions="clamped").clamped.constants_gpa / GPA_PER_EV_A3
    start, volume = hexagonal.get_potential_energy(), hexagonal.get_volume()
    for seed in range(3):
        strain = 1e-3 * np.random.default_rng(seed).standard_normal(6)
        mean = 0.0
        for sign in (1, -1):
            atoms = hexagonal.copy()
            turn = np.eye(3) + Voigt_6_to_full_3x3_strain(sign * strain)
            atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
            atoms.calc = hexagonal.calc
            mean += 0.5 * (atoms.get_potential_energy() - start)
        assert mean / volume == pytest.approx(0.5 * strain @ clamped @ strain, rel=0.01)


def test_a_hexagonal_crystal_has_five_constants(hexagonal: Atoms) -> None:
    result = elastic(hexagonal)
    assert result.relaxed is not None
    for tensor in (result.relaxed, result.clamped):
        c = tensor.constants_gpa
        assert c[0, 0] == pytest.approx(c[1, 1]) and c[0, 2] == pytest.approx(c[1, 2])
        assert c[3, 3] == pytest.approx(c[4, 4]) and c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2)
        assert tensor.symmetry_gap_gpa < 0.01 * c.max()
    lying = hexagonal.copy()
    lying.set_cell(lying.cell.array[:, [2, 0, 1]], scale_atoms=True)
    stood = elastic(lying, calc=hexagonal.calc, ions="clamped")
    assert stood.tensor.constants_gpa[0, 0] == pytest.approx(result.clamped.constants_gpa[2, 2], rel=1e-3)
    assert np.allclose(stood.standard_gpa, result.clamped.constants_gpa, atol=0.1)
    assert result.relaxed.constants_gpa[0, 0] < result.clamped.constants_gpa[0, 0] - 1.0


def test_the_bulk_modulus_is_that_of_the_equation_of_state(copper: Atoms) -> None:
    start = relax(copper, cell="full", fmax=1e-5).atoms
    curve = eos(start, min_volume=0.98, max_volume=1.02).fit
    assert curve is not None
    assert elastic(start).tensor.voigt.bulk_gpa == pytest.approx(curve.bulk_modulus_gpa, rel=0.005)


def tensor(constants: np.ndarray) -> ElasticTensor:
    return ElasticTensor(constants, constants, np.zeros((6, 6)))


def test_averages_of_an_isotropic_body_are_its_own() -> None:
    bulk_modulus, shear = 120.0, 45.0
    lame = bulk_modulus - 2 * shear / 3
    body = tensor(cubic(lame + 2 * shear, lame, shear))
    for moduli in (body.voigt, body.reuss, body.hill):
        assert moduli is not None
        assert (moduli.bulk_gpa, moduli.shear_gpa) == pytest.approx((bulk_modulus, shear))
    found = body.to_dict()
    young = 9 * bulk_modulus * shear / (3 * bulk_modulus + shear)
    assert found["universal_anisotropy"] == pytest.approx(0.0, abs=1e-12)
    assert found["young_hill_gpa"] == pytest.approx(young)
    assert found["young_min_gpa"] == pytest.approx(young) and found["young_max_gpa"] == pytest.approx(young)
    assert found["poisson_hill"] == pytest.approx(young / (2 * shear) - 1)


def test_averages_and_young_of_a_cubic_crystal_are_those_of_the_textbook() -> None:
    c11, c12, c44 = 168.4, 121.4, 75.4  # copper
    crystal = tensor(cubic(c11, c12, c44))
    assert crystal.voigt.shear_gpa == pytest.approx((c11 - c12 + 3 * c44) / 5)
    assert crystal.reuss is not None
    assert crystal.reuss.shear_gpa == pytest.approx(5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)))
    assert crystal.eigenvalues_gpa == pytest.approx([c11 - c12] * 2 + [2 * c44] * 3 + [c11 + 2 * c12])
    along = crystal.young_gpa(np.array([[1.0, 0, 0], np.ones(3) / 3**0.5]))
    assert along is not None
    assert along[0] == pytest.approx((c11 - c12) * (c11 + 2 * c12) / (c11 + c12))
    assert along[1] == pytest.approx(3 / (1 / c44 + 1 / (c11 + 2 * c12)))
    found = crystal.to_dict()
    assert found["young_min_gpa"] == pytest.approx(along[0], rel=0.01)
    assert found["young_max_gpa"] == pytest.approx(along[1], rel=0.01)


@pytest.mark.parametrize(
    ("atoms", "count"),
    [
        (bulk("Cu"), 48),
        (bulk("Cu", cubic=True), 48),
        (bulk("ZnS", "zincblende", a=5.4), 24),
        (bulk("Ti"), 24),
        (molecule("H2O"), 1),
    ],
)
def test_rotations_of_the_point_group_are_orthogonal(atoms: Atoms, count: int) -> None:
    turns = point_group(atoms, 0.01)
    assert turns.shape == (count, 3, 3)
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3))


def test_a_cell_under_stress_is_warned_of(copper: Atoms) -> None:
    copper.set_cell(0.99 * copper.cell.array, scale_atoms=True)
    with pytest.warns(JMPWarning, match="the unstrained cell is under .* relax it first"):
        result = elastic(copper, ions="clamped")
    assert max(np.abs(result.stress_gpa)) > 0.5


def test_a_tensor_less_symmetric_than_the_crystal_is_warned_of() -> None:
    atoms = diamond()
    atoms.calc.twist = 0.2
    with pytest.warns(JMPWarning, match="less symmetric than the crystal"):
        elastic(atoms, ions="clamped")


def test_positions_are_relaxed_first_or_it_ends_with_3(copper: Atoms) -> None:
    shaken = relax(copper, cell="full").atoms
    shaken.rattle(0.01, seed=1)
    result = elastic(shaken, calc=copper.calc, ions="clamped")
    assert result.fmax <= result.settings.fmax and result.space_group == "Fm-3m (225)"
    with pytest.raises(NotConvergedError, match="unstrained cell is not relaxed"):
        elastic(shaken, calc=copper.calc, relax_steps=1)


class NoStress(Springs):
    implemented_properties = ("energy", "forces")


@pytest.mark.parametrize(
    ("atoms", "calc", "error", "reason"),
    [
        (molecule("H2O"), morse(), BadStructureError, "periodic in no direction"),
        (fcc111("Cu", (1, 1, 3), vacuum=6.0, periodic=True), morse(), BadStructureError, "vacuum"),
        (diamond(), NoStress({2.3: 1.0}), UsageError, "no stress"),
        (bulk("Cu"), None, UsageError, "no calculator"),
    ],
)
def test_what_has_no_elastic_constants_is_refused(
    atoms: Atoms, calc: Calculator | None, error: type[Exception], reason: str
) -> None:
    bare = atoms.copy()
    with pytest.raises(error, match=reason):
        elastic(bare, calc=calc)


def test_constraints_are_refused(copper: Atoms) -> None:
    copper.set_constraint(FixAtoms([0]))
    with pytest.raises(UsageError, match="must be free"):
        elastic(copper)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_strain": 0.0},
        {"max_strain": 0.5},
        {"max_strain": float("nan")},
        {"n_strains": 1},
        {"n_strains": 10**6},
        {"ions": "frozen"},
        {"fmax": -1.0},
        {"relax_steps": 0},
        {"symprec": 0.0},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        ElasticSettings(**wrong)


def test_files_hold_what_the_result_holds(tmp_path: Path) -> None:
    result = elastic(diamond(), out=tmp_path, prefix="si")
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    figures = {f"si-{name}.{form}" for name in ("elastic", "young") for form in ("svg", "png")}
    tables = {"si-elastic_tensor.dat", "si-elastic_tensor_clamped.dat", "si-strained.extxyz"}
    assert names == figures | tables | {f"si-{JOURNAL}", f"si-{STATE}"}, "with what --resume reads"
    assert result.relaxed is not None
    for name, tensor in (("", result.relaxed), ("_clamped", result.clamped)):
        table = np.loadtxt(tmp_path / f"si-elastic_tensor{name}.dat")
        assert np.allclose(table, tensor.constants_gpa, atol=1e-4)


def test_a_run_that_goes_on_computes_no_strained_cell_again(tmp_path: Path) -> None:
    copper, first = bulk("Cu", "fcc", a=3.59, cubic=True), Counted()
    with pytest.raises(KeyboardInterrupt):
        elastic(copper, calc=Counted(fails_at=20), out=tmp_path, plot=False)
    once = elastic(copper, calc=first)
    rest = Counted()
    again = elastic(copper, calc=rest, out=tmp_path, plot=False, resume=True)
    assert rest.calls <= first.calls - 19 + 1, "and whether there is a stress is asked again"
    assert np.array_equal(once.tensor.constants_gpa, again.tensor.constants_gpa)


def test_strained_cells_go_to_a_jmp_calculator_at_once(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    salt.calc = calc
    with pytest.warns(JMPWarning, match="under"):
        result = elastic(salt, ions="clamped", n_strains=2, fmax=100.0)
    assert len(evaluations) <= 5
    assert result.n_rotations == 1 and len(result.frames) == 12
