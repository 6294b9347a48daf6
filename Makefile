# A fresh machine needs Python 3.11 or newer with pip, and make. `make` alone shows what there is.

VENV   ?= .venv
PYTHON ?=
PIN    := requirements/build.txt pyproject.toml scripts/setup
# Empty: one process. `make test WORKERS=2` runs the tests in two.
WORKERS     ?=
PYTEST_ARGS ?=
MEDIA       ?= sample-media

export PYTHON

# An environment whose interpreter is gone (moved, upgraded away) counts as out of date.
STALE := $(if $(realpath $(VENV)/bin/python),,FORCE)

.DEFAULT_GOAL := help
.PHONY: help setup demo check lint types test media bench lock clean FORCE

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## make or refresh .venv with everything that work on Lading needs
	@:

demo: $(VENV)/.runtime ## see it work, in about a minute, on this machine only
	@$(VENV)/bin/python scripts/demo.py

check: lint types test ## lint, types and test

lint: $(VENV)/.dev ## ruff: mistakes and format
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(VENV)/bin/python -m mypy

test: $(VENV)/.dev ## pytest; PYTEST_ARGS="tests/catalog -x" for some, WORKERS=2 for two processes
	@scripts/apt-packages || true
	$(VENV)/bin/python -m pytest $(if $(WORKERS),-n $(WORKERS)) $(PYTEST_ARGS)

media: ## fetch real media (about 60 MB) into sample-media
	@scripts/media $(MEDIA)

bench: $(VENV)/.dev ## the benchmarks, peers side by side
	bench/run

lock: $(VENV)/.dev ## write requirements/ anew from pyproject.toml; LOCK_ARGS=--upgrade for newer versions
	PYTHON=$(VENV)/bin/python scripts/lock $(LOCK_ARGS)

clean: ## remove .venv and the tools' caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# The stamps are written last, so a run that was cut short is repeated. dev holds all of runtime.
$(VENV)/.runtime: requirements/runtime.txt $(PIN) $(STALE)
	@scripts/setup runtime $(VENV)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(PIN) $(STALE)
	@scripts/setup dev $(VENV)
	@touch $(VENV)/.runtime $@
