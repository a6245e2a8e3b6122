# Each target sets up what it needs and can be run again cheaply: the stamps below hold what is
# installed, and depend on what says so. `make PYTHON=/path/to/python3.12 ...` chooses a Python.

VENV := .venv
LMMS_VENV := .venv-lmms
DOCS_VENV := .venv-docs
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# torch on Linux usually comes with several GB of CUDA packages. On a machine without a GPU, name the
# index of PyTorch's CPU builds (see pytorch.org, "Get started") to avoid them: make TORCH_INDEX=URL ...
TORCH_INDEX ?=
TEST_WORKERS ?= logical

.PHONY: help demo test test-slow test-page test-lmms test-peers gpu-check lint format parity ablations web docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.package  ## Draw pictures and answer questions with mini; results in demo/index.html
	$(BIN)/python -m janusflow.cli.main demo --output demo

docs: $(DOCS_VENV)/.docs  ## Build the documentation's site in site/, in an environment of its own; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

test: $(VENV)/.dev  ## Run the tests, without the slow ones, in TEST_WORKERS processes (one a core)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" \
	    --numprocesses $(TEST_WORKERS) --dist worksteal --max-worker-restart 0

test-slow: $(VENV)/.dev  ## Run the slow tests, one after another
	$(BIN)/python -m pytest -m slow

test-page: $(VENV)/.dev  ## Test the web page in headless Chromium; its screenshots: IMAGES=docs/images
	$(BIN)/python -m pytest tests/serving/page
	$(if $(IMAGES),$(BIN)/python tests/serving/page/screenshots.py $(IMAGES))

test-lmms: $(LMMS_VENV)/.lmms  ## Test the plug-in for lmms-eval, in an environment of its own (2.4 GB)
	$(LMMS_VENV)/bin/python -m pytest tests/evaluation/lmms

gpu-check: $(VENV)/.dev  ## Try everything on the GPU in eight minutes; OFFICIAL=DIR names the authors' code
	$(BIN)/python benchmarks/gpu_check.py $(if $(OFFICIAL),--official $(OFFICIAL))

test-peers: $(VENV)/.dev  ## Run transformers' own tests over ours; downloads its source once (11 MB)
	$(BIN)/python tests/peers/transformers_suite/compare.py

lint: $(VENV)/.dev  ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/.dev  ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

parity: $(VENV)/.dev  ## Compare with the authors' code; JANUSFLOW_REFERENCE=DIR names the tensors
	$(BIN)/python tests/parity/report.py

ablations: $(VENV)/.dev  ## Run the paper's ablations at mini's scale (hours); see docs/ablations.md
	$(BIN)/python recipes/mini/ablations/run.py --page docs/ablations.md

web: $(VENV)/.dev  ## Put the page together that draws in a browser (docs/web/dist); needs npm
	$(BIN)/python docs/web/build.py

clean:  ## Remove the environment and what the tools left
	rm -rf $(VENV) $(LMMS_VENV) $(DOCS_VENV) site .peers .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The environment

$(VENV)/.package: pyproject.toml constraints/cpu.txt | $(VENV)/.torch
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints/cpu.txt | $(VENV)/.torch
	$(BIN)/pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/.package

# lmms-eval asks for torchvision, which must not choose another torch. Its CUDA build beside a CPU torch
# breaks transformers, and lmms-eval runs without it.
$(LMMS_VENV)/.lmms: pyproject.toml constraints/cpu.txt
	@$(MAKE) --no-print-directory VENV=$(LMMS_VENV) $(LMMS_VENV)/.torch
	$(LMMS_VENV)/bin/pip list --format=freeze | grep '^torch==' > $(LMMS_VENV)/torch.txt
	$(LMMS_VENV)/bin/pip install --quiet -c $(LMMS_VENV)/torch.txt -e ".[dev,lmms]"
	@$(LMMS_VENV)/bin/python -c 'import torchvision' 2> /dev/null \
	    || $(LMMS_VENV)/bin/pip uninstall --quiet --yes torchvision
	@touch $@

# Only what the extra `docs` names: the site is made of Markdown, not of the package.
$(DOCS_VENV)/.docs: pyproject.toml
	@$(MAKE) --no-print-directory VENV=$(DOCS_VENV) $(DOCS_VENV)/bin/python
	$(DOCS_VENV)/bin/python -c 'import tomllib; read = tomllib.load(open("pyproject.toml", "rb")); \
	    print(*read["project"]["optional-dependencies"]["docs"], sep="\n")' > $(DOCS_VENV)/docs.txt
	$(DOCS_VENV)/bin/pip install --quiet -r $(DOCS_VENV)/docs.txt
	@touch $@

$(VENV)/.torch: constraints/cpu.txt | $(BIN)/python
	@if command -v nvidia-smi > /dev/null; then \
	    echo "Installing torch for the GPU"; \
	    $(BIN)/pip install --quiet torch; \
	else \
	    echo "No GPU found: installing torch as constraints/cpu.txt says"; \
	    $(BIN)/pip install --quiet -c constraints/cpu.txt \
	        $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch; \
	fi
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; \
	    then echo "Making $(VENV) with $$python"; exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "No Python 3.11 or newer with venv found. Install one (Debian: python3-venv), or name" \
	    "it: make PYTHON=/path/to/python3 ..." >&2; exit 1
