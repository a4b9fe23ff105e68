# Two commands for a fresh clone: `make run` does the main job, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-all test-pi test-mcu fuzz lint clean
run: $(VENV)/.installed
	$(BIN)/edgedigits run

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

# The long proofs as well: interruptions at random moments, millions of calls, full trainings, the fuzzer.
test-all: test
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

# The same on emulated Raspberry Pis; needs QEMU (Debian: qemu-user) and takes a minute or two, more the first time.
# -rP shows each parity table. With EDGEDIGITS_EMULATED=all there are more kernel sets, bundles and kits, as in CI.
test-pi: $(VENV)/.installed
	$(BIN)/python -m pytest -rP tests/emulated

# The generated C on emulated microcontrollers, all images; needs QEMU and cross compilers (Debian: gcc-arm-none-eabi
# gcc-riscv64-unknown-elf qemu-system-arm qemu-system-misc) and takes ten seconds.
test-mcu: $(VENV)/.installed
	$(BIN)/python -m pytest tests/mcu

# More bad inputs than the tests make, led by what of the code they reach: so many seconds for each of the eight readers.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/guided.py $(FUZZ_SECONDS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The constraints pin what was tested; the stamp is touched last, so that an interrupted install starts again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[runtimes,serial,sign,export,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
