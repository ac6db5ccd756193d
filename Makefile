# `make install` makes the environment once; every other target does it by itself when it is missing.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo test test-thorough test-timm test-tools bench lint docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard src/punctum/ops/kernels/csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	rm -rf demo
	$(BIN)/punctum demo --out demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not thorough"

# Everything, for releases: every Triton kernel in the interpreter and through the compiler, more networks trained.
test-thorough: $(STAMP)
	$(BIN)/python -m pytest -n 2

# timm brings torchvision, which is no part of punctum: an environment of its own.
test-timm: .venv-timm/.installed
	.venv-timm/bin/python -m pytest tests/backbones/test_timm.py

.venv-timm/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install --quiet --upgrade pip
	.venv-timm/bin/python -m pip install --quiet -c constraints.txt -e '.[timm,test]'
	touch $@

# What Label Studio's and CVAT's own people read in our files: their packages pin many others, so an environment too.
test-tools: .venv-tools/.installed
	.venv-tools/bin/python -m pytest tests/data/test_other_converters.py

.venv-tools/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet --upgrade pip
	.venv-tools/bin/python -m pip install --quiet -c constraints.txt -e '.[test]' label-studio-sdk datumaro
	touch $@

# The CPU's benchmarks, in ten minutes; `--device cuda` runs one on a GPU.
bench: $(STAMP)
	set -e; for name in kernels sampling training inference scaling; do $(BIN)/python benchmarks/$$name.py; done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .venv-timm .venv-tools demo site build
