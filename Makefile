# Every command of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml services/*/pyproject.toml sandbox/pyproject.toml))
STAMP := $(VENV)/.installed
EXPORT := $(BIN)/uv export --quiet --no-emit-workspace --no-header
N ?= 2000
ONCE ?=

.DEFAULT_GOAL := help

help: ## Lists the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Makes .venv with everything the project needs (once).

$(STAMP): requirements/bootstrap.lock requirements/dev.lock $(addsuffix /pyproject.toml,$(MEMBERS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Clarion needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@$(BIN)/python -m compileall -q $(VENV)/lib >/dev/null 2>&1 || true
	@touch $(STAMP)

run: $(STAMP) ## Starts the stack, sends real notifications, shows what happened. N=20000 ONCE=1
	@$(BIN)/clarion demo --count $(N) $(if $(ONCE),--once,)

test: $(STAMP) ## Runs all tests.
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP) ## Checks format, lint, types, imports and contracts.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy $(filter-out packages/contracts/src,$(addsuffix /src,$(MEMBERS)))
	@$(BIN)/python tools/check_contracts.py

format: $(STAMP) ## Formats the code.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

proto: $(STAMP) ## Generates packages/contracts from proto/.
	@$(BIN)/buf format -w proto
	@$(BIN)/python tools/generate_contracts.py
	@$(BIN)/python tools/generate_edge.py

lock: $(STAMP) ## Renews the lock files from the pyprojects.
	@$(BIN)/uv lock --quiet --upgrade
	@$(EXPORT) --all-packages --all-extras -o requirements/dev.lock
	@$(EXPORT) --no-dev $(foreach s,$(wildcard services/*),--package clarion-$(notdir $(s))) -o requirements/services.lock
	@rm -f uv.lock
	@printf 'uv\nuv-build\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header - -o requirements/bootstrap.lock

bench: $(STAMP) ## Runs the benchmarks.
	@$(BIN)/clarion bench

clean: ## Removes the environment and all local data.
	@rm -rf $(VENV) .clarion .build

.PHONY: help setup run test lint format proto lock bench clean
