# Every target sets up .venv by itself when it is missing or older than the lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
JS := clients/js
BENCH_STAMP := .venv/.bench-ready
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos simulate conformance fuzz audit check quickstarts bench bench-peers generate client js lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@echo "setting up .venv (about a minute, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "notifyd needs Python 3.11 or newer: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

setup: $(STAMP) ## make .venv with everything the other targets need

demo: $(STAMP) ## three users, a price feed and a page: the main job, live
	@$(BIN)/notifyd demo $(ARGS)

test: $(STAMP) js ## all tests, with branch coverage
	@$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term --cov-fail-under=90 $(PYTEST_ARGS)

chaos: $(STAMP) ## do something bad to a server many times (FAULT=name N=trials; FAULT=list names them)
	@$(BIN)/python -m tests.chaos $(or $(FAULT),all) $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED)) $(ARGS)

simulate: $(STAMP) ## random histories of a whole server in virtual time (N=steps SEED=seed)
	@$(BIN)/python -m tests.simulation $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED)) $(ARGS)

conformance: $(STAMP) ## Autobahn's WebSocket cases, where a Python 2.7 is there to run them
	@$(BIN)/python -m tests.conformance

fuzz: $(STAMP) ## 100,000 mutated handshakes and frames against a live server, at most 10 minutes (N= SEED=)
	@$(BIN)/python -m tests.fuzz $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED))

audit: $(STAMP) ## known vulnerabilities of what is locked, where pip-audit and its database can be reached
	@sh tools/audit.sh

check: $(STAMP) ## format, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

quickstarts: $(STAMP) ## install what the documents' examples need, and run each from its text
	@sh tests/docs/tools/install.sh .quickstarts
	@$(BIN)/python -m pytest -n 2 tests/docs -rs

bench: $(BENCH_STAMP) ## measure everything against others, 15 minutes (ARGS=--quick: 5; ARGS=fanout: one)
	@sh bench/peers/install.sh .bench $(PYTHON)
	@$(BIN)/python -m bench $(ARGS); missed=$$?; \
	  $(if $(findstring --quick,$(ARGS)),,$(BIN)/python -m bench.plots && $(BIN)/python -m bench.tables;) \
	  exit $$missed

bench-peers: $(STAMP) ## install the servers that notifyd is measured against, and try each
	@sh bench/peers/install.sh .bench $(PYTHON)
	@$(BIN)/python -m bench.peers

generate: $(STAMP) ## write the files made of the message types: JSON Schema, TypeScript
	@$(BIN)/python -m tools.generate

js: ## what the JavaScript client's tests and build need; without Node they are skipped
	@sh $(JS)/tools/install.sh

client: js ## write notifyd/web/client.js and react.js anew from clients/js/src
	@cd $(JS) && node tools/build.js

$(BENCH_STAMP): bench/requirements.lock $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.lock
	@touch $@

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --group bench -o bench/requirements.lock --no-header --quiet
	uv pip compile --universal --python-version 3.11 --extra postgres --group dev pyproject.toml -o requirements.lock --no-header --quiet

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
