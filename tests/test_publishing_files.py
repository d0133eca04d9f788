"""What is published beside the code: workflow, recipes and addresses agree with pyproject.toml."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from jmp_calc import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = "https://example.org/owner/jmp-calc"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def addresses() -> ModuleType:
    spec = importlib.util.spec_from_file_location("addresses", ROOT / ".ci" / "addresses.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pythons_of_the_classifiers_are_those_of_the_workflow() -> None:
    prefix = "Programming Language :: Python :: 3."
    stated = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    matrix = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["newest"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in stated]
    assert PROJECT["requires-python"] == f">=3.{stated[0]}"


def test_the_workflow_calls_scripts_that_can_run() -> None:
    for name in re.findall(r"run: (\.ci/[a-z]+)", read(".github/workflows/ci.yml")):
        path = ROOT / name
        assert name == ".ci/docs" or path.stat().st_mode & 0o111, name


def test_the_conda_recipe_has_the_version_bounds_and_command_of_the_package() -> None:
    recipe = yaml.safe_load(read(".ci/conda/recipe.yaml"))
    assert recipe["context"]["version"] == __version__ == PROJECT["version"]
    wanted = {
        "python " + PROJECT["requires-python"],
        *(re.sub("^torch", "pytorch", re.sub("([<>])", r" \1", d, count=1)) for d in PROJECT["dependencies"]),
    }
    assert set(recipe["requirements"]["run"]) == wanted
    assert recipe["build"]["python"]["entry_points"] == [
        f"{name} = {target}" for name, target in PROJECT["scripts"].items()
    ]


def test_hooks_use_the_versions_of_the_constraints() -> None:
    pinned = dict(line.split("==") for line in read("constraints.txt").splitlines()[1:])
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    used = {name for hook in hooks for name in hook.get("additional_dependencies", ())}
    assert used == {f"ruff=={pinned['ruff']}"}


def test_links_of_the_readme_lead_to_the_repository_when_it_is_published(addresses: ModuleType) -> None:
    text = addresses.absolute(read("README.md"), REPOSITORY)
    links = re.findall(r"\]\(([^)\s]+)", text)
    assert links and all(link.startswith("https://") for link in links)
    assert f"]({REPOSITORY}/raw/main/docs/images/jumps.png)" in text  # a picture, not a page about it
    assert f"]({REPOSITORY}/blob/main/docs/models.md)" in text
    assert text.count("\n") == read("README.md").count("\n")


def test_the_metadata_get_the_addresses(addresses: ModuleType) -> None:
    project = tomllib.loads(addresses.with_urls(read("pyproject.toml"), REPOSITORY))["project"]
    assert project["urls"] == {
        "Repository": REPOSITORY,
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
        **PROJECT["urls"],
    }


@pytest.mark.parametrize("wrong", ["example.org", "http://example.org/a", "https://a b"])
def test_what_is_no_address_is_refused(addresses: ModuleType, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no address"):
        addresses.main(tmp_path, wrong)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_what_the_pages_name_exists(page: str) -> None:
    """Folders, files and tests in back quotes; patterns and placeholders are none."""
    named = re.findall(r"`((?:jmp_calc|training|tests|docs|\.ci)/[\w./-]+)`", read(page))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert "workflows/batches.py" not in read(page) or (ROOT / "jmp_calc/workflows/batches.py").is_file()
