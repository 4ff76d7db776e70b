# The commands of the workbook. `make` alone prints them, with the text after ##.
#
# Parameters are make variables: make pipeline CUSTOMERS=1000 SEED=7 AS_OF=2026-06-30 TARGET=duckdb DIRT=0.002
#   CUSTOMERS, SEED, DIRT   what is generated            DATA     data folder of a shop (default: data)
#   PLANTED="bgnbd_r=0.3"   planted parameters to change
#   AS_OF                   last day of the data         TARGET   duckdb, lake or motherduck
#   GENERATE=0              use data landed by others    FROM, UNTIL, ONLY   a step of the chain
#   BACKUP=folder           for backup and restore       CUSTOMER            customer_id of a person to erase
#   RECORDS="…"             records to erase, as listed
#   BATCH                   batch_id or address of a source to withdraw

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DUCKBOOK := $(BIN)/duckbook

# Without bytecode, every process of the chain compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE
export DO_NOT_TRACK := 1

# Values reach commands through the environment and in quotes, so that no shell interprets them.
argument = $(if $($(1)),"$$$(1)")
option = $(if $($(1)),--$(2) "$$$(1)")
STORE := $(call option,DATA,data) $(call option,TARGET,target)
SIZE := $(call option,CUSTOMERS,customers) $(call option,SEED,seed) $(call option,DIRT,dirt) $(call option,PLANTED,planted)
WHEN := $(call option,AS_OF,as-of)
NO_GENERATE := $(if $(filter 0 no false,$(GENERATE)),--no-generate)
STEPS := $(NO_GENERATE) $(call option,FROM,from) $(call option,UNTIL,until) $(call option,ONLY,only)
export CUSTOMERS SEED DIRT PLANTED AS_OF DATA TARGET FROM UNTIL ONLY RUN WITH A B TO BACKUP CUSTOMER RECORDS BATCH

