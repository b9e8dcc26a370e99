# Everything a person does here; `make` alone prints the list.
#
# PYTHON    interpreter of .venv; another makes it anew  make test PYTHON=/usr/bin/python3
# BUS       auto, embedded or rabbitmq                   make run BUS=rabbitmq
# SCENARIO  a shipped story or a path to a TOML file     make run SCENARIO=planted
# ARGS      handed to the command as they are            make run ARGS="--seed 8"

.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
BUS ?= auto
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MADE_WITH := $(VENV)/.made-with
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.PHONY: another-python help setup run test test-docker check format bench docs clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target meaning; do printf '%-20s %s\n' "$$target" "$$meaning"; done
	@echo
	@sed -n 's/^# \([A-Z][A-Z]* .*\)/  \1/p' $(MAKEFILE_LIST)

# An interpreter that is named, and is not the one that .venv was made with, makes it anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell cat $(MADE_WITH) 2>/dev/null),$(PYTHON))
$(INSTALLED): another-python
endif
endif
another-python:

setup: $(INSTALLED) ## Make .venv with everything that tests and checks need

# The one door to .venv: every missing tool is named in a line of its own before anything is made.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v git >/dev/null || \
		{ echo "git is missing (Debian: apt-get install git)" >&2; exit 1; }
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "$(PYTHON) is missing: install Python 3.11 or newer, or name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: name a newer one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "setting up $(VENV) (once; under a minute)" >&2
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) install -qq --constraint constraints.txt setuptools
	@$(PIP) install -qq --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@printf '%s\n' "$(PYTHON)" > $(MADE_WITH)
	@touch $@

run: $(INSTALLED) ## Run a story, first_light by default, and print its verdict
	@$(BIN)/i247 run $(or $(SCENARIO),first_light) --bus $(BUS) $(ARGS)

test: $(INSTALLED) ## Run every test that needs no container engine
	@$(PYTEST) -m "not docker" $(ARGS)
	@echo "not run: container tests (make test-docker)"

test-docker: $(INSTALLED) ## Run the container tests, where an engine answers
	@if docker info >/dev/null 2>&1; then $(PYTEST) -m docker $(ARGS); \
		else echo "not run: container tests (no container engine answers to 'docker info')"; fi

check: $(INSTALLED) ## Format, lint, types, direction of imports, house rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(PYTEST) -q tests/house_rules

format: $(INSTALLED) ## Lay out the code and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Measure, and print the figures with the machine
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(INSTALLED) ## Write the generated documents anew
	@$(BIN)/python -m console.documents

clean: ## Remove .venv, caches and build leavings; runs/ stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
