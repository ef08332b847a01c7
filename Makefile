# The two commands a newcomer needs are `make run` and `make test`. Everything lives in .venv, .dagster and data below this folder.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
# --no-deps: the lock is complete, so pip need not solve it again. --no-compile: modules compile when first used; most never are.
# That must be kept then, which images of Python forbid: compiled anew, a command's imports take 7 s instead of 2.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --no-deps --require-hashes --only-binary :all:

.DEFAULT_GOAL := help
.PHONY: help run test ui setup check lint types arrows bench lock clean

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: .venv/ready ## Transcribe the bundled samples through Dagster, and show what came of them
	@$(BIN)/stt samples

test: .venv/ready-dev ## Run the tests, a process per core (ARGS="-n 0 tests/...": some of them in one)
	@$(BIN)/python -m pytest -n auto $(ARGS)

ui: .venv/ready ## Open the Dagster UI on http://127.0.0.1:3000, with sensors and schedules
	@$(BIN)/stt ui

setup: .venv/ready ## Make the virtual environment only

check: lint types arrows ## Lint, types and the import contract

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready-dev
	$(BIN)/mypy

arrows: .venv/ready-dev
	$(BIN)/lint-imports

bench: .venv/ready ## Measure the orchestration's cost on this machine (about ten minutes)
	@$(BIN)/python -m benchmarks

lock: .venv/ready-dev ## Pin anew what pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.lock --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o requirements-dev.lock
	$(BIN)/uv pip compile deploy/requirements-cuda.in --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet -o deploy/requirements-cuda.lock

clean: ## Remove the environment and all that was made; recordings and transcripts in data/ stay
	rm -rf .venv .dagster .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; say where: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv with $(PYTHON): about a minute and 700 MB, once."
	@"$(PYTHON)" -m venv .venv
	@$(INSTALL) -r requirements.lock | sed -un -E 's/^Collecting ([^ ]+).*/  fetching \1/p; s/^Installing collected packages.*/  installing .../p'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/stt --help >/dev/null
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	@echo "Adding what tests and checks need."
	@$(INSTALL) --quiet -r requirements-dev.lock
	@touch $@
