# Two commands from a fresh clone: `make train`, `make test`. They need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Files of tests run side by side, so each gets one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup train results docs serve app test test-slow test-engines test-gpu test-browser lint format bench bench-gpu baselines clean lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.stamp ## make .venv from the lock, where it is missing or out of date

$(VENV)/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

train: setup ## train the main job and evaluate it on the test split; ARGS="seed=1 ..." goes to train
	$(BIN)/python -m mnist_seq.train model=enc_dec data=grid test=true $(ARGS)

results: setup ## evaluate the pretrained models and update the tables of results
	$(BIN)/python -m mnist_seq.results readme=README.md tables=mnist_seq/pretrained/README.md $(ARGS)

docs: setup ## write configs/README.md from the docstrings of the config schema
	$(BIN)/python -m mnist_seq.config.reference > configs/README.md.new
	mv configs/README.md.new configs/README.md

serve: setup ## serve a demo page and an API at http://127.0.0.1:8000; ARGS="run=pretrained:single port=8080"
	$(BIN)/python -m mnist_seq.serve $(ARGS)

app: serve ## the same

test: setup ## the quick tests, in minutes
	$(PYTEST) -m "not slow and not engines and not browser"

test-slow: setup ## kills, whole commands, fuzzing
	$(PYTEST) -m slow

test-engines: setup ## searches and sweeps on a real PostgreSQL and a real Slurm (apt: postgresql slurmctld slurmd slurm-client)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint requirements.lock --group engines
	$(BIN)/python -m pytest -m engines

test-gpu: setup ## training and rendering on a GPU; without one, training runs on the CPU and the rest is skipped
	$(BIN)/python -m pytest -m gpu

test-browser: setup ## pages in a real browser (apt: chromium)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint requirements.lock --group browser
	$(BIN)/python -m pytest -m browser

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## fix the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure the speed of rendering, training, inference and start-up, against other libraries after `make baselines`
	$(BIN)/python -m mnist_seq.bench $(ARGS)

bench-gpu: setup ## measure on the GPU where there is one, else on the CPU: rendering, training, reading; a table each
	$(BIN)/python -m mnist_seq.bench device=auto 'suite=[rendering,train_step,step_profile,train_loop,inference]' $(ARGS)

baselines: setup ## install the libraries that bench compares with
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint requirements.lock --group baselines

clean: ## remove caches and builds; outputs/ and .venv stay
	rm -rf dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mnist_seq tests -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## pin the newest versions of all packages, with hashes, for every platform
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade --group dev --extra serve --extra onnx --python-version 3.11 pyproject.toml -o requirements.lock
