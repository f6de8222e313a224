# `make` alone lists the commands. Each creates .venv on first use, and brings it up to date when pyproject.toml changes.

.DEFAULT_GOAL := help
.PHONY: help install run test check docs bench venv

VENV := .venv
BIN := $(VENV)/bin

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: venv  ## create .venv with Durably and its tools (PYTHON=… chooses the interpreter)
	@echo "$(VENV) is ready: use $(BIN)/durably, or 'source $(BIN)/activate' and then durably"

run: venv  ## serve the examples on http://127.0.0.1:8484, data in ./durably.db
	@exec $(BIN)/durably dev examples:engine

test: venv  ## run all tests (ARGS=… goes to pytest, as in ARGS="-k retry")
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: venv  ## formatting, lint, types under mypy strict and pyright strict, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: venv  ## write docs/asyncio.md, docs/seeds.md and docs/schedules.md anew, from what tests check
	$(BIN)/python -m tests.primitives.page
	$(BIN)/python -m tests.engine.schedules.dst_days
	$(BIN)/python -m tests.seeds.page

bench: venv  ## measure how fast it is: a few minutes, tables and JSON (ARGS=… names one benchmark)
	$(BIN)/python -m benchmarks $(ARGS)

venv:
	@.ci/venv $(VENV) $(PYTHON)
