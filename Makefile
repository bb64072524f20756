# `make repro` and `make test` are all that a new machine needs; both set up .venv first, quickly when it is up to date.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
empty :=
space := $(empty) $(empty)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) plugins/default.txt constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1

# .venv knows this folder's path and its interpreter. It is made anew where the folder was moved or copied, where its interpreter is
# gone, and where PYTHON asks for another one.
IDENTITY := import sys; print(sys.version_info[:2], sys.base_prefix)
ifneq ($(wildcard $(VENV)/installed),)
FOUND := $(shell grep -qsF '$(CURDIR)/$(VENV)/bin/' $(BIN)/pip && $(BIN)/python -c '$(IDENTITY)' 2>/dev/null)
WANTED := $(if $(filter file,$(origin PYTHON)),$(FOUND),$(shell $(PYTHON) -c '$(IDENTITY)'))
STALE := $(if $(FOUND),$(if $(filter-out $(subst $(space),_,$(FOUND)),$(subst $(space),_,$(WANTED))),another interpreter),another place)
endif

.PHONY: FORCE help setup repro test slow recipes dist faults container-check lint ui claim bench bench-training bench-tracking bench-store bench-grpo review screenshots docs clean

help:
	@echo "make repro        set up and run the pipeline (dvc repro)"
	@echo "make test         set up and run the tests"
	@echo "make slow         the tests that make test leaves out"
	@echo "make recipes      run every shipped recipe whole, by its shipped params, in an hour"
	@echo "make faults       inject every fault, and print how many ended right"
	@echo "make container-check  carry out the Containerfile and environment.yml in a Debian root (as root, on Debian)"
	@echo "make ui           open the MLflow UI on http://127.0.0.1:5000"
	@echo "make lint         ruff, mypy, and the contracts on imports"
	@echo "make bench        print what each stage took, and what the workbench adds to DVC (after make repro)"
	@echo "make bench-training  compare training speed with peers"
	@echo "make bench-tracking  what tracking costs a training, with MLflow's server up and down, in half an hour"
	@echo "make bench-store  how a large and a busy MLflow store behaves, in a quarter of an hour"
	@echo "make bench-grpo   show that GRPO teaches arithmetic, in some minutes"
	@echo "make review       look at the default run in MLflow's UI with a real browser, as a test (after make repro)"
	@echo "make docs         write docs/reference.md from the code, and the roadmap's pages from docs/roadmap.yaml"
	@echo "make screenshots  take the pictures of the docs with a real browser"
	@echo "make dist         build the wheels of the core and of every plugin, for use without a clone"
	@echo "make claim        write claim.json: this machine made dvc.lock"

setup: $(VENV)/installed

FORCE:

$(VENV)/installed: $(PROJECTS) $(if $(STALE),FORCE)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "error: Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
	  echo "python has no venv module; installing python3-venv"; \
	  { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy python3-venv; } || { echo "error: run: apt-get install python3-venv"; exit 1; }; }
	$(if $(STALE),@echo "$(VENV) is of $(STALE): it is made anew")
	[ -z "$(STALE)" -a -x $(BIN)/python ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -q -c constraints.txt hatchling editables setuptools
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[test]' -r plugins/default.txt
	$(BIN)/workbench schema --write
	@touch $@

repro: setup
	dvc repro
	workbench sync
	workbench claim

test: setup
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 pytest -n auto --dist loadfile --durations 15

faults: setup
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 pytest tests/faults -m fault -n auto --dist worksteal

# Each recipe whole, by the params that it ships: an hour.
recipes: setup
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 pytest -m whole_recipe tests/test_recipes.py

slow: setup
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 pytest -m "slow and not fault and not default_run and not whole_recipe" -n auto --dist loadfile

# Namespaces of its own, so that no mount and no process outlives it.
container-check: setup
	unshare --mount --pid --fork --kill-child --mount-proc python tests/container_check.py

lint: setup
	ruff check .
	ruff format --check .
	mypy workbench plugins/*/workbench_*
	PYTHONPATH=$(subst $(space),:,$(dir $(wildcard plugins/*/pyproject.toml))) lint-imports

ui: setup
	workbench ui

bench: setup
	python benchmarks/pipeline.py
	PYTHONPATH=tests python benchmarks/overhead.py

bench-training: setup
	python benchmarks/training.py

bench-tracking: setup
	PYTHONPATH=tests python benchmarks/tracking.py

bench-store: setup
	PYTHONPATH=tests python benchmarks/store.py

bench-grpo: setup
	PYTHONPATH=plugins/align-grpo:plugins/reward-exact-answer python benchmarks/grpo.py

review: setup
	HF_HUB_OFFLINE=1 pytest -m default_run tests/test_default_run.py

screenshots: setup
	PYTHONPATH=tests python docs/screenshots.py

docs: setup
	python docs/reference.py
	python docs/roadmap.py

# For use without a clone: `pip install --find-links dist 'pionero-workbench[default]'`.
dist: setup
	rm -rf dist
	pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . $(dir $(wildcard plugins/*/pyproject.toml))

claim: setup
	workbench claim --write

clean:
	rm -rf $(VENV)
