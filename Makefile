# The one door to everything. `make` alone lists what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
UV_VERSION := 0.13.8
UV_COMPILE = env -u UV_FIND_LINKS -u PIP_FIND_LINKS build/lock/bin/uv pip compile --universal --upgrade \
  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
  --custom-compile-command "make lock-requirements"
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A current etcd, which no Python package carries; the version is the one that its go.mod requires.
ETCD_VERSION := $(shell awk '$$2 == "go.etcd.io/etcd/server/v3" { print substr($$3, 2) }' deploy/etcd/go.mod)
ETCD_PROGRAM := build/etcd-$(ETCD_VERSION)/etcd
# A Python to prefer when the environment is made: make setup PYTHON=/opt/python3.12
PYTHON ?=
# Instead of everything, what pytest is to run and how: make test PYTEST_ARGS="-n 2 tests/unit"
PYTEST_ARGS ?=

# A user's own pip and Python settings must not redirect or refuse what goes into $(VENV), nor have each of the servers
# that tests start compile itself anew.
unexport PIP_NO_COMPILE PIP_PREFIX PIP_REQUIRE_HASHES PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup generate fix lint test simulation robustness scale etcd no-go demo bench bench-quick lock-requirements clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv (needs Python 3.11 or newer, nothing else)

generate: $(STAMP) ## Write the Python stubs from protos/
	$(BIN)/python -m protos.generate

fix: $(STAMP) ## Format, and mend what can be mended mechanically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lint: $(STAMP) ## Check style, types, layers, protos and that the stubs are up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protos.lint
	$(BIN)/python -m protos.generate --check

# Most tests wait more than they work, so two at a time take half as long; the robustness tests want the machine.
test: $(STAMP) ## Run every test
ifdef PYTEST_ARGS
	$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/robustness
	$(BIN)/python -m pytest tests/robustness
endif

etcd: $(if $(shell command -v go),$(ETCD_PROGRAM),no-go) ## Build a current etcd for the tests to run on, if there is Go

simulation: $(STAMP) ## Simulate servers and clients under faults: SEEDS=1000 FIRST=1
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1)

robustness: $(STAMP) ## Break a cluster under traffic, and check what it promised: MINUTES=1 SEED=1 ETCD=3.6
	$(BIN)/python -m tests.robustness.run --seconds $$((60 * $(or $(MINUTES),1))) --seed $(or $(SEED),1) \
	  $(if $(ETCD),--etcd $(ETCD)) --directory build/robustness/$(or $(SEED),1)-$$(date +%Y%m%dT%H%M%S)

scale: $(STAMP) ## Do to thousands of sessions what befalls etcd and servers: SESSIONS=5000
	LOCKSTREAM_SCALE_SESSIONS=$(or $(SESSIONS),5000) $(BIN)/python -m pytest tests/robustness/scale --log-cli-level=info

demo: $(STAMP) ## Watch workers take turns on a lock, and one of them die
	$(BIN)/python -m deploy.demo

bench: $(STAMP) ## Measure against etcd's own lock service
	$(BIN)/python -m tests.benchmarks

bench-quick: $(STAMP) ## The same, shorter, in under two minutes
	$(BIN)/python -m tests.benchmarks --quick

lock-requirements: $(STAMP) ## Pin the newest allowed dependencies, with hashes and without addresses
	$(BIN)/python -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv==$(UV_VERSION)
	$(UV_COMPILE) --output-file requirements/build.txt requirements/build.in
	$(UV_COMPILE) --extra server --extra embedded --extra otlp \
	  --output-file requirements/dev.txt pyproject.toml requirements/dev.in
	$(UV_COMPILE) --extra server --extra otlp --constraints requirements/dev.txt \
	  --output-file requirements/server.txt pyproject.toml

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find clients server tests protos deploy -name __pycache__ -type d -prune -exec rm -rf {} +

$(ETCD_PROGRAM): deploy/etcd/go.mod deploy/etcd/go.sum
	cd deploy/etcd && go build -trimpath -ldflags "-s -w" -o $(abspath $@) go.etcd.io/etcd/server/v3

no-go:
	@echo "There is no Go to build etcd $(ETCD_VERSION) with: what is found on PATH or in the wheel will do."

# The stamp makes repeating free: it is older than its sources only when they changed.
# grpcurl comes as source only, so what builds it is pinned and installed first.
$(STAMP): requirements/build.txt requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements/build.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements/dev.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# A name on PATH may be a shim that cannot run, so each candidate is tried, not only found.
$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); exit 1; \
	  fi; \
	done; \
	echo "Lockstream needs Python 3.11 or newer, and none of these is: $(PYTHON) python3.11 python3." \
	  "Install one, or name it: make setup PYTHON=/path/to/python" >&2; \
	exit 1
