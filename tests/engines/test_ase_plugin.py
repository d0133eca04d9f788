"""ASE lists this package among its plugins, without torch; nothing breaks where its registry moved."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module, metadata, reload

import pytest

from jmp_calc import JMPCalculator


def test_the_entry_point_is_installed() -> None:
    found = [point for point in metadata.entry_points(group="ase.plugins") if point.name == "jmp_calc"]
    assert [point.value for point in found] == ["jmp_calc.engines.ase_plugin"], "pip install -e . again"


def test_the_plugin_leads_to_the_calculator() -> None:
    (plugin,) = import_module("jmp_calc.engines.ase_plugin").__ase_plugins__
    assert plugin.name == "jmp"
    assert "ICLR 2024" in plugin.citation
    assert plugin.implementation is JMPCalculator


def test_ase_lists_it_and_loads_no_torch() -> None:
    code = (
        "import sys; from ase.cli.main import main; main(args=['info', '--plugins']); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "jmp" in done.stdout


def test_another_registry_means_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("jmp_calc.engines.ase_plugin")
    monkeypatch.setitem(sys.modules, "ase._4.plugins.plugin", None)
    assert reload(module).__ase_plugins__ == set()
    monkeypatch.undo()
    assert len(reload(module).__ase_plugins__) == 1
