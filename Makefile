# The two commands a newcomer needs are `make run` and `make test`. Everything lives in .venv, .dagster and data below this folder.
# What .ci/run runs, as pyproject.toml has it; the first of them that starts is taken.
SUPPORTED := 3.11 3.12 3.13
IS_SUPPORTED := import sys; have = "%d.%d" % sys.version_info[:2]; sys.exit(have not in sys.argv[1:] and "Python %s (%s) is not \
supported: this project runs on %s. Say where one is: make run PYTHON=/path/to/python3.13" % (have, sys.executable, ", ".join(sys.argv[1:])))
PYTHON ?= $(shell for name in $(SUPPORTED:%=python%) python3 python; do \
    "$$name" -c '$(IS_SUPPORTED)' $(SUPPORTED) 2>/dev/null && command -v "$$name" && break; done)
# Another one for another Python beside it: make test PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
BIN := $(VENV)/bin
# --no-deps: the lock is complete, so pip need not solve it again. --no-compile: modules compile when first used; most never are.
# That must be kept then, which images of Python forbid: compiled anew, a command's imports take 7 s instead of 2.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --no-deps --require-hashes --only-binary :all:

.DEFAULT_GOAL := help
.PHONY: help run test ui setup check lint types arrows docs bench lock wheels clean

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(VENV)/ready ## Transcribe the bundled samples through Dagster, and show what came of them
	@$(BIN)/stt samples

test: $(VENV)/ready-dev ## Run the tests, a process per core (ARGS="-n 0 tests/...": some of them in one)
	@$(BIN)/python -m pytest -n auto $(ARGS)

ui: $(VENV)/ready ## Open the Dagster UI on http://127.0.0.1:3000, with sensors and schedules
	@$(BIN)/stt ui

setup: $(VENV)/ready ## Make the virtual environment only

check: lint types arrows ## Lint, types and the import contract

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/ready-dev
	$(BIN)/mypy

arrows: $(VENV)/ready-dev
	$(BIN)/lint-imports

# The variable silences the theme's advice to move to its successor.
docs: $(VENV)/ready-dev ## Write the reference pages anew from the code, and build the documentation into site/
	$(BIN)/python -m docs.generator
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site is in site/. To read it with its search: $(BIN)/python -m http.server -b 127.0.0.1 -d site 8000"

bench: $(VENV)/ready ## Measure the orchestration's cost on this machine (about a quarter of an hour)
	@$(BIN)/python -m benchmarks

# Of each library the newest version that every supported Python can have, so that all of them run the same.
lock: $(VENV)/ready-dev ## Pin anew what pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.lock --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o requirements-dev.lock
	$(BIN)/uv pip compile deploy/requirements-cuda.in --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o deploy/requirements-cuda.lock

wheels: $(VENV)/ready-dev ## Ask the package index for a wheel of everything locked, for each Python and platform
	@$(BIN)/python .ci/wheels.py $(SUPPORTED)

clean: ## Remove the environment and all that was made; recordings and transcripts in data/ stay
	rm -rf $(VENV) site .dagster .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "None of these Pythons is here: $(SUPPORTED). Install one, or say where one is:" \
	    "make run PYTHON=/path/to/python3.13"; exit 1; }
	@"$(PYTHON)" -c '$(IS_SUPPORTED)' $(SUPPORTED)
	@echo "Setting up $(VENV) with $$("$(PYTHON)" -V) ($(PYTHON)): about a minute and 700 MB, once."
	@"$(PYTHON)" -m venv $(VENV)
	@$(INSTALL) -r requirements.lock | sed -un -E 's/^Collecting ([^ ]+).*/  fetching \1/p; s/^Installing collected packages.*/  installing .../p'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/stt --help >/dev/null
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	@echo "Adding what tests and checks need."
	@$(INSTALL) --quiet -r requirements-dev.lock
	@touch $@
