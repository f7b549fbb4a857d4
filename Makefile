# Thin: the README shows the same with plain pip, dvc and harmoniad.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	dvc repro
	harmoniad summary

test: install
	ruff check .
	ruff format --check .
	mypy
	pytest -n 2 --dist loadgroup
