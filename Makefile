# Everything needed on a fresh machine: Python 3.11 or newer, git, make and a package index.
#   make demo    installs, makes a ten-minute video, asks it three questions
#   make test    installs, lints, checks types, tests
# What takes long and is no test: make bench GOAL=G9, make reproduce TABLE=table3.

PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

CODE := $(wildcard src tests examples benchmarks experiments docs README.md)
# Options of the targets below.
GOAL ?=
TABLE ?=
OUT ?= miniature
SEEDS ?= 3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test suite quick evidence page clients image lint types format docs bench reproduce wheel clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

install: $(STAMP) ## make the virtual environment, or bring it up to date

# Skipped while newer than the two files that decide what is installed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  f"Python must be 3.11 or newer, got {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# No bytecode: of 14 000 files a few are ever imported, which then leave theirs.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@# For tests of other families alone, which are skipped without: see tests/torchvision_apart.py. Libraries
	@# built for CUDA are of no use here.
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt --no-deps --upgrade \
	  --target $(VENV)/torchvision torchvision timm num2words
	rm -rf $(VENV)/torchvision/torchvision.libs $(VENV)/torchvision/torchvision/*.so
	@touch $@

demo: $(STAMP) ## a ten-minute video, three questions, the evidence
	@$(BIN)/python examples/demo.py

test: lint ## everything that must hold before a change lands
	@$(MAKE) --no-print-directory -j 2 types suite

suite: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2

quick: $(STAMP) ## the tests that take no more than a few seconds each
	@$(BIN)/python -m pytest -q -n 2 -m 'not slow and not evidence and not browser and not clients and not image'

evidence: $(STAMP) ## what takes too long for make test: more mutants, 8K and 20 000 frames, every way of sharding
	@$(BIN)/python -m pytest -q -n 2 -m evidence

page: $(STAMP) ## the page in a real Chromium, which must be on the path
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[page]'
	@$(BIN)/python -m pytest -q -m browser tests/server/page

clients: $(STAMP) ## docs/clients.md through each client, installed in an environment of its own
	@$(BIN)/python -m pytest -q -m clients tests/server/test_clients.py

image: $(STAMP) ## the lines of the Dockerfile in a fresh folder, then the server as the image runs it; needs root
	@$(BIN)/python -m pytest -q -m image tests/test_dockerfile_lines.py

lint: $(STAMP) ## ruff: rules and layout
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE)

types: $(STAMP) ## mypy on every room: strict, but for what follows from transformers being untyped
	@$(BIN)/mypy --no-error-summary src/bvllm

format: $(STAMP) ## mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

docs: $(STAMP) ## the API reference, from the docstrings, into site/
	@$(BIN)/python docs/make_reference.py site

bench: $(STAMP) ## speed and memory as ratios to a plain peer: GOAL=G9, ARGS='--json run.json'
	@$(BIN)/python -m benchmarks.speed $(addprefix --goal ,$(GOAL)) $(ARGS)

reproduce: $(STAMP) ## a table of the paper in miniature: TABLE=table3, OUT=miniature, SEEDS=3, ARGS='--warm runs/nano'
	@$(BIN)/python -m experiments.reproduction $(TABLE) --out $(OUT) --seeds $(SEEDS) $(ARGS)

wheel: $(STAMP) ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what was built, the virtual environment included
	rm -rf $(VENV) dist build demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
