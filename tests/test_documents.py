"""What texts point at exists in the repository: specifications, pages, source files and the names in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("jmp_calc", "training", "tests", "benchmarks", "examples")
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".cfg", ".txt", ".csv", ""}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
OUTSIDE = {
    "tests/test_documents.py": "names what is forbidden",
    "tests/training/datasets/test_catalogue.py": "archives that try to leave their folder",
    "tests/labelling/test_weights.py": "archives that try to leave their folder",
    "tests/zoo/test_hostile.py": "a hostile key",
    "training/datasets/rmd17.py": "a folder beside the given one",
    "training/datasets/pdbbind.py": "a folder beside the given one",
}
"""Files whose ``../`` is no path of the repository."""


def tracked() -> list[Path]:
    """Text files that git tracks or would track."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.suffix in TEXTS and path.is_file()]


def test_no_text_names_a_path_of_one_machine_or_outside_the_repository() -> None:
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name in OUTSIDE:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"(?<![\w.])/(work|home/\w+|root|Users/\w+)/", line):
                found.append(f"{name}:{number} {line.strip()}")
            for target in re.findall(r"\.\./[\w./-]*", line):
                inside = (path.parent / target).resolve().is_relative_to(ROOT)
                if not inside or not (path.parent / target).exists():
                    found.append(f"{name}:{number} {target}")
    assert not found


def test_every_page_that_the_code_names_exists() -> None:
    own = {path.name for path in PAGES} | {"CHANGELOG.md", "FAULTS.md"}
    found = []
    for path in [*(ROOT / "jmp_calc").rglob("*.py"), *(ROOT / "training").rglob("*.py")]:
        for name in re.findall(
            r"[`(\" ](?!ase\.|jmp_calc\.|workflows\.)([\w/]+\.md)\b(?!\()", path.read_text(encoding="utf-8")
        ):
            if name.split("/")[-1] not in own:
                found.append(f"{path.relative_to(ROOT)} names {name}")
    assert not found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_of_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [t for t in targets if "://" not in t and not (page.parent / t).exists()]


def places() -> list[tuple[str, str, str]]:
    """Page, file and names of every ``folder/file.py: names`` that a page names."""
    return [
        (page.relative_to(ROOT).as_posix(), *match)
        for page in PAGES
        for match in re.findall(r"`([\w/]+\.py)(?:: ([\w., ]+))?`", page.read_text(encoding="utf-8"))
    ]


def test_source_files_and_names_in_pages_exist() -> None:
    missing = []
    code = [path for top in TOP for path in (ROOT / top).rglob("*.py")]
    for page, file, names in places():
        sources = [path for path in code if path.as_posix().endswith(f"/{file}")]
        if not sources:
            missing.append(f"{page}: {file}")
            continue
        text = "".join(path.read_text(encoding="utf-8") for path in sources)
        for name in filter(None, re.split(r"[,.\s]+", names)):
            if not re.search(rf"\b{re.escape(name)}\b", text):
                missing.append(f"{page}: {file} has no {name}")
    assert places()
    assert not missing
