# Every target sets up what it needs: a virtual environment in .venv with the packages pinned in constraints.txt.
# They need Python 3.11 or newer and make. Name another Python with `make PYTHON=python3.12 ...`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EXAMPLES := $(filter-out examples/demo.py examples/shapes.py,$(wildcard examples/*.py))
SHORT := $(filter-out examples/detect.py examples/segment.py,$(EXAMPLES))  # the others take minutes; tests run their parts

.DEFAULT_GOAL := help
.PHONY: help setup browser demo test test-slow test-gpu check format lint types layers examples examples-short docs docs-record bench bench-train bench-infer bench-serve bench-gpu facts clean $(EXAMPLES:%=run-%)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) browser ## Create the virtual environment and install everything, pinned

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' || { \
		echo "classicnets needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating a virtual environment in $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(READY): $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing classicnets and its pinned packages into $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

browser: ## Install Chromium, in which pages are tested, if there is none (Debian, as root)
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then exit; fi >/dev/null; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "Installing Chromium, in which pages are tested" && apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium; \
	else echo "There is no Chromium, so tests of pages are skipped. On Debian, as root: apt-get install chromium"; fi

demo: $(READY) ## Train a classifier on Fashion-MNIST, measure it and predict with it
	$(BIN)/python examples/demo.py

test: $(READY) ## Run the tests, on every core
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test-slow: $(READY) ## Run the tests that take long
	$(BIN)/pytest -m slow

test-gpu: $(READY) ## Run the tests that need a GPU; without one, they fail
	$(BIN)/pytest -m gpu tests/gpu

check: lint types layers test ## Run everything that must pass: lint, types, layers, tests

format: $(READY) ## Format the code and fix what the linter can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(READY) ## Check format and style
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(READY) ## Check types
	$(BIN)/mypy

layers: $(READY) ## Check that imports point down
	$(BIN)/lint-imports

examples: $(EXAMPLES:%=run-%) ## Run every example

examples-short: $(SHORT:%=run-%) ## Run the examples that take seconds

$(EXAMPLES:%=run-%): run-%: $(READY)
	@echo "$(BIN)/python $*"
	@$(BIN)/python $*

docs: $(READY) ## Build the documentation: docs/_build/index.html; warnings are errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build
	@echo "docs/_build/index.html"

docs-record: $(READY) ## Run the commands of the pages and the notebooks, and write their output into them (half an hour)
	$(BIN)/python docs/try_it.py
	$(BIN)/python docs/run_notebooks.py

facts: $(READY) ## Write facts.json, docs/models.md and the tables of docs/training.md again
	$(BIN)/python -m classicnets.analysis.make_facts
	$(BIN)/python benchmarks/models_table.py
	$(BIN)/python benchmarks/recipe_tables.py

bench-train: $(READY) ## Measure training next to torchvision and timm (half an hour)
	$(BIN)/python benchmarks/training_peers.py
	$(BIN)/python benchmarks/loading.py

bench-infer: $(READY) ## Measure inference next to torchvision, torch.compile, ONNX Runtime and OpenVINO (12 minutes)
	$(BIN)/python benchmarks/infer.py

bench-serve: $(READY) ## Measure serving next to the engine alone, under overload, and with requests joined to batches (25 minutes)
	$(BIN)/python benchmarks/serve.py $(if $(LITSERVE_PYTHON),--litserve-python $(LITSERVE_PYTHON))
	$(BIN)/python benchmarks/micro_batches.py

bench-gpu: $(READY) ## Measure training on a GPU next to a plain loop, and the time to an accuracy; needs a GPU
	$(BIN)/python benchmarks/gpu.py

bench: $(READY) ## Run all benchmarks (hours); results go to benchmarks/results
	@set -e; for bench in $(filter-out benchmarks/report.py benchmarks/timed_training.py benchmarks/models_table.py benchmarks/recipe_tables.py benchmarks/six_networks.py benchmarks/photos_peers.py benchmarks/http_load.py benchmarks/litserve_app.py benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do \
		echo "$(BIN)/python $$bench"; $(BIN)/python $$bench; done

clean: ## Remove the virtual environment, caches and build outputs; runs/ and downloaded data stay
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
