# `make run` and `make test` are all a fresh machine with Python 3.11 to 3.14 and make needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Narrow them to single files: make e2e E2E=tests/e2e/test_cancel.py
E2E ?= tests/e2e
FAULTS ?= tests
# What lies between the embedded stack and its clients (make up): cloud or bad
WEATHER ?=
# Words of a promise or a name: make mutants MUTANTS=mail
MUTANTS ?=

# One resolution for every interpreter and platform; an existing file keeps its versions.
UPGRADE ?=
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet $(UPGRADE) pyproject.toml --universal \
	--python-version 3.11 --generate-hashes --no-annotate

# Compiled modules are kept, whatever the environment says: tests start hundreds of children, each on the same modules.
unexport PYTHONDONTWRITEBYTECODE
# Help, forms and tables are described by docstrings.
unexport PYTHONOPTIMIZE

.PHONY: help run simulate season up down status test check unit long mutants smoke e2e faults fuzz bench screenshots lock pins audit dist sbom clean

help:  ## List these targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(STAMP): pyproject.toml constraints-dev.txt
	@$(PYTHON) .ci/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r constraints-dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@echo "Google's SQL analyzer is compiled for this machine, once: half a minute on two free cores"
	@$(BIN)/python -m deployments.local.bigquery_emulator.googlesql
	@touch $@

run: $(STAMP)  ## Run the main job on the embedded stack: 31 dates of NBA box scores, one mail
	@$(BIN)/python -m gapless.program deployments.local.demo

# Sources, the first seed and how many schedules each: make simulate SOURCES="coffee_shops" SEED=1 SCHEDULES=500; TOTAL=10000
# counts those of all together; DISTRIBUTED=1 lets parents and windows die one by one
SOURCES ?=
SEED ?= 0
SCHEDULES ?= 100
TOTAL ?=
DISTRIBUTED ?=

simulate: $(STAMP)  ## Run backfills of all samples under simulated faults, in memory
	@$(BIN)/python -m gapless.program deployments.local.simulate_samples $(SOURCES) --seed $(SEED) --schedules $(SCHEDULES) \
		$(if $(TOTAL),--total $(TOTAL)) $(if $(DISTRIBUTED),--distributed)

season: $(STAMP)  ## Run a season of all NBA sources with troubles and three kills
	@$(BIN)/python -m gapless.program deployments.local.demo --season $(or $(SEASON),2024-25) --state-dir .gapless/season

up: $(STAMP)  ## Start the embedded stack and leave it running; WEATHER=cloud adds a cloud's latency
	@$(BIN)/python -m gapless.program deployments.local.demo --up $(if $(WEATHER),--weather $(WEATHER))

down: $(STAMP)  ## Stop the embedded stack of this checkout
	@$(BIN)/python -m gapless.program deployments.local.stack down

status: $(STAMP)  ## Show what of the embedded stack is running, and where
	@$(BIN)/python -m gapless.program deployments.local.stack status

test: check unit smoke  ## Run check, unit and smoke; must pass for every change

check: $(STAMP)  ## Run linter, type checker and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit-newest: $(STAMP)  ## Run the unit tests on the newest other Python of this machine
	@newest="$$($(BIN)/python .ci/check_python.py --newest-other)" || { echo "no other interpreter here"; exit 0; }; \
	echo "unit tests on $$newest"; $(MAKE) unit PYTHON="$$newest" VENV=.venv-newest

unit: $(STAMP)  ## Run all tests but end-to-end, faults, long ones and benchmarks
	$(BIN)/pytest -q -n 2 -m 'not e2e and not faults and not long and not benchmark and not pins'

long: $(STAMP)  ## Run the long tests: years of dates, thousands of examples
	$(BIN)/pytest -q -n 2 -m long tests

mutants: $(STAMP)  ## Break each promise on purpose, and show which faults the tests catch
	@$(BIN)/python tests/mutants/run_mutants.py $(MUTANTS)

smoke: $(STAMP)  ## Run the main job with 3 failing dates and retry exactly those
	$(BIN)/pytest -q -m 'e2e and smoke' tests/e2e

# The local Cloud Storage as strict as Google's: deployments/local/gcs_emulator/strictness.py.
e2e faults: export GAPLESS_STRICT = 1

e2e: $(STAMP)  ## Run the end-to-end tests on whole stacks
	$(BIN)/pytest -q -m 'e2e and not smoke' $(E2E)

faults: $(STAMP)  ## Run the tests of kills and broken servers
	$(BIN)/pytest -q -m faults $(FAULTS)

fuzz: $(STAMP)  ## Plant 100,000 secrets and look for them in every output
	GAPLESS_FUZZ=$(or $(COUNT),100000) $(BIN)/pytest -q -s -m faults tests/flows/test_fuzz_of_secrets.py

bench: $(STAMP)  ## Measure speed and memory as ratios
	$(BIN)/pytest -q -s -m benchmark tests/benchmarks

screenshots: $(STAMP)  ## Take the pictures of the documentation (needs chromium)
	GAPLESS_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/pytest -q tests/e2e/test_ui.py tests/flows/views/test_calendar_page.py

lock: $(STAMP)  ## Write constraints-*.txt with hashes; UPGRADE=--upgrade moves versions
	$(LOCK) -o constraints-runtime.txt
	$(LOCK) --extra local -c constraints-runtime.txt -o constraints-local.txt
	$(LOCK) --extra dev -c constraints-local.txt -o constraints-dev.txt

pins: $(STAMP)  ## Try newer releases than our bounds allow (quarterly, needs the internet)
	$(BIN)/pytest -q -s -m pins tests/e2e/test_pins.py

audit: $(STAMP)  ## Check pinned versions for known vulnerabilities (needs the internet)
	@$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --require-hashes -r constraints-local.txt || \
	{ echo "audit: something was found, or pypi.org's advisories could not be asked: see above"; exit 1; }

dist: $(STAMP)  ## Build the wheel in dist/
	$(BIN)/python -m hatchling build -t wheel

sbom: $(STAMP)  ## Write dist/sbom.json, what an installation consists of (CycloneDX)
	@mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements constraints-runtime.txt \
	--pyproject pyproject.toml --output-reproducible -o dist/sbom.json

clean: down  ## Remove the state of the stack
	rm -rf .gapless
