# Needs CPython 3.11 or later and make (make bench a C compiler, too); everything else is installed into .venv by the first target used.
#   make run      everything against the simulator; Ctrl-C stops it
#   make install  what a run needs, into .venv; make run does it by itself
#   make install-dev  what tests and checks need, into .venv; the targets that need it do it by themselves
#   make quick    the tests that need no process of their own and no browser: while working
#   make test     all tests, two at a time   (ARGS="-k words" for some)
#   make test-all the same on every CPython from 3.11 on that is here
#   make coverage branch coverage of the pure packages by their unit tests, against the floors in pyproject.toml
#   make coverage-all  the same of all packages by all tests, processes included (long)
#   make soak     one check with ever new seeds, counted over all runs (make soak NAME SECONDS=600)
#   make check    format, lint, types, import rules, coverage, tests   (SKIP_TESTS=1 for all but the last two)
#   make fix      write what format would change, and what lint can mend by itself
#   make bench    benchmarks, all or those named (make bench orders)
#   make lab      what the default strategies earn: 20 seeds of a day, with and without rivals (40 minutes on two cores)
#   make measure  figures of the code's structure (ARGS=/path/to/another/checkout)
#   make settings docs/settings.md and kalshi-bus.example.toml, after a setting was changed
#   make clean    remove what was installed, .run and caches; never .data
#   make lock     resolve pyproject.toml's ranges again into requirements.lock

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/installed
DEV_STAMP := .venv/installed-dev
ARGS ?=
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# A wait that ran out is made once more, and said ("RERUN"): the machine may have been busy. A wrong answer never is.
AGAIN = --reruns 1 --only-rerun "not within [0-9.]+ s" --only-rerun "Timeout" --only-rerun "with timeout [0-9]+ms" -rR

# `make soak sync` is `make soak NAME=sync`: the words after soak are no targets.
ifeq ($(firstword $(MAKECMDGOALS)),soak)
NAME := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
ifneq ($(NAME),)
.PHONY: $(NAME)
$(NAME): soak
	@:
endif
endif

# `make bench orders` is `make bench ARGS=orders`.
ifeq ($(firstword $(MAKECMDGOALS)),bench)
NAMED := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
ifneq ($(NAMED),)
ARGS := $(NAMED)
.PHONY: $(NAMED)
$(NAMED): bench
	@:
endif
endif

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test-all test quick coverage coverage-all soak check format lint fix types imports bench lab measure settings lock clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)

install-dev: $(DEV_STAMP)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("kalshi-bus needs CPython 3.11 or later, this is %d.%d: make PYTHON=/path/to/python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what a run needs into .venv, once:"
	@$(BIN)/python tools/install.py requirements.lock
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(STAMP)
	@echo "installing what tests and checks need besides:"
	@$(BIN)/python tools/install.py requirements-dev.lock
	@touch $@

run: install
	@$(BIN)/kalshi-bus run

test: install-dev
	@$(PYTEST) $(AGAIN) $(ARGS)

quick: install-dev
	@$(PYTEST) -m "not e2e and not slow" $(ARGS)

# The unit tests of the pure packages; none that bounds a time, which measuring makes longer.
PURE = tests/markets tests/bus/protocol tests/bus/scan tests/bus/trading tests/bus/test_hostile.py \
	tests/bus/test_later.py tests/bus/test_stepped.py tests/trader tests/publisher/books tests/publisher/kalshi \
	tests/publisher/orders tests/simulator/matching tests/simulator/test_switches.py \
	tests/snapshot_server/websocket/test_protocol.py
coverage coverage-all: install-dev
	@rm -rf .coverage.d && mkdir .coverage.d
	@$(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist worksteal --timeout 300 \
		$(if $(filter coverage,$@),-m "not e2e and not slow and not alone" $(PURE),-m "not alone") $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage json --quiet -o .coverage.d/report.json
	@$(BIN)/python tools/coverage_floors.py .coverage.d/report.json $(if $(filter coverage-all,$@),--all)

soak: install-dev
	@$(BIN)/python -m tests.soak $(NAME) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

# SKIP_TESTS=1: all but the tests, for whoever runs `make test` next (.ci/run).
check: format lint types imports $(if $(SKIP_TESTS),,coverage test)

format: install-dev
	@$(BIN)/ruff format --check .

lint: install-dev
	@$(BIN)/ruff check .

fix: install-dev
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

types: install-dev
	@$(BIN)/mypy

imports: install-dev
	@$(BIN)/lint-imports

bench: install-dev
	@$(BIN)/python -m benchmarks $(ARGS)

lab: install
	@$(BIN)/kalshi-bus backtest --simulate 1d --seeds 1..20 --rivals both --exchange void_rate=0.05 --title "Default strategies" --out .data/laboratory/default $(ARGS)

measure: install-dev
	@$(BIN)/python -m benchmarks.measure $(ARGS)

# After a change of bus/process/settings_table.py.
settings: install-dev
	@$(BIN)/python tools/settings_docs.py

# uv only resolves; it is not a dependency. Without an index address in the file it serves every mirror.
# hatchling is there to install ourselves.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: install-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.lock
	echo hatchling | $(COMPILE) -c requirements-dev.lock pyproject.toml - -o requirements.lock

# Every CPython that is here, from 3.11 on, each in an environment of its own below .venvs.
test-all:
	@for python in $$(for v in 3.11 3.12 3.13 3.14; do command -v python$$v || ls -d $$HOME/.pyenv/versions/$$v.*/bin/python 2>/dev/null | tail -1; done); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		echo "== CPython $$version"; \
		mkdir -p .venvs; test -x .venvs/$$version/bin/python || $$python -m venv .venvs/$$version || exit 1; \
		.venvs/$$version/bin/python tools/install.py requirements-dev.lock || exit 1; \
		.venvs/$$version/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS) || exit 1; \
	done

# Not .data: the journal and the recordings cannot be made again.
clean:
	rm -rf .venv .venvs .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
