# Plain `make` lists the targets. Everything is set up by the target that needs it, once.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SETUP_INPUTS := constraints.txt pyproject.toml

# The first Python 3.11 on the path; `make PYTHON=/path/to/python3.11 ...` overrides it.
PYTHON ?= $(shell for candidate in python3.11 python3 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 \
	&& echo $$candidate && break; done)

# Prefect reads these while it is imported.
export DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false

.DEFAULT_GOAL := help
.PHONY: help run test check bench ui clean

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) \
	| awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

run: $(VENV)/.ready-to-run ## Run the whole pipeline on the sample data; ARGS="--config my.json" to change it.
	@$(BIN)/python -m flows.pipeline $(ARGS)

test: $(VENV)/.ready-to-test ## Run the tests; ARGS="tests/market -k split" to choose.
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.ready-to-test ## Check format, lint, types, the import rule, and run the tests.
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(VENV)/.ready-to-test ## Run the benchmarks, one JSON line per figure; NAME=prefix to choose.
	@$(BIN)/python -m tests.benchmarks $(NAME)

ui: $(VENV)/.ready-to-run ## Start a Prefect server and a worker, deploy every flow, print the address.
	@$(BIN)/python deployments/local_ui.py $(ARGS)

clean: ## Remove the virtual environment and all caches; results in .ploutos stay.
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	echo "Python 3.11 was not found on the path. Install it, or say where it is:"; \
	echo "    make PYTHON=/path/to/python3.11 run"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "The venv module failed (on Debian it needs the package python3.11-venv)."; exit 1; }

# The build backend comes from the constraints too: no second, unpinned environment is built.
$(VENV)/.ready-to-run: $(SETUP_INPUTS) | $(BIN)/python
	$(PIP) install -c constraints.txt hatchling editables
	$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-to-test: $(VENV)/.ready-to-run
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@
