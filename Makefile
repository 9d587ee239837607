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

.PHONY: help run simulate season up down status test check unit long mutants smoke e2e faults fuzz bench screenshots lock pins audit dist sbom clean

help:  ## What there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(STAMP): pyproject.toml constraints-dev.txt
	@$(PYTHON) .ci/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r constraints-dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@echo "Google's SQL analyzer is compiled for this machine, once: half a minute on two free cores"
	@$(BIN)/python -m deployments.local.bigquery_emulator.googlesql
	@touch $@

run: $(STAMP)  ## The main job on the embedded stack: 31 dates of NBA box scores into BigQuery, one mail
	@$(BIN)/python -m deployments.local.demo

# Sources, the first seed and how many schedules each: make simulate SOURCES="coffee_shops" SEED=1 SCHEDULES=500
SOURCES ?=
SEED ?= 0
SCHEDULES ?= 100

simulate: $(STAMP)  ## Backfills of all samples under faults, in memory: what did not hold
	@$(BIN)/python -m deployments.local.simulate_samples $(SOURCES) --seed $(SEED) --schedules $(SCHEDULES)

season: $(STAMP)  ## A season of all NBA sources with troubles and three kills: every game in every source, a mail a run
	@$(BIN)/python -m deployments.local.demo --season $(or $(SEASON),2024-25) --state-dir .gapless/season

up: $(STAMP)  ## Start the embedded stack and leave it running; WEATHER=cloud adds the distance to Google
	@$(BIN)/python -m deployments.local.demo --up $(if $(WEATHER),--weather $(WEATHER))

down: $(STAMP)  ## Stop the embedded stack of this checkout, and nothing else
	@$(BIN)/python -m deployments.local.stack down

status: $(STAMP)  ## What of the embedded stack is running, and where
	@$(BIN)/python -m deployments.local.stack status

test: check unit smoke  ## Lint, types, import layers, doctests, unit and emulator tests, and the main job end to end

check: $(STAMP)  ## Lint, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit-newest: $(STAMP)  ## The unit tests on the newest other interpreter that this machine has
	@newest="$$($(BIN)/python .ci/check_python.py --newest-other)" || { echo "no other interpreter here"; exit 0; }; \
	echo "unit tests on $$newest"; $(MAKE) unit PYTHON="$$newest" VENV=.venv-newest

unit: $(STAMP)  ## Everything but end-to-end, faults, long tests and benchmarks
	$(BIN)/pytest -q -n 2 -m 'not e2e and not faults and not long and not benchmark and not pins'

long: $(STAMP)  ## Years of dates and thousands of examples
	$(BIN)/pytest -q -n 2 -m long tests

mutants: $(STAMP)  ## Break each promise on purpose: which faults the tests catch, and which survive
	@$(BIN)/python tests/mutants/run_mutants.py $(MUTANTS)

smoke: $(STAMP)  ## The main job: 31 dates of which 3 fail, one mail, its command retries exactly those
	$(BIN)/pytest -q -m 'e2e and smoke' tests/e2e

# The local Cloud Storage as strict as Google's: deployments/local/gcs_emulator/strictness.py.
e2e faults: export GAPLESS_STRICT = 1

e2e: $(STAMP)  ## The deployed parent on a real server, worker, emulators and SMTP
	$(BIN)/pytest -q -m 'e2e and not smoke' $(E2E)

faults: $(STAMP)  ## Kills and breaks things at the worst moment
	$(BIN)/pytest -q -m faults $(FAULTS)

fuzz: $(STAMP)  ## 100,000 planted secrets in every shape and place, and 0 found
	GAPLESS_FUZZ=$(or $(COUNT),100000) $(BIN)/pytest -q -s -m faults tests/flows/test_fuzz_of_secrets.py

bench: $(STAMP)  ## Ratios of speed and memory, as tables
	$(BIN)/pytest -q -s -m benchmark tests/benchmarks

screenshots: $(STAMP)  ## Pictures of the UI, the inbox and the mail for the documentation (needs chromium)
	GAPLESS_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/pytest -q tests/e2e/test_ui.py tests/flows/views/test_calendar_page.py

lock: $(STAMP)  ## Write constraints-*.txt with hashes; versions stay unless pyproject.toml or UPGRADE=--upgrade says so
	$(LOCK) -o constraints-runtime.txt
	$(LOCK) --extra local -c constraints-runtime.txt -o constraints-local.txt
	$(LOCK) --extra dev -c constraints-local.txt -o constraints-dev.txt

pins: $(STAMP)  ## Quarterly: which releases beyond our bounds work already (installs each one, starts a server on it)
	$(BIN)/pytest -q -s -m pins tests/e2e/test_pins.py

audit: $(STAMP)  ## Known vulnerabilities of what is pinned; asks an advisory service, so it needs the internet
	@$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --require-hashes -r constraints-local.txt || \
	{ echo "audit: something was found, or pypi.org's advisories could not be asked: see above"; exit 1; }

dist: $(STAMP)  ## The wheel, in dist/
	$(BIN)/python -m hatchling build -t wheel

sbom: $(STAMP)  ## dist/sbom.json: what an installation of the product consists of (CycloneDX)
	@mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements constraints-runtime.txt \
	--pyproject pyproject.toml --output-reproducible -o dist/sbom.json

clean: down  ## Remove the stack's state
	rm -rf .gapless
