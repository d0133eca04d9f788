"""The Python snippets of README.md run as they are written, one after the other as a reader pastes them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from jmp_calc.zoo.names import locate

ROOT = Path(__file__).parents[1]


def test_python_snippets_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(snippets) >= 2
    monkeypatch.chdir(tmp_path)
    fine_tuned = tmp_path / "demo_results" / "finetune" / "best.safetensors"  # what make demo leaves
    fine_tuned.parent.mkdir(parents=True)
    shutil.copy(locate("jmp-xs", may_fetch=False).path, fine_tuned)
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
    assert "[[" in capsys.readouterr().out  # forces were printed
