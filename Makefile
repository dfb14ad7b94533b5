# Needs CPython 3.11, make and a C compiler; everything else is installed into .venv by the first target used.
#   make run      everything against the simulator; Ctrl-C stops it
#   make quick    the tests that need no process of their own and no browser: while working
#   make test     all tests, two at a time   (ARGS="-k words" for some)
#   make soak     one check with ever new seeds, counted over all runs (make soak NAME SECONDS=600)
#   make check    format, lint, types, import rules, tests
#   make bench    benchmarks, all or those named (make bench orders)
#   make lab      what the default strategies earn: 20 seeds of a day, with and without rivals (hours of a core)
#   make measure  figures of the code's structure (ARGS=/path/to/another/checkout)
#   make lock     resolve pyproject.toml's ranges again into requirements.lock

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/installed
ARGS ?=
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

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
.PHONY: help install run test quick soak check format lint types imports bench lab measure lock clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit("kalshi-bus needs CPython 3.11, this is %d.%d: make PYTHON=/path/to/python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: once, about half a minute"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

run: install
	@$(BIN)/python -m bus.process.supervise

test: install
	@$(PYTEST) $(ARGS)

quick: install
	@$(PYTEST) -m "not e2e and not slow" $(ARGS)

soak: install
	@$(BIN)/python -m tests.soak $(NAME) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

# SKIP_TESTS=1: all but the tests, for whoever runs `make test` next (.ci/run).
check: format lint types imports $(if $(SKIP_TESTS),,test)

format: install
	@$(BIN)/ruff format --check .

lint: install
	@$(BIN)/ruff check .

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports

bench: install
	@$(BIN)/python -m benchmarks $(ARGS)

lab: install
	@$(BIN)/python -m laboratory run --simulate 1d --seeds 1..20 --rivals both --exchange void_rate=0.05 --title "Default strategies" --out .data/laboratory/default $(ARGS)

measure: install
	@$(BIN)/python -m benchmarks.measure $(ARGS)

# uv only resolves; it is not a dependency. Without an index address in the file it serves every mirror.
lock: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(BIN)/uv pip compile --quiet --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock

# Not .data: the journal and the recordings cannot be made again.
clean:
	rm -rf .venv .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
