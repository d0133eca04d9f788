"""Results do not depend on how they were computed: batches, kept lists, copies, files, precision."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPError, OutOfMemoryError
from ..common import jmp_calculator
from .subjects import name_of
from .verdict import Measured, NotApplicable, larger

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from .probe import Probe
    from .subjects import Subjects

WALK, WALK_STEP = 12, 0.03
"""Steps of a random walk with one calculator, and their size in Å: kept lists are used and renewed."""
FUZZ, FUZZ_ATOMS = 24, 16
"""Random structures, and the most atoms of one."""
BOTH = ("energy", "forces")


def _with(calculator: Calculator, atoms: Atoms) -> dict[str, Any]:
    own = atoms.copy()
    own.calc = calculator
    return {"energy": own.get_potential_energy(), "forces": own.get_forces()}


def _gap(one: dict[str, Any], two: dict[str, Any]) -> float:
    """Largest difference of energy per atom (eV) and forces (eV/Å)."""
    energy = abs(one["energy"] - two["energy"]) / len(one["forces"])
    return larger(energy, np.abs(one["forces"] - two["forces"]).max())


def _every(subjects: Subjects) -> tuple[Atoms, ...]:
    return (*subjects.disordered, *subjects.crystals[:1], *subjects.linear[:1])


def batch(probe: Probe, subjects: Subjects) -> Measured:
    """Energies and forces in batches of any order against single ones."""
    found = []
    for periodic in (False, True):
        group = [atoms for atoms in _every(subjects) if bool(atoms.pbc.any()) == periodic]
        if not group:
            continue
        together = jmp_calculator(probe.calculator(group[0]))
        if together is None:
            raise NotApplicable(f"{type(probe.given).__name__} computes one structure at a time")
        singles = [_with(probe.fresh(atoms), atoms) for atoms in group]
        found += _of_batches(together, group, singles)
    return Measured.worst(found)


def _of_batches(calculator: Any, group: Sequence[Atoms], singles: Sequence[dict[str, Any]]) -> list[Measured]:
    found = []
    for order in (range(len(group)), range(len(group) - 1, -1, -1)):
        results = calculator.batch([group[n] for n in order], BOTH)
        found += [Measured(_gap(singles[n], one), name_of(group[n])) for n, one in zip(order, results)]
    return found


def skin(probe: Probe, subjects: Subjects) -> Measured:
    """Results along a random walk with one calculator against those of one that has computed nothing."""
    found = []
    for atoms in subjects.disordered:
        rng, walker, place = np.random.default_rng(probe.seed), probe.fresh(atoms), atoms.copy()
        for step in range(WALK):
            place.positions += WALK_STEP * rng.standard_normal((len(atoms), 3))
            walked = _with(walker, place)
            if step % 4 == 3:
                found.append(Measured(_gap(walked, _with(probe.fresh(atoms), place)), name_of(atoms)))
    return Measured.worst(found)


def determinism(probe: Probe, subjects: Subjects) -> Measured:
    """Differences between two evaluations of the same structure by two copies."""
    if getattr(getattr(probe.given, "info", None), "device", "cpu").startswith("cuda"):
        raise NotApplicable("sums on a GPU have no fixed order; on a CPU results are bit for bit the same")
    found = []
    for atoms in _every(subjects):
        one, two = (_with(probe.fresh(atoms), atoms) for _ in range(2))
        found.append(Measured(_gap(one, two), name_of(atoms)))
    return Measured.worst(found)


def reload(probe: Probe, subjects: Subjects) -> Measured:
    """Differences after the calculator was written to bytes and read again; a JMP model is loaded again
    from its file."""
    found = []
    for atoms in _every(subjects):
        try:
            twin = pickle.loads(pickle.dumps(probe.fresh(atoms)))
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise NotApplicable(f"the calculator cannot be pickled ({error})") from error
        found.append(Measured(_gap(_with(probe.fresh(atoms), atoms), _with(twin, atoms)), name_of(atoms)))
    return Measured.worst(found)


def _against_twin(probe: Probe, subjects: Subjects, changes: dict[str, Any]) -> Measured:
    """Differences to calculators of the same model with other settings."""
    found, twins = [], dict[bool, Any]()
    for atoms in _every(subjects):
        periodic = bool(atoms.pbc.any())
        twins.setdefault(periodic, None)
        twins[periodic] = twins[periodic] or probe.twin(atoms, changes)
        gap = _gap(_with(probe.fresh(atoms), atoms), _with(twins[periodic], atoms))
        found.append(Measured(gap, name_of(atoms)))
    return Measured.worst(found)


def precision(probe: Probe, subjects: Subjects) -> Measured:
    """Difference between single and double precision of a JMP model."""
    other = "float32" if probe.jmp.info.dtype == "float64" else "float64"
    return _against_twin(probe, subjects, {"dtype": other, "compiled": None})


def compiled(probe: Probe, subjects: Subjects) -> Measured:
    """Difference between the compiled network of a JMP model and the network."""
    if probe.jmp.parameters["compile"] or probe.jmp.parameters["compiled"] is not None:
        return _against_twin(probe, subjects, {"compile": False, "compiled": None})
    return _against_twin(probe, subjects, {"compile": True})


def fuzz(probe: Probe, subjects: Subjects) -> Measured:
    """How many of random structures (cells, periodicity, elements, short contacts) give a number that is not
    finite, or an error without words."""
    bad, first = 0, ""
    for number in range(FUZZ):
        atoms = _random(np.random.default_rng(1000 * probe.seed + number), subjects.elements)
        fault = _fault(probe, atoms)
        if fault:
            bad += 1
            first = first or f"{atoms.get_chemical_formula()}: {fault}"
    return Measured(float(bad), f"{FUZZ} random structures", first)


def _fault(probe: Probe, atoms: Atoms) -> str:
    """What is wrong with the answer; "" where it is a finite number or a refusal."""
    try:
        results = _with(probe.calculator(atoms), atoms)
    except OutOfMemoryError:
        return ""
    except JMPError as error:
        return "" if error.fact else "an error without words"
    except Exception as error:  # any error with words is an answer, also of calculators that are not ours
        ours = jmp_calculator(probe.given) is not None and not isinstance(error, NotImplementedError)
        return f"{type(error).__name__}: {error}" if ours or not str(error) else ""
    finite = np.isfinite(results["energy"]) and np.isfinite(results["forces"]).all()
    return "" if finite else "the energy or a force is not finite"


def _random(rng: np.random.Generator, elements: Sequence[str]) -> Atoms:
    """A structure as nobody would make it: any periodicity, skewed cells, atoms anywhere in it."""
    from ase import Atoms

    count = int(rng.integers(1, FUZZ_ATOMS + 1))
    pool = [*elements, *([94] if rng.random() < 0.1 else [])]
    edge = (14.0 * count) ** (1 / 3)
    cell = edge * (np.eye(3) + rng.uniform(-0.6, 0.6, size=(3, 3)))
    numbers = [pool[n] for n in rng.integers(0, len(pool), size=count)]
    made = Atoms(cell=cell, pbc=rng.random(3) < 0.5)
    for symbol, place in zip(numbers, rng.random((count, 3))):
        made += Atoms([symbol], [place @ cell])
    return made
