# Everything that these targets install or create is in .venv and .local.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
LOCKS := requirements.txt requirements-local.txt requirements-dev.txt

.DEFAULT_GOAL := help
.PHONY: help demo up down clean test browser check fix lock bench chaos chaos-cluster soak fuzz

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/ready ## Start the stack, produce sample orders, load them with Airflow, show the result (REGISTRY=1: with a schema registry)
	@$(BIN)/python -m local demo $(if $(REGISTRY),--registry)

up: .venv/ready ## Start Kafka, ClickHouse and Airflow on this machine
	@$(BIN)/python -m local up

down: ## Stop what was started; data stays
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local down; else echo "nothing was running"; fi

clean: ## Stop the stack and remove its data
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local clean; fi
	@rm -rf .local

test: .venv/ready ## Run the tests; they start the services that they need on free ports
	$(BIN)/python -m pytest -m "not browser" -n 3 --dist loadscope

browser: .venv/ready ## Drive the UI in a real browser (needs Debian's chromium)
	$(BIN)/python -m pytest -m browser

check: .venv/ready ## Lint, format, types, import layers, generated files; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/sluice ddl --check
	$(BIN)/sluice schema lint
	$(BIN)/sluice schema samples
	$(BIN)/sluice schema docs

fix: .venv/ready ## Repair what can be repaired automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sluice ddl --write
	$(BIN)/sluice schema samples --write
	$(BIN)/sluice schema docs --write

bench: .venv/ready ## Measure the claims
	$(BIN)/python -m benchmarks.decoding
	$(BIN)/python -m benchmarks.verify
	$(BIN)/python -m benchmarks.pages
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.load

SEED ?= 1
ROUNDS ?= 20
chaos: .venv/ready ## Kill, cut, pause and race loads, and verify the result (SEED=1 ROUNDS=20 REPLICAS=all)
	$(BIN)/python -m tests.chaos --seed $(SEED) --rounds $(ROUNDS) $(if $(REPLICAS),--replicas "$(REPLICAS)")

CLUSTER := docker compose -f tests/cluster/compose.yaml
chaos-cluster: .venv/ready ## The same against the cluster of tests/cluster (needs Docker; SEED=1 ROUNDS=20)
	$(BIN)/python -m tests.chaos --seed $(SEED) --rounds $(ROUNDS) --keep-going \
		--kafka 127.0.0.1:29092 --clickhouse 127.0.0.1:28123 --cluster first_shard \
		--disturb "$(CLUSTER) kill --signal KILL shard-1-replica-2 && $(CLUSTER) start shard-1-replica-2"

SOAK_ROUNDS ?= 200
soak: .venv/ready ## Repeat races, random sequences, kills and chaos with many rounds (SOAK_ROUNDS=200)
	RACES=$(SOAK_ROUNDS) SEQUENCES=$(SOAK_ROUNDS) MESSAGES=400000 $(BIN)/python -m pytest -n 2 --timeout 7200 \
		tests/integration/test_races.py tests/integration/test_sequences.py tests/integration/test_load.py \
		tests/end_to_end/test_airflow_kills.py
	$(BIN)/python -m tests.chaos --seed 1000 --rounds $(SOAK_ROUNDS)

FUZZ_SECONDS ?= 60
fuzz: .venv/ready ## Fuzz the decoder for unhandled input (Linux on x86-64)
ifdef UV
	@uv pip install -q --python $(BIN)/python -r requirements-fuzz.txt
else
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-fuzz.txt
endif
	$(BIN)/python -m tests.fuzz.decode --seconds $(FUZZ_SECONDS)

lock: ## Pin the requirements again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock" --extra airflow pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock" requirements-local.in -o requirements-local.txt
	uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock" requirements-fuzz.in -o requirements-fuzz.txt

.venv/ready: $(LOCKS) pyproject.toml
	@echo "making the environment in .venv (the first time takes a minute or two)"
ifdef UV
	@uv venv -q --allow-existing --python $(PYTHON) .venv
	@uv pip install -q --compile-bytecode --python $(BIN)/python $(LOCKS:%=-r %)
	@uv pip install -q --python $(BIN)/python --no-deps -e .
else
	@$(PYTHON) -m venv .venv
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		$(LOCKS:%=-r %) | awk '/^Collecting/ { printf "\r  %d packages found", ++n; fflush() } \
		/^Installing/ { printf "\r  installing %d packages ", n; fflush() } END { print "" }'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
endif
	@touch $@
