# Each command sets up what it needs; stamp files make repeated calls quick. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
NPM := npm --prefix js --silent
STATIC := cerebelum_nb/notebook/static
TUTORIAL := notebooks/01_first_run.ipynb
# Tests mostly wait, for processes and for deadlines: more of them than cores run side by side.
SIDE_BY_SIDE := -n 3
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)

.DEFAULT_GOAL := help
.PHONY: help demo lab test check chaos bench clean chromium
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## Run the tutorial without a browser; show its last run, write it to build/demo
	@$(BIN)/python notebooks/demo.py

lab: $(VENV)/.lab  ## Open the tutorial in JupyterLab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(TUTORIAL)

test: check chromium  ## Everything CI runs: check, then all tests, quick ones first
	@$(BIN)/python -m compileall -q cerebelum_nb  # as pip does: hundreds of processes start from it
	$(BIN)/pytest tests -m "not kernel and not browser" $(SIDE_BY_SIDE) --dist worksteal
	$(BIN)/pytest tests -m kernel $(SIDE_BY_SIDE) --dist loadfile  # tests of one file share a kernel
	$(BIN)/pytest --nbval-lax notebooks
	$(NPM) test
	$(BIN)/pytest tests -m browser $(SIDE_BY_SIDE) --dist worksteal

check: $(VENV)/.dev js/node_modules/.stamp  ## Lint, types, import contracts, front end, bundle fresh, no local paths
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	$(NPM) run check
	$(NPM) run lint
	$(NPM) run build
	@git diff --exit-code --stat -- $(STATIC) || { echo "$(STATIC) was stale: it is built again now, commit it"; exit 1; }
	@! git grep --untracked -nIE '(^|[^A-Za-z0-9_.-])/(home|Users|root|work)/[A-Za-z]' -- . ':!js/package-lock.json' \
	  || { echo "these lines hold a path of somebody's machine"; exit 1; }

chaos: $(VENV)/.dev  ## Break things on purpose: a kernel's death after every event, then 500 runs by dice
	CEREBELUM_CHAOS=all $(BIN)/pytest tests/chaos
	$(BIN)/python -m cerebelum_nb.testing.chaos --runs 500

bench: $(VENV)/.dev build/peers/.made  ## Measure, beside others and the floors, and say on which machine
	@$(BIN)/python tests/bench/run.py

clean:  ## Remove everything that make made
	rm -rf $(VENV) build dist js/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find cerebelum_nb notebooks tests -name __pycache__ -prune -exec rm -rf {} +

chromium:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || { \
	  echo "installing Chromium for the browser tests"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq --no-install-recommends chromium; } > /dev/null; } \
	  || { echo "the browser tests need Chromium, and it could not be installed here: apt-get install chromium"; exit 1; }

# -- what is set up once, and again when its list changes

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "cerebelum_nb needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv could be made; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "installing what the demo needs"
	@$(PIP) --editable . nbclient nbconvert
	@touch $@

$(VENV)/.lab: $(VENV)/.made pyproject.toml
	@echo "installing JupyterLab"
	@$(PIP) --editable '.[lab]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "installing what the tests need"
	@$(PIP) --editable '.[dev]'
	@touch $@

build/peers/.made:  # a venv of their own: what they need must not change what is measured
	@echo "installing Dask and Ray to be set beside"
	@$(PYTHON) -m venv build/peers
	@build/peers/bin/python -m pip install -qq --disable-pip-version-check --no-input distributed ray psutil \
	  || echo "they could not be installed: the bench goes on without them"
	@touch $@

js/node_modules/.stamp: js/package-lock.json
	@echo "installing what the front end is built with"
	@npm --prefix js ci --no-audit --no-fund --loglevel=error
	@touch $@
