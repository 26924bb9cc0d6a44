# What can one do here? install, demo, test, check, bench.
PYTHON ?= python3.11
PY := .venv/bin/python
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help install demo test check check-code bench clean

help:
	@echo "make demo     set up, then audit a generated cohort; ends with the path of report.html"
	@echo "make test     set up, then all tests (as root on Debian it installs SLURM and Apptainer too)"
	@echo "make check    ruff, mypy, import-linter and the fast tests"
	@echo "make bench    measure against what one would use instead; writes benchmarks/README.md"

.venv/.installed: pyproject.toml
	command -v $(PYTHON) >/dev/null || { echo "lamstore needs Python 3.11: set PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	# The CPU build, pinned and first: an unpinned torch pulls gigabytes of CUDA.
	$(PY) -m pip install --quiet torch==2.13.0
	$(PY) -m pip install --quiet -e '.[dev]'
	touch $@

install: .venv/.installed

demo: install
	.venv/bin/lam demo demo

# As root on Debian the real SLURM and Apptainer come along; elsewhere their tests say why they skip.
# Three processes: two mostly wait for their clusters.
test: install
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then bash tests/cluster/install.sh; fi
	$(PY) -P -m pytest -n 3 --dist loadgroup

check: check-code
	$(PY) -P -m pytest -n 2 --dist loadgroup -m "not slow and not slurm" -q

check-code: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: install
	$(PY) -m pip install --quiet -e '.[bench]'
	$(PY) -m benchmarks

clean:
	rm -rf .venv demo