# Unknown variables are refused: `make pipeline CUSTOMER=1000` would silently use the default size.
KNOWN_pipeline := CUSTOMERS SEED DIRT PLANTED AS_OF GENERATE FROM UNTIL ONLY
KNOWN_latest := AS_OF GENERATE
KNOWN_check-landing := AS_OF
KNOWN_resume := RUN
KNOWN_compare := RUN WITH
KNOWN_rollback := RUN
KNOWN_prune := DRY_RUN
KNOWN_list := ALL
KNOWN_parity := A B
KNOWN_promote := A TO
KNOWN_nbval := SCIENCE
KNOWN_outputs := SCIENCE
KNOWN_bench := BENCH
KNOWN_mutate := MUTANT
KNOWN_forget := CUSTOMER RECORDS
KNOWN_withdraw := BATCH
KNOWN_backup := BACKUP
KNOWN_restore := BACKUP
KNOWN := DATA TARGET PYTHON VENV SHELL UV_COMPILE $(foreach goal,$(MAKECMDGOALS),$(KNOWN_$(goal)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(KNOWN) MAKE%,$(GIVEN))
ifneq ($(UNKNOWN),)
$(error make $(MAKECMDGOALS) knows no variable $(UNKNOWN); it knows $(filter-out PYTHON VENV SHELL UV_COMPILE,$(KNOWN)), in capitals)
endif

.DEFAULT_GOAL := help
.PHONY: help setup pipeline latest realism explore learn science resume env parity promote lab test nbval outputs stale docs report up down status check-landing rebuild bench mutate soak lock clean format lint api

help: ## print these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.ready ## install the dependencies into .venv (other commands do so when needed)

pipeline: $(VENV)/.ready ## run the whole chain: generate, ingest, transform, publish, explore
	@$(DUCKBOOK) run $(STORE) $(SIZE) $(WHEN) $(STEPS)

latest: $(VENV)/.ready ## run one more day: generate the latest 30 days, ingest, transform, publish
	@$(DUCKBOOK) latest $(STORE) $(WHEN) $(NO_GENERATE)

realism: $(VENV)/.ready ## compare the generated data with published figures (5,000 customers or more)
	@$(DUCKBOOK) run $(STORE) --only realism

explore: $(VENV)/.ready ## analyze sales, customers, products, the funnel and operations in the published marts
	@$(DUCKBOOK) run $(STORE) --only explore

.PHONY: bi bi-env forget withdraw backup restore
bi: $(VENV)/.ready ## copy the published marts for BI to a Postgres schema, and to Parquet in S3
	@$(DUCKBOOK) run $(STORE) --only bi

bi-env: $(VENV)/.ready ## print shell variables for psql and BI tools (docs/bi.md)
	@$(DUCKBOOK) bi-env $(STORE)

learn: $(VENV)/.ready ## check your solutions of the exercises in notebooks/learn/01_exercises.ipynb
	@$(DUCKBOOK) run $(STORE) --only learn

science: $(VENV)/.ready-science ## train and evaluate models on the published marts (5,000 customers or more)
	@$(DUCKBOOK) run $(STORE) --only science

resume: $(VENV)/.ready ## resume a run that failed: make resume RUN=run_id
	@$(DUCKBOOK) resume $(call argument,RUN) $(STORE)

.PHONY: list compare rollback prune
list: $(VENV)/.ready ## list the runs of the data folder, newest first (ALL=1: of all data folders)
	@$(DUCKBOOK) list $(STORE) $(if $(filter-out 0 no false,$(ALL)),--all)

compare: $(VENV)/.ready ## compare two runs: make compare RUN=run_id WITH=run_id (default: the newest)
	@$(DUCKBOOK) compare $(STORE) $(call argument,RUN) $(call argument,WITH)

rollback: $(VENV)/.ready ## point readers at an earlier publication: make rollback RUN=run_id
	@$(DUCKBOOK) rollback $(STORE) $(call argument,RUN)

prune: $(VENV)/.ready ## remove the oldest runs and publications; DRY_RUN=1 only lists them
	@$(DUCKBOOK) prune $(STORE) $(if $(filter-out 0 no false,$(DRY_RUN)),--dry-run)

lab: $(VENV)/.ready ## start the servers and open the notebooks in JupyterLab
	@$(DUCKBOOK) lab $(STORE)

test: $(VENV)/.ready-dev ## run all tests, and compare the notebooks with their committed outputs
	@$(BIN)/python -m pytest tests notebooks -n 3 --no-loadscope-reorder -q -rs --durations=12

nbval: $(VENV)/.ready-dev $(if $(SCIENCE),$(VENV)/.ready-science) ## run the notebooks and compare them with their committed outputs (SCIENCE=1: data science)
	@$(BIN)/python -m pytest notebooks -q $(if $(SCIENCE),--science)

outputs: $(VENV)/.ready-dev $(if $(SCIENCE),$(VENV)/.ready-science) ## refresh the notebooks' committed outputs from the default run (SCIENCE=1: data science)
	@$(DUCKBOOK) outputs $(if $(SCIENCE),--science)

stale: $(VENV)/.ready ## list notebooks whose committed outputs are older than their sources
	@$(DUCKBOOK) stale

docs: $(VENV)/.ready ## build the dbt documentation of the warehouse as one page
	@$(DUCKBOOK) docs $(STORE)

parity: $(VENV)/.ready ## compare two targets, row by row: make parity A=duckdb B=lake
	@$(DUCKBOOK) parity $(STORE) "$${A:-duckdb}" "$${B:-lake}"

promote: $(VENV)/.ready ## copy a warehouse to another target, verify parity and publish: make promote TO=motherduck
	@$(DUCKBOOK) promote $(STORE) "$${TO:-motherduck}" $(call option,A,from)

report: $(VENV)/.ready ## open the page of the newest run
	@$(DUCKBOOK) report

up: $(VENV)/.ready ## start Postgres and the object storage
	@$(DUCKBOOK) up $(STORE)

env: $(VENV)/.ready ## print shell variables for programs that land data (docs/landing.md)
	@$(DUCKBOOK) env $(STORE)

down: $(VENV)/.ready ## stop Postgres and the object storage; their data remain
	@$(DUCKBOOK) down $(STORE)

status: $(VENV)/.ready ## show the servers, the contents of the warehouse, and how the newest run ended
	@$(DUCKBOOK) status $(STORE)

check-landing: $(VENV)/.ready ## check landed data before a run with GENERATE=0, without changing anything
	@$(DUCKBOOK) check-landing $(STORE) $(WHEN)

rebuild: $(VENV)/.ready ## rebuild the warehouse from the history in S3
	@$(DUCKBOOK) rebuild $(STORE)

bench: $(VENV)/.ready-dev $(VENV)/.ready-bench ## compare the chain with plain papermill and with the limits of the machine
	@$(BIN)/python tests/bench/run.py $(BENCH)

mutate: $(VENV)/.ready-dev ## break the dbt models one at a time, and count the defects that dbt tests catch
	@$(BIN)/python tests/mutate/run.py $(MUTANT)

soak: $(VENV)/.ready-dev ## run the long versions of the fault and property tests
	@$(BIN)/python -m pytest tests -q --soak

lock: $(VENV)/.ready ## resolve the dependencies again into the lock files
	@$(BIN)/uv pip compile $(UV_COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	@$(BIN)/uv pip compile $(UV_COMPILE) pyproject.toml -c requirements-dev.lock -o requirements.lock
	@$(BIN)/uv pip compile $(UV_COMPILE) pyproject.toml --group science -c requirements-dev.lock -o requirements-science.lock
	@$(BIN)/uv pip compile $(UV_COMPILE) pyproject.toml --group bench -c requirements-dev.lock -o requirements-bench.lock
	@$(BIN)/uv pip compile $(UV_COMPILE) --group setup -c requirements-dev.lock -o requirements-setup.lock

forget: $(VENV)/.ready ## erase a person for good, and prove it: make forget CUSTOMER=customer_id
	@$(DUCKBOOK) forget $(STORE) $(call option,RECORDS,records) $(call argument,CUSTOMER)

withdraw: $(VENV)/.ready ## withdraw a batch from the history: make withdraw BATCH=batch_id
	@$(DUCKBOOK) withdraw $(STORE) $(call argument,BATCH)

backup: $(VENV)/.ready ## back up the history and bookkeeping: make backup BACKUP=folder
	@$(DUCKBOOK) backup $(STORE) $(call argument,BACKUP)

restore: $(VENV)/.ready ## restore a backup into an empty data folder: make restore BACKUP=folder DATA=folder
	@$(DUCKBOOK) restore $(STORE) $(call argument,BACKUP)

clean: ## delete the data folder, after asking
	@if [ -x $(DUCKBOOK) ]; then $(DUCKBOOK) clean $(STORE); else echo "Nothing to clean: there is no $(VENV)."; fi

format: $(VENV)/.ready-dev ## format the Python, the notebooks and the SQL
	@$(BIN)/ruff format lib tests notebooks conftest.py
	@$(BIN)/ruff check --fix lib tests notebooks conftest.py
	@cd dbt && ../$(BIN)/sqlfluff fix -q models

api: $(VENV)/.ready-dev ## write docs/api.md again from the docstrings
	@$(BIN)/python tests/api_page.py

lint: $(VENV)/.ready-dev ## check the style and types of the Python, the notebooks, the SQL, and the order of the folders
	@$(BIN)/ruff format --check lib tests notebooks conftest.py
	@$(BIN)/ruff check lib tests notebooks conftest.py
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@cd dbt && ../$(BIN)/sqlfluff lint models

UV_COMPILE := --quiet --universal --upgrade --python-version 3.11 --no-annotate --no-header --generate-hashes

# pip installs uv, and uv installs a whole lock file in seconds. All packages, including uv and build tools, have the
# version and hash of a lock file. Set-up prints to stderr, because other programs read the output of `make env`.
$(BIN)/uv: requirements-setup.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "duckbook needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): run make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Set-up 1/3: a virtual environment in $(VENV)" >&2
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: install the venv module of your Python (Debian, Ubuntu: apt install python3-venv)"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock
	@touch $@

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/uv
	@echo "Set-up 2/3: $$(grep -c == requirements.lock) packages from requirements.lock" >&2
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes --compile-bytecode -r requirements.lock 2>&1 | grep -v '^ [+~-] ' >&2 ; exit $${PIPESTATUS[0]}
	@echo "Set-up 3/3: the helper library from lib/duckbook" >&2
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "Set-up for development: the tools of requirements-dev.lock" >&2
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes --compile-bytecode -r requirements-dev.lock 2>&1 | grep -v '^ [+~-] ' >&2 ; exit $${PIPESTATUS[0]}
	@touch $@

$(VENV)/.ready-science: requirements-science.lock $(VENV)/.ready
	@echo "Set-up for science: the libraries of requirements-science.lock" >&2
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes --compile-bytecode -r requirements-science.lock 2>&1 | grep -v '^ [+~-] ' >&2 ; exit $${PIPESTATUS[0]}
	@touch $@

$(VENV)/.ready-bench: requirements-bench.lock $(VENV)/.ready
	@echo "Set-up for benchmarks: the packages of requirements-bench.lock" >&2
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes --compile-bytecode -r requirements-bench.lock 2>&1 | grep -v '^ [+~-] ' >&2 ; exit $${PIPESTATUS[0]}
	@touch $@
