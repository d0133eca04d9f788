"""Names, paths and the commands `models` and `convert` (fault 65 and what a user sees)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jmp_calc.cli.main import cli
from jmp_calc.errors import ModelError
from jmp_calc.zoo.names import resolve
from jmp_calc.zoo.registry import load_registry
from tests.zoo import synthetic

VERSION_1 = Path(__file__).with_name("data") / "version-1.safetensors"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JMP_CALC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JMP_CALC_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return synthetic.write(tmp_path / "official.pt")


def test_registry_names_licences_and_sizes() -> None:
    registry = load_registry()
    assert list(registry) == [
        "jmp-xs",
        "jmp-xs-v5",
        "jmp-xs-v4",
        "jmp-xs-v3",
        "jmp-xs-v2",
        "jmp-xs-v1",
        "jmp-s",
        "jmp-l",
    ]
    assert registry["jmp-l"].size == 3_749_529_931
    assert registry["jmp-s"].licence == registry["jmp-l"].licence == "CC-BY-NC-4.0"
    assert registry["jmp-xs"].bundled is not None


@pytest.mark.parametrize(
    "text, message",
    [
        ("jmp-x", r"Unknown model 'jmp-x'.*did you mean jmp-xs"),
        ("JMP_L", r"Unknown model.*did you mean jmp-l"),
        (
            "mace",
            r"Unknown model.*names are jmp-xs, jmp-xs-v5, jmp-xs-v4, jmp-xs-v3, jmp-xs-v2, jmp-xs-v1",
        ),
        ("officail.pt", r"No such model file.*did you mean official.pt"),
        ("runs/best.safetensors", r"No such model file.*the folder runs does not exist"),
        ("jmp-l", "JMP_CALC_OFFLINE"),
    ],
)
def test_mistyped_names_and_paths_get_their_own_advice(official: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(text)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    shutil.copy(VERSION_1, tmp_path / "best.safetensors")
    with pytest.raises(ModelError, match=r"folder.*best\.safetensors"):
        resolve(tmp_path)


def test_weight_sets_belong_to_official_files(official: Path) -> None:
    assert "weight set raw" in resolve(official, weights="raw").card.source
    with pytest.raises(ModelError, match="only in official"):
        resolve(VERSION_1, weights="raw")


def test_added_file_is_resolved_by_name(run: Run, official: Path, home: Path) -> None:
    code, out, _ = run("models", "add", "jmp-s", official)
    assert code == 0
    assert "sha256" in out
    official.unlink()
    loaded = resolve("jmp-s")
    assert (loaded.card.name, loaded.card.licence) == ("jmp-s", "CC-BY-NC-4.0")
    assert loaded.path.is_relative_to(home)
    assert loaded.potential.config.default_head == "ani1x"


def test_added_file_of_another_size_is_marked(run: Run, official: Path) -> None:
    code, _, err = run("models", "add", "jmp-l", official)
    assert code == 0
    assert "not known to be the published file" in err
    assert "added by hand" in run("models", "info", "jmp-l")[1]


def test_hostile_or_broken_files_cannot_be_added(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html></html>")
    code, _, err = run("models", "add", "jmp-s", tmp_path / "page.pt")
    assert code == 5
    assert "HTML" in err
    assert run("models", "path", "jmp-s")[0] == 5


def test_a_second_file_needs_removal_first(run: Run, official: Path, tmp_path: Path) -> None:
    run("models", "add", "jmp-s", official)
    other = synthetic.write(
        tmp_path / "other.pt",
        lambda c: c["state_dict"].update(
            {"task_steps._module_dict._typed_moduledict_oc20.value": torch.tensor(9.0)}
        ),
    )
    code, _, err = run("models", "add", "jmp-s", other)
    assert code == 5
    assert "models remove jmp-s" in err
    assert run("models", "remove", "jmp-s")[1] == "jmp-s removed\n"
    assert run("models", "add", "jmp-s", other)[0] == 0


def test_verify_finds_changed_files(run: Run, official: Path) -> None:
    run("models", "add", "jmp-s", official)
    path = Path(run("models", "path", "jmp-s")[1].strip())
    assert "jmp-s  ok" in run("models", "verify", "jmp-s")[1]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\x00\x01\x02\x03")
    code, _, err = run("models", "verify", "jmp-s")
    assert code == 5
    assert "recorded" in err


def test_list_and_info_of_absent_models(run: Run) -> None:
    code, out, _ = run("models", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["jmp-l"]["status"] == "not on this machine"
    info = run("models", "info", "jmp-l")[1]
    assert "recorded at the first download" in info
    assert "CC-BY-NC-4.0" in info


def test_info_of_an_official_file_says_what_its_energies_lack(run: Run, official: Path) -> None:
    code, out, _ = run("models", "info", official, "--json")
    data = json.loads(out)
    assert code == 0
    assert data["graphs"] == {
        "policy": "official",
        "cutoff_angstrom": 12.0,
        "max_neighbors": 30,
        "smooth": False,
    }
    heads = {head["name"]: head for head in data["heads"]}
    assert heads["ani1x"]["elements"] == "H C N O"
    assert heads["oc20"]["elements"] == "unknown"
    assert "formation, cohesive and adsorption energies cannot be computed" in heads["oc22"]["reference"]


def test_info_of_our_file_shows_references_data_and_metrics(run: Run) -> None:
    data = json.loads(run("models", "info", VERSION_1, "--json")[1])
    assert data["heads"][0]["references_ev"] == {"H": -13.5, "O": -2041.25}
    assert data["heads"][0]["reference"] == "isolated atoms"
    assert data["training_data"] == [{"name": "set a", "licence": "CC0"}]
    assert data["metrics"] == {"mae_mev": 3.5}


def test_info_is_short_unless_all_is_asked_for(run: Run, official: Path) -> None:
    code, short, _ = run("models", "info", official)
    lines = short.splitlines()
    assert code == 0
    assert len(lines) < 25 and "network" not in short
    assert any("ani1x" in line and "H C N O" in line for line in lines)
    assert "no atomic reference" in short
    assert f"models info {official} --full" in lines[-1]
    full = run("models", "info", official, "--full")[1]
    assert len(full) > 2 * len(short) and "network" in full


def test_convert_keeps_every_number(run: Run, official: Path, tmp_path: Path) -> None:
    code, out, _ = run("convert", official, "--weights", "raw")
    assert code == 0
    assert "official.safetensors" in out
    ours, theirs = resolve("official.safetensors"), resolve(official, weights="raw")
    mine, original = ours.potential.state_dict(), theirs.potential.state_dict()
    assert all(torch.equal(mine[name], original[name]) for name in original)
    assert ours.potential.config == theirs.potential.config
    assert theirs.sha256 in " ".join(ours.card.notes)
    assert ours.card.licence == "CC-BY-NC-4.0"


def test_convert_refuses_to_overwrite_and_to_convert_ours(run: Run, official: Path, tmp_path: Path) -> None:
    (tmp_path / "official.safetensors").write_text("mine")
    code, _, err = run("convert", official)
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "official.safetensors").read_text() == "mine"
    assert run("convert", official, "--overwrite")[0] == 0
    assert run("convert", "official.safetensors")[0] == 5
    assert run("convert", official, "--dry-run", "-o", "other.safetensors")[0] == 0
    assert not (tmp_path / "other.safetensors").exists()


def test_mirror_in_the_cache_folder_replaces_an_address(home: Path) -> None:
    home.mkdir()
    (home / "registry.toml").write_text(
        '[jmp-s]\nsummary = "mirror"\nlicence = "CC-BY-NC-4.0"\nurl = "https://mirror.example/jmp-s.pt"\n'
    )
    assert load_registry()["jmp-s"].url == "https://mirror.example/jmp-s.pt"
    (home / "registry.toml").write_text('[jmp-s]\nsummary = "x"\nlicense = "MIT"\n')
    with pytest.raises(ModelError, match="did you mean 'licence'"):
        load_registry()
