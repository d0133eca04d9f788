"""What is shipped: one version number, a real sample with attribution, pinned constraints."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import pytest

import jmp_calc
from jmp_calc.cli.requirements import requirements, requirements_in_use, within
from tests import programs

ROOT = Path(__file__).parents[1]


def test_one_version_number() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == jmp_calc.__version__
    assert f"## {jmp_calc.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency() -> None:
    """Whatever `pip install .[dev]` may choose is pinned, torch among it."""
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[A-Za-z0-9._-]+", text).group().lower() for text in wanted} - {"jmp-calc"}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_sample_is_small_real_and_attributed() -> None:
    """504 frames of 3BPA below 1 MB: four isolated atoms, 500 molecules with forces that nearly sum to
    zero."""
    from ase.io import read

    sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
    packed = sample.read_bytes()
    assert len(packed) < 1_000_000
    frames = read(io.StringIO(gzip.decompress(packed).decode()), ":", format="extxyz")
    atoms = [frame for frame in frames if frame.info["config_type"] == "IsolatedAtom"]
    molecules = [frame for frame in frames if frame.info["config_type"] != "IsolatedAtom"]
    assert sorted(frame.get_chemical_formula() for frame in atoms) == ["C", "H", "N", "O"]
    assert len(molecules) == 500
    assert all(len(frame) == 27 for frame in molecules)
    assert max(np.abs(frame.get_forces().sum(axis=0)).max() for frame in molecules) < 0.05
    assert "BOTNet-datasets" in (ROOT / "NOTICE").read_text()


# ---- what is installed, and what the source distribution holds ----

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def code_folders() -> dict[str, Path]:
    """Package name -> folder, of every folder with code."""
    found = {}
    for top, name in (("jmp_calc", "jmp_calc"), ("training", "jmp_calc.training")):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.parent.relative_to(ROOT / top).parts
            found[".".join((name, *parts))] = path.parent
    return found


def test_every_folder_with_code_is_installed() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(code_folders())


def test_bounds_are_those_that_were_tested() -> None:
    """The pinned versions lie inside, and what uses private parts of a package has an upper bound."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:])
    pinned = {name.lower(): version for name, version in pinned.items()}
    bounds = {}
    for text in PROJECT["project"]["dependencies"]:
        match = re.fullmatch(r"([a-z0-9-]+)((?:(?:>=|<)[0-9.]+,?)+)", text)
        assert match, text  # the doctor reads no other form
        bounds[match[1]] = match[2]
        assert within(pinned[match[1]], match[2]), text
    assert bounds["phonopy"] == ">=4.10,<5"
    assert bounds["ase"] == ">=3.29,<3.30"


