"""cite, completion and models card: what the program, CITATION.cff and the header of a file say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jmp_calc import __version__
from jmp_calc.cli.main import COMMANDS
from jmp_calc.zoo.citations import ALL, JMP_CALC
from tests import programs

ROOT = Path(__file__).parents[2]


def full_name(author: dict[str, str]) -> str:
    parts = (author.get(part, "") for part in ("given-names", "name-particle", "family-names", "name"))
    return " ".join(part for part in parts if part)


def test_cited_works_are_those_of_the_citation_file() -> None:
    """Titles, authors, years and numbers in CITATION.cff and in the program are the same."""
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert stated["version"] == __version__ and stated["title"] == JMP_CALC.title
    works = {work.title: work for work in ALL if work is not JMP_CALC}
    assert [reference["title"] for reference in stated["references"]] == list(works)
    for reference in stated["references"]:
        work = works[reference["title"]]
        assert tuple(map(full_name, reference["authors"])) == work.authors
        assert str(reference["year"]) == work.where["year"]
        assert reference.get("doi") == work.where.get("doi")
        assert reference.get("url", "").endswith(work.where.get("eprint", ""))


def test_bibtex_is_balanced_and_names_every_work(run) -> None:
    done = run("cite")
    assert done.exit_code == 0
    assert done.stdout.count("{") == done.stdout.count("}")
    assert [line for line in done.stdout.splitlines() if line.startswith("@")] == [
        f"@{work.kind}{{{work.key}," for work in ALL
    ]


def test_the_data_of_a_model_are_cited(run, model: str) -> None:
    done = run("cite", "-m", "jmp-xs")
    assert "% training data of jmp-xs" in done.stdout
    assert "% molecules-gfn2: Bannwarth, Ehlert, Grimme" in done.stdout
    assert "the file names nothing to cite" in run("cite", "-m", model).stdout
    assert run("cite", "-m", "no-such-model").exit_code == 5


def test_a_model_card_has_what_the_file_says(run, tmp_path: Path) -> None:
    out = tmp_path / "card.md"
    assert run("models", "card", "jmp-xs", "-o", out).exit_code == 0
    text = out.read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "mit" and head["library_name"] == "jmp-calc"
    assert 'JMPCalculator("jmp-xs")' in text
    assert "| wb97x-ani2x | molecules | 235 | 93.6 | 9% | 8.46 |" in text
    assert "Energies of different heads belong to different levels of theory" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") and "\n" not in line for line in tables)
    refused = run("models", "card", "jmp-xs", "-o", out)
    assert refused.exit_code == 2 and "exists already" in refused.stderr


def test_a_model_card_leaves_out_what_the_file_does_not_say(run, model: str, official_path: Path) -> None:
    text = run("models", "card", model).stdout
    assert f'JMPCalculator("{model}")' in text
    assert "Errors on held-out frames" not in text and "## Limits" not in text
    published = run("models", "card", official_path)
    assert published.exit_code == 0, published.output
    assert "| graphs | official, cutoff" in published.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_understood_by_their_shell(run, shell: str, tmp_path: Path) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0 and "_JMP_CALC_COMPLETE" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout, encoding="utf-8")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", script], check=True)


def test_the_shell_is_answered_with_commands_and_options(tmp_path: Path) -> None:
    """What the script asks; the name of the program decides the name of the variable."""
    code = "import sys; sys.argv[0] = 'jmp-calc'; from jmp_calc.cli.main import main; main()"

    def answer(words: str) -> set[str]:
        asked = {
            "_JMP_CALC_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
        done = programs.run([sys.executable, "-c", code], env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert answer("jmp-calc ph") == {"phonons"}
    assert answer("jmp-calc c") == {name for name in COMMANDS if name.startswith("c")}
    assert "--mesh" in answer("jmp-calc phonons --m")


def test_an_unknown_shell_is_told_which_there_are(run) -> None:
    refused = run("completion", "csh")
    assert refused.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in refused.stderr
