"""Reference energies: exact where they are determined, honest where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.config import TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.keys import LabelKeys
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.references import fit_references, load_references
from jmp_calc.training.finetuning.options import DataOptions, ModelOptions
from jmp_calc.training.finetuning.prepare import prepare
from jmp_calc.units import ENERGY_UNITS
from tests.training.helpers.tiny import emt_atoms, emt_file, tiny_model

TRUE = {1: -13.6, 6: -1029.5, 8: -2042.0}


def frame(counts: dict[int, int], extra: float = 0.0, values: dict[int, float] = TRUE) -> Frame:
    numbers = np.repeat(list(counts), list(counts.values()))
    energy = sum(values[z] * n for z, n in counts.items()) + extra * len(numbers)
    return Frame(
        numbers,
        np.zeros((len(numbers), 3)),
        np.zeros((3, 3)),
        np.zeros(3, bool),
        energy,
        None,
        None,
        "default",
        "a.xyz",
        0,
    )


VARIED = [frame({1: 4, 6: 1}), frame({1: 2, 8: 1}), frame({6: 1, 8: 2}), frame({1: 6, 6: 2, 8: 1})]


def test_determined_fit_is_exact() -> None:
    found = fit_references(VARIED)
    assert found.kind == "least_squares" and found.full_rank and found.rank == 3
    assert found.values == pytest.approx(TRUE, abs=1e-8) and found.residual_ev_per_atom < 1e-9
    assert found.energy(np.array([1, 1, 8])) == pytest.approx(2 * TRUE[1] + TRUE[8])


def test_one_composition_is_reported_as_undetermined_and_its_sum_is_exact() -> None:
    one = frame({1: 11, 6: 12, 8: 2})
    found = fit_references([one] * 5)
    assert not found.full_rank and found.rank == 1
    assert found.energy(one.numbers) == pytest.approx(one.energy, abs=1e-8)
    assert max(abs(value) for value in found.values.values()) < 1100
    assert any("1 of 3" in message for message in found.messages)


def test_isolated_atoms_come_first() -> None:
    bound = [frame({1: 4, 6: 1}, -4.0), frame({1: 2, 8: 1}, -3.0)]
    found = fit_references(bound, TRUE)
    assert found.kind == "isolated_atoms" and found.values == TRUE and found.full_rank and found.rank == 2
    assert found.residual_ev_per_atom == pytest.approx(np.sqrt((16 + 9) / 2))


@pytest.mark.parametrize(
    ("isolated", "reason"),
    [
        ({1: -13.6, 6: -1029.5}, "none for O"),
        ({1: -0.5, 6: -37.7, 8: -74.8}, "another energy zero"),
    ],
)
def test_unusable_isolated_atoms_are_explained(isolated: dict[int, float], reason: str) -> None:
    found = fit_references(VARIED, isolated)
    assert found.kind == "least_squares" and any(reason in message for message in found.messages)
    with pytest.raises(BadInputError, match=reason):
        fit_references(VARIED, isolated, "isolated")


def test_relative_energies() -> None:
    relative = [
        frame({1: 4, 6: 1}, 0.1, dict.fromkeys(TRUE, 0.0)),
        frame({1: 2, 8: 1}, 0.2, dict.fromkeys(TRUE, 0.0)),
    ]
    found = fit_references(relative, TRUE)
    assert found.kind == "least_squares" and found.residual_ev_per_atom < 1e-9
    assert all(abs(value) < 1.0 for value in found.values.values())


def test_values_of_the_user(tmp_path: Path) -> None:
    assert fit_references(VARIED, mode={"H": -13.6, 6: -1029.5, "8": -2042}).values == pytest.approx(TRUE)
    path = tmp_path / "e0.yaml"
    path.write_text("H: -13.6\nC: -1029.5\nO: -2042.0\n", encoding="utf-8")
    assert load_references(path) == pytest.approx(TRUE)
    atoms = tmp_path / "atoms.xyz"
    atoms.write_text(
        "".join(
            f"1\nenergy={e} config_type=IsolatedAtom\n{s} 0 0 0\n"
            for s, e in (("H", -13.6), ("C", -1029.5), ("O", -2042.0))
        ),
        encoding="utf-8",
    )
    assert load_references(atoms) == pytest.approx(TRUE)
    for bad, fact in (
        ({"H": -13.6}, "no energy for C, O"),
        ({"Hx": 1.0}, "not an element"),
        ({"H": "x"}, "in eV"),
        ({"²": 1.0}, "not an element"),
        ({1.5: 1.0}, "not an element"),
    ):
        with pytest.raises(UsageError, match=fact):
            fit_references(VARIED, mode=bad)
    path.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not a table"):
        load_references(path)


def test_isolated_atoms_in_a_file_have_its_units_and_keys(tmp_path: Path) -> None:
    atoms = tmp_path / "atoms.xyz"
    atoms.write_text(
        "".join(
            f"1\nE={TRUE[z] / ENERGY_UNITS['hartree']} config_type=IsolatedAtom\n{s} 0 0 0\n"
            for z, s in ((1, "H"), (6, "C"), (8, "O"))
        ),
        encoding="utf-8",
    )
    units = LabelUnits(energy="hartree")
    assert load_references(atoms, keys=LabelKeys("E"), units=units) == pytest.approx(TRUE)


def test_given_references_of_other_energies_are_refused() -> None:
    """The same values in hartree: the binding would be hundreds of eV per atom."""
    hartree = {z: energy / ENERGY_UNITS["hartree"] for z, energy in TRUE.items()}
    with pytest.raises(UsageError, match="binding energy of -.* eV/atom"):
        fit_references(VARIED, mode=hartree)


def test_the_finetuning_reads_them_as_its_frames(tmp_path: Path) -> None:
    """Training frames and isolated atoms in hartree give references in eV."""
    images = emt_atoms(6)
    for image in images:
        results, image.calc = image.calc.results, None
        image.info["REF_energy"] = results["energy"] / ENERGY_UNITS["hartree"]
        image.arrays["REF_forces"] = results["forces"] / ENERGY_UNITS["hartree"]
    write(tmp_path / "train.extxyz", images, format="extxyz")
    (tmp_path / "atoms.xyz").write_text(
        "".join(
            f"1\nREF_energy={energy} config_type=IsolatedAtom\n{name} 0 0 0\n"
            for name, energy in (("Al", 0.1), ("Cu", -0.2))
        ),
        encoding="utf-8",
    )
    model = tiny_model(tmp_path / "tiny.safetensors")
    options = DataOptions(tmp_path / "train.extxyz", references=tmp_path / "atoms.xyz", energy_unit="hartree")
    found = prepare(options, ModelOptions(str(model)), TrainConfig(), lambda line: None).references
    assert found is not None and found.kind == "isolated_atoms"
    assert found.values == pytest.approx(
        {13: 0.1 * ENERGY_UNITS["hartree"], 29: -0.2 * ENERGY_UNITS["hartree"]}
    )


def test_isolated_atoms_of_the_validation_file_are_said_to_be_unused(tmp_path: Path) -> None:
    train, valid = emt_file(tmp_path / "train.extxyz", 6), emt_file(tmp_path / "valid.extxyz", 2, seed=1)
    atoms = "".join(
        f"1\nenergy={energy} config_type=IsolatedAtom\n{name} 0 0 0\n"
        for name, energy in (("Al", 1), ("Cu", 2))
    )
    model = ModelOptions(str(tiny_model(tmp_path / "tiny.safetensors")))
    said: list[str] = []

    def references() -> dict[int, float]:
        found = prepare(DataOptions(train, valid=valid), model, TrainConfig(), said.append).references
        assert found is not None
        return found.values

    valid.write_text(valid.read_text() + atoms)
    assert references() != {13: 1.0, 29: 2.0}
    assert any(line.startswith("valid.extxyz: its isolated atoms are not used") for line in said)
    assert not any("used as references" in line for line in said)
    said.clear()
    train.write_text(train.read_text() + atoms)
    assert references() == {13: 1.0, 29: 2.0}
    assert "References: isolated atoms." in said and not any(
        line.startswith("train.extxyz: its isolated") for line in said
    )


def test_frames_without_energy() -> None:
    with pytest.raises(BadInputError, match="No frame has an energy"):
        fit_references([])
