"""Heads, graph policies, devices and precision are chosen once; every mistake is an error that lists the
choices."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import JMPError, JMPWarning, ModelError, UsageError
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.segment import SegmentSum
from tests.small_network import ANY, CHON, OFFICIAL


@pytest.mark.capability("A17")
def test_several_heads_and_no_default_lists_them(two_heads: Path) -> None:
    with pytest.raises(ModelError) as caught:
        JMPCalculator(two_heads, device="cpu")
    message = str(caught.value)
    for part in (
        "2 heads and no default",
        "organic",
        "ωB97X/6-31G(d)",
        "H C N O",
        "materials",
        "PBE",
        "Na Si Cl Cu",
    ):
        assert part in message
    assert caught.value.exit_code == 5


@pytest.mark.capability("A17")
def test_unknown_head_lists_the_known_and_the_nearest(two_heads: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no head 'organics'; it has: organic .*; materials .* mean 'organic'"
    ):
        JMPCalculator(two_heads, head="organics", device="cpu")


def test_default_head_is_used_and_never_switches(make_model) -> None:
    path = make_model(heads=(CHON, replace(ANY, elements=(29,))), default="organic")
    calc = JMPCalculator(path, device="cpu")
    assert calc.info.head == "organic"
    with pytest.raises(ModelError, match="heads that cover this structure: materials"):
        calc.get_potential_energy(bulk("Cu"))
    assert JMPCalculator(path, head="materials", device="cpu").get_potential_energy(bulk("Cu")) < 1e9


def test_head_without_energy_is_refused(make_model) -> None:
    path = make_model(
        heads=(ANY, HeadConfig("gap", kind="scalar", hidden=16, num_layers=2, reduction="mean"))
    )
    with pytest.raises(
        ModelError, match="Head 'gap' gives a scalar, not an energy. heads with energies: materials"
    ):
        JMPCalculator(path, head="gap", device="cpu")
    assert JMPCalculator(path, device="cpu").info.head == "materials", "the only head with energies"


@pytest.mark.capability("A16")
def test_direct_forces_only_on_request_and_where_they_exist(two_heads: Path, ethanol: Atoms) -> None:
    conservative = JMPCalculator(two_heads, head="organic", device="cpu")
    direct = JMPCalculator(two_heads, head="organic", device="cpu", forces="direct")
    assert np.abs(conservative.get_forces(ethanol) - direct.get_forces(ethanol)).max() > 1e-4
    assert conservative.get_potential_energy(ethanol) == pytest.approx(
        direct.get_potential_energy(ethanol), abs=1e-5
    )
    with pytest.raises(NotImplementedError, match="forces='direct'"):
        direct.get_stress(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.8]], cell=[4, 4, 4], pbc=True))
    with pytest.raises(ModelError, match=r"Head 'materials' has no direct forces. heads that have: organic"):
        JMPCalculator(two_heads, head="materials", device="cpu", forces="direct")


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"forces": "gradient"}, "forces='gradient' is not a choice. choose from 'conservative', 'direct'"),
        ({"graph": "ties"}, "graph='ties'"),
        ({"weights": "best"}, "weights='best'"),
        ({"tags": "all"}, "tags='all'"),
        ({"dtype": "float16"}, "Unknown dtype 'float16'. use float32 or float64"),
        ({"cutoff": -1.0}, "cutoff must be positive"),
        ({"cutoff": "5"}, "cutoff must be a number, got '5'"),
        ({"max_neighbors": 0}, "max_neighbors must be positive"),
        ({"max_neighbors": 20}, "max_neighbors has no meaning here"),
        (
            {"compile": True, "compiled": "x.pt2"},
            "compile=True makes a program and compiled=... names a file",
        ),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"device": "mps", "dtype": "float64"}, "mps has no float64"),
        ({"device": "meta"}, "Device 'meta' is not supported"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_arguments_name_the_choices(model_path: Path, arguments: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        JMPCalculator(model_path, **arguments)
    assert caught.value.exit_code == 2


@pytest.mark.capability("B1")
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_that_is_not_there(model_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"Device 'cuda(:7)?' was asked for, but .* use device='cpu' or 'auto'"
    ):
        JMPCalculator(model_path, device="cuda")
    with pytest.raises(UsageError, match="Device 'cuda:7' was asked for"):
        JMPCalculator(model_path, device="cuda:7")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_index_that_is_not_there(model_path: Path) -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"there are {count} GPUs"):
        JMPCalculator(model_path, device=f"cuda:{count}")


@pytest.mark.capability("B1")
def test_auto_device_prints_nothing_but_is_stated(
    model_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    calc = JMPCalculator(model_path)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert calc.info.device.split(":")[0] == ("cuda" if torch.cuda.is_available() else "cpu")


def test_info_is_frozen_and_tells_what_is_used(official_path: Path) -> None:
    info = JMPCalculator(official_path, device="cpu", cutoff=4.0).info
    assert (info.name, info.head, info.dtype, info.forces) == ("tiny", "organic", "float32", "conservative")
    assert (info.policy.name, info.policy.cutoff, info.policy.tags) == ("official", 4.0, "ignore")
    assert info.elements == ("H", "C", "N", "O")
    assert len(info.sha256) == 64
    assert info.has_atomic_reference
    assert "ωB97X" in str(info)
    with pytest.raises(FrozenInstanceError):
        info.head = "other"  # type: ignore[misc]


def test_a_calculator_is_printed_as_it_is_made(two_heads: Path) -> None:
    shown = repr(JMPCalculator(two_heads, head="organic", dtype="float64"))
    assert shown == f"JMPCalculator({str(two_heads)!r}, dtype='float64', head='organic')"
    made = JMPCalculator(two_heads, head="organic", device="cpu")
    assert repr(eval(repr(made))) == repr(made)


def test_missing_atomic_reference_is_stated(calc: JMPCalculator) -> None:
    assert not calc.info.has_atomic_reference
    assert "formation" in calc.info.energy_reference


def test_official_graphs_take_the_cutoff_of_the_head_unless_overridden(make_model) -> None:
    path = make_model(
        policy=OFFICIAL,
        heads=(replace(CHON, cutoff=3.0), ANY),
        subtract_lone_atom=False,
        pair_repulsion=False,
    )
    assert JMPCalculator(path, head="organic", device="cpu").info.policy.cutoff == 3.0
    assert JMPCalculator(path, head="materials", device="cpu").info.policy.cutoff == 5.0
    assert JMPCalculator(path, head="organic", device="cpu", cutoff=4.5).info.policy.cutoff == 4.5


def test_overrides_change_the_energy_and_not_the_file(official_path: Path, ethanol: Atoms) -> None:
    energies = {
        JMPCalculator(official_path, device="cpu", dtype="float64", **change).get_potential_energy(ethanol)
        for change in ({}, {"cutoff": 2.5}, {"max_neighbors": 4})
    }
    assert len(energies) == 3


def test_tags_are_read_only_on_request(official_path: Path, ethanol: Atoms) -> None:
    ignoring = JMPCalculator(official_path, device="cpu", dtype="float64")
    reading = JMPCalculator(official_path, device="cpu", dtype="float64", tags="atoms")
    plain = ignoring.get_potential_energy(ethanol)
    ethanol.set_tags(2)
    assert reading.get_potential_energy(ethanol) == plain
    ethanol.set_tags([0] * 5 + [2] * 4)
    assert ignoring.get_potential_energy(ethanol) == plain
    assert abs(reading.get_potential_energy(ethanol) - plain) > 1e-9, "the cache notices new tags"
    ethanol.set_tags(0)
    assert np.isfinite(reading.get_forces(ethanol)).all(), "no quadruplets at all"


def test_smooth_model_is_not_evaluated_with_official_graphs(model_path: Path) -> None:
    with pytest.raises(ModelError, match="was trained with smooth graphs"):
        JMPCalculator(model_path, device="cpu", graph="official")


def test_smooth_model_is_not_evaluated_with_another_cutoff(model_path: Path) -> None:
    """Official weights know several; a network trained with one gives nonsense with another, without a sign
    of it."""
    trained = JMPCalculator(model_path, device="cpu").info.policy.cutoff
    assert JMPCalculator(model_path, device="cpu", cutoff=trained).info.policy.cutoff == trained
    with pytest.raises(ModelError, match=f"was trained with a cutoff of {trained:g} Å"):
        JMPCalculator(model_path, device="cpu", cutoff=trained + 1.0)


def test_tags_that_would_not_be_read_are_refused(model_path: Path, official_path: Path) -> None:
    for path, graph in ((model_path, None), (official_path, "smooth")):
        with pytest.raises(UsageError, match="Smooth graphs do not read tags"):
            JMPCalculator(path, device="cpu", graph=graph, tags="atoms")


def test_official_model_can_be_evaluated_smoothly(official_path: Path, ethanol: Atoms) -> None:
    calc = JMPCalculator(official_path, device="cpu", dtype="float64", graph="smooth")
    assert calc.info.policy.name == "smooth"
    assert np.isfinite(calc.get_forces(ethanol)).all()


def test_unknown_model_is_a_model_error() -> None:
    with pytest.raises(JMPError, match="jmp-xs") as caught:
        JMPCalculator("jmp-xx")
    assert caught.value.exit_code == 5


def test_broken_torch_scatter_falls_back_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch_scatter.py").write_text(
        "raise OSError('_version_cpu.so: undefined symbol: _ZN5torch')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(
        JMPWarning, match=r"torch-scatter cannot be used .*undefined symbol.* native torch is used"
    ):
        total = SegmentSum("torch_scatter")
    assert total.backend == "torch"
    rows, segment = torch.arange(6.0).view(3, 2), torch.tensor([1, 0, 1])
    assert total(rows, segment, 2).tolist() == [[2.0, 3.0], [4.0, 6.0]]


@pytest.mark.capability("B13")
def test_molecule_scan_is_deterministic(model_path: Path) -> None:
    atoms = molecule("C6H6")
    first, second = (JMPCalculator(model_path, device="cpu").get_forces(atoms) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_registered_names_come_before_files_of_the_same_name(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jmp-xs").mkdir()
    assert JMPCalculator("jmp-xs", device="cpu").info.name == "jmp-xs"
    (tmp_path / "jmp-xs").rmdir()
    (tmp_path / "jmp-xs").write_bytes(model_path.read_bytes())
    assert JMPCalculator("jmp-xs", device="cpu").info.name == "jmp-xs"
    assert JMPCalculator("./jmp-xs", device="cpu").info.name == "tiny"


@pytest.mark.capability("B2")
def test_dtype_may_be_that_of_torch(model_path: Path) -> None:
    assert JMPCalculator(model_path, device=torch.device("cpu"), dtype=torch.float64).info.dtype == "float64"
    with pytest.raises(UsageError, match="Unknown dtype 'float16'"):
        JMPCalculator(model_path, device="cpu", dtype=torch.float16)
