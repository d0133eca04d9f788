# The README's two commands. Each makes .venv if it is missing, installs what constraints.txt pins, and runs.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: demo test

demo: $(STAMP)
	$(VENV)/bin/python examples/demo.py

# Tests start a hundred programs; without compiled files each of them would compile all sources again.
unexport PYTHONDONTWRITEBYTECODE

test: $(STAMP)
	$(VENV)/bin/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[train,plot,dev]"
	touch $@
