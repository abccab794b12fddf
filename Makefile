# make demo: everything on phantoms, from an empty folder to a page.
# make test: the tests.   make engines: those that train for long, several processes of JAX, a Slurm, a PostgreSQL, the demo.
# make docs: the documentation site, into site/.   make coverage: the tests once more, and which lines they run.
# make fuzz: damaged files for all file readers, for SECONDS (600).   make mutations: core lines changed, tests must fail.
# make faults: commands killed, disks full, files damaged; the same command must come to the same result.
# make dist: wheel and sdist, built twice and compared.   make sbom, make audit, make licences: what the package rests on.
# All make .venv and install by themselves; PYTHON names the interpreter to start from (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= boneage_demo
SECONDS ?= 600
# For make engines: tests that train for longer, where optimised programs are worth their compilation.
TRAINS := --xla_backend_optimization_level=1

.PHONY: help demo test engines docs coverage fuzz mutations faults dist sbom audit licences lint format clean

help:
	@grep -E '^# ' Makefile | head -7

# One stamp an extra, so that the demo need not wait for what only tests want.
$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'boneage-jax needs Python 3.11 or newer: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@ $(VENV)/.base

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@ $(VENV)/.base

$(VENV)/.supply: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[supply]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base
	$(BIN)/boneage demo --out $(DEMO)

test: $(VENV)/.dev
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m pytest -m 'not engine and not integration'

engines: $(VENV)/.dev
	XLA_FLAGS=$(TRAINS) GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m pytest -m 'engine or integration'

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "The documentation is site/index.html"

coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not engine and not integration' --cov --cov-report=term --cov-report=html

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

mutations: $(VENV)/.dev
	$(BIN)/python -m tests.mutation

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults --out faults.json

dist: $(VENV)/.supply
	$(BIN)/python -m tests.supply.dist

sbom: $(VENV)/.supply
	$(BIN)/python -m tests.supply.sbom

# Fails where the service of known vulnerabilities cannot be asked: docs/reference/supply-chain.md answers what it finds.
audit: $(VENV)/.supply
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

licences:
	$(PYTHON) -m venv --clear build/pinned
	build/pinned/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,dicom,clinic,node,serve,onnx,sweep,postgres,docs,supply]'
	build/pinned/bin/python -m tests.supply.licences

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) site build dist htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache
