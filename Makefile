# netwright: `make demo` shows it, `make test` tests it, `make check` is the gate, `make bench` measures the promises.
# Every target sets up its own .venv first, once; nothing has to be installed by hand but Python 3.11 or newer.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
ONLY ?=

BIN := $(VENV)/bin
RUN := $(VENV)/.stamp-run
DEV := $(VENV)/.stamp-dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# One thread in each of the two test workers: two workers with two threads each only get in each other's way. Bytecode is kept, since
# many tests start commands.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# --- set-up -----------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "netwright needs Python 3.11 or newer, and there is no command '$(PYTHON)'; install Python, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "netwright needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV): netwright and the libraries it needs (once, a minute or two) ..."
	@$(INSTALL) .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV): netwright, the libraries it needs and the tools that test it (once, a minute or two) ..."
	@$(INSTALL) '.[dev]'
	@touch $(RUN) $@

.PHONY: setup
setup: $(DEV) ## set up .venv for development (the other targets do it by themselves)

# --- use --------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(RUN) ## the main job on a bundled data set, start to report
	@mkdir -p build; out=runs/demo-$$(date +%Y%m%d-%H%M%S); \
	$(BIN)/python -m benchmarks.data breast_cancer build/breast_cancer.csv; \
	echo "\$$ netwright run build/breast_cancer.csv --target diagnosis --minutes 1 --out $$out"; \
	$(BIN)/netwright run build/breast_cancer.csv --target diagnosis --minutes 1 --out $$out; \
	echo; echo "Open the report in a browser: $$out/report.html"

build/peers: benchmarks/peers.txt | $(DEV)
	@rm -rf $@ && mkdir -p build
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ -r benchmarks/peers.txt

.PHONY: peers
peers: build/peers ## what the engine is measured against, for benchmarks only

.PHONY: bench
bench: $(RUN) ## measure the promises, one dated block each in benchmarks/RESULTS.md; one of them: make bench ONLY=name
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

# --- test -------------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(DEV) ## the fast tests; those of a file stay with one worker, so that what they share is made once
	$(PYTEST) -n 2 --dist loadfile

.PHONY: test-slow
test-slow: $(DEV) ## the slow tests, and with NETWRIGHT_DATA set those on real data
	$(PYTEST) -n 2 -m "slow or data"

.PHONY: lint
lint: $(DEV) ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(DEV) ## mypy --strict on the package
	$(BIN)/mypy

.PHONY: layers
layers: $(DEV) ## imports go down the list of layers
	$(PYTEST) tests/test_layers.py

.PHONY: doctest
doctest: $(DEV) ## the examples in docstrings
	$(PYTEST) -n 2 --doctest-modules src/netwright

.PHONY: wheel
wheel: $(DEV) ## build the wheel and use it from another folder
	$(BIN)/python tools/wheel_smoke.py

.PHONY: check
check: lint types layers doctest test wheel ## the gate: all of the above but the slow tests

# --- keep -------------------------------------------------------------------------------------------------------------

.PHONY: format
format: $(DEV) ## format the code and sort its imports
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

.PHONY: tree
tree: ## rewrite the tree in README.md from the first lines of the modules' docstrings
	@"$(PYTHON)" tools/tree.py

.PHONY: commands
commands: $(DEV) ## rewrite docs/commands.md from the commands' own help
	@mkdir -p build
	$(BIN)/python -m netwright.cli.reference > build/commands.md && mv build/commands.md docs/commands.md

.PHONY: clean
clean: ## remove what was built and cached (not .venv, not runs)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
