# Each target is one chore of scripts/make.py, which also runs where there is no make: py scripts/make.py demo
#
#   PYTHON=python3.12   the interpreter to start from
#   VENV=folder         where to install (default .venv); VENV=none uses PYTHON's own packages and installs nothing
#   TORCH=auto|cpu|cuda|cu126, TORCH_INDEX=URL   which build of torch, and from where (docs/install.md)
#   ARGS="..."          handed on, as in: make test ARGS="tests/metrics -k frechet"

PYTHON ?= python3

.PHONY: help setup demo test docs lint format clean
help setup demo test docs lint format clean:
	@command -v "$(PYTHON)" >/dev/null || { echo "setup: no $(PYTHON) found; install Python 3.11 or newer, or name one: PYTHON=/path/to/python"; exit 2; }
	@"$(PYTHON)" scripts/make.py $@ $(ARGS)
