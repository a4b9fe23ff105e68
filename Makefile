# Two commands for a fresh clone: `make run` does the main job, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-pi lint clean
run: $(VENV)/.installed
	$(BIN)/edgedigits run

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# The same on emulated Raspberry Pis; needs QEMU (Debian: qemu-user) and takes a few minutes. -rP shows each parity table.
test-pi: $(VENV)/.installed
	$(BIN)/python -m pytest -rP tests/emulated

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The constraints pin what was tested; the stamp is touched last, so that an interrupted install starts again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[runtimes,sign,export,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