@pytest.mark.parametrize(
    "version, bounds, right",
    [
        ("3.29.0", ">=3.29,<3.30", True),
        ("3.29.0rc1", ">=3.29,<3.30", True),
        ("3.30.0", ">=3.29,<3.30", False),
        ("3.9", ">=3.29", False),
        ("4.10", "<5,>=4.10", True),
        ("5.0.1", "<5,>=4.10", False),
        ("2.13.0+cpu", ">=2.6", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, right: bool) -> None:
    assert within(version, bounds) == right


def test_the_metadata_say_who_and_under_which_licence() -> None:
    project = PROJECT["project"]
    assert project["authors"] and project["license"] == "MIT"
    assert all(url.startswith("https://") for url in project.get("urls", {}).values())


def readme_links() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return [
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith(("https://", "http://"))
    ]


def test_links_of_the_readme_lead_to_files_that_are_distributed() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    for link in readme_links():
        assert (ROOT / link).is_file(), link
        top = link.partition("/")[0]
        assert (
            f"graft {top}" in manifest or top in manifest.split() or top in ("LICENSE", "NOTICE", "README.md")
        )


def built(kind: str, source: Path, out: Path) -> Path:
    """Build with the setuptools of this environment, without network."""
    code = f"import sys; from setuptools import build_meta as b; print(b.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(out)]
    done = programs.run(command, env=dict(os.environ), cwd=source)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(
    int(metadata.version("setuptools").split(".")[0]) < 77, reason="builds need setuptools 77"
)
def test_the_source_distribution_is_complete_and_makes_a_complete_wheel(tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(
        ".*[!i]", "__pycache__", "build", "dist", "*.egg-info", "jmp_results", "runs"
    )
    shutil.copytree(ROOT, tmp_path / "tree", ignore=left_out)
    archive = built("sdist", tmp_path / "tree", tmp_path)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    held = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    for folder in ("jmp_calc", "training", "tests", "docs", "benchmarks", "examples"):
        here = {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert here <= held, sorted(here - held)[:5]
    assert {"README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "constraints.txt", "Makefile"} <= held
    wheel = built("wheel", source, tmp_path)
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        described = packed.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    for package, folder in code_folders().items():
        inside = package.replace(".", "/")
        data = [path for path in folder.iterdir() if path.suffix in (".py", ".toml", ".gz", ".typed")]
        assert {f"{inside}/{path.name}" for path in data} <= names
    assert "jmp_calc/zoo/weights/jmp-xs-v1.safetensors" in names
    assert "jmp_calc/zoo/weights/jmp-xs-v2.safetensors" in names
    assert "jmp_calc/zoo/weights/jmp-xs-v3.safetensors" in names
    assert "jmp_calc/zoo/weights/jmp-xs-v4.safetensors" in names
    assert "jmp_calc/zoo/weights/jmp-xs-v5.safetensors" in names
    assert any(name.startswith("jmp_calc/training/pretraining/recipes/") for name in names)
    assert not any(name.startswith(("training/", "tests/")) for name in names)
    assert "Description-Content-Type: text/markdown" in described
    assert (ROOT / "README.md").read_text().strip() in described


# ---- the installation as its user sees it ----


def without(module: str, folder: Path) -> dict[str, str]:
    """The environment of a machine on which a package is missing."""
    (folder / module).mkdir()
    text = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
    (folder / module / "__init__.py").write_text(text)
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "JMP_CALC_HOME": str(folder)}


def run(*words: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return programs.run([sys.executable, "-m", "jmp_calc", *words], env=env, cwd=cwd)


def test_python_m_jmp_calc_is_the_command() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.strip().startswith("jmp-calc, version")


def test_doctor_without_torch_says_how_to_get_it(tmp_path: Path) -> None:
    done = run("doctor", env=without("torch", tmp_path), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"fail +package +torch cannot be imported .*pip install 'torch", done.stdout)


def test_commands_without_a_package_name_it(tmp_path: Path) -> None:
    (tmp_path / "h.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    done = run("singlepoint", "h.xyz", "--head", "b3lyp", env=without("torch", tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "The package torch is not installed." in done.stderr
    assert "jmp-calc doctor" in done.stderr


def test_a_user_without_home_and_without_name_can_compute(tmp_path: Path) -> None:
    """As containers run: a number for a user, no HOME, nothing to write but the current folder."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become a user without a name")
    environment = {
        key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "OMP_NUM_THREADS")
    }
    environment["PYTHONPATH"] = str(ROOT)
    tmp_path.chmod(0o777)
    become = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    code = "import sys; sys.argv[0] = 'jmp-calc'; from jmp_calc.cli.main import main; main()"
    probe = subprocess.run([*become, sys.executable, "-c", "import jmp_calc"], env=environment, cwd="/")
    if probe.returncode != 0:
        pytest.skip("this interpreter is not readable for other users")
    for words, code_expected, text in (
        (["models", "list"], 0, "jmp-xs"),
        (["models", "verify", "jmp-xs"], 0, "ok"),
        (["models", "fetch", "jmp-s"], 5, "set JMP_CALC_HOME"),
        (["doctor"], 0, "set JMP_CALC_HOME"),
    ):
        command = [*become, sys.executable, "-c", code, *words]
        done = programs.run(command, env=environment, cwd=Path("/"))
        assert done.returncode == code_expected, done.stdout + done.stderr
        assert text in done.stdout + done.stderr


def test_bounds_of_an_extra_count_where_all_of_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = [
        "numpy>=2.0",
        'setuptools<1; extra == "teacher"',
        'no-such-package==1.0; extra == "teacher"',
        'pytest>=1; extra == "dev"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: stated)
    assert requirements_in_use() == {"numpy": ">=2.0", "pytest": ">=1"}
    assert requirements()["setuptools"] == "<1"
