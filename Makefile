# make train      a virtual environment, the vowels experiment, its evaluation
# make test       the same environment with the developers' tools: lint, types, tests
# make test-all   every case of the slow tests, and the tests also in nnx tree mode and on Python 3.12
PYTHON ?= python3
PYTHON312 ?= $(shell for p in python3.12 $(HOME)/.pyenv/versions/3.12.*/bin/python; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
WORKERS ?= 2
RUN ?= runs/vowels/$(shell date +%Y-%m-%d_%H-%M-%S)

.PHONY: train test test-fast test-all lint results clean

train: $(VENV)/installed
	$(VENV)/bin/spiketrain-train experiment=vowels hydra.run.dir=$(RUN)
	$(VENV)/bin/spiketrain-eval $(RUN)

test: lint
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal tests

test-fast: $(VENV)/installed-dev
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal -m "not slow" tests

test-all: lint
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal --every tests
	NNX_GRAPH_MODE=false NNX_GRAPH_UPDATES=false $(VENV)/bin/pytest -n $(WORKERS) --dist worksteal tests
	@test -n "$(PYTHON312)" || { echo "make test-all needs Python 3.12: make test-all PYTHON312=/path/to/python3.12"; exit 1; }
	$(MAKE) test PYTHON=$(PYTHON312) VENV=$(VENV)-3.12

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

results: $(VENV)/installed
	$(VENV)/bin/python scripts/results.py vowels

clean:
	rm -rf $(VENV) $(VENV)-3.12 .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[plots]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
