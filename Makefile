# make demo | test | lint | bench | up
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench up system clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)          ## a whole site on this machine: eight phantom studies in, eight DICOM-SEG back
	$(BIN)/sagittal demo

test: lint system       ## every test; what needs a Debian package is skipped where it cannot be installed
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

system:                 ## the real parts that tests speak to: Redis, Orthanc, dcmtk, dicom3tools
	@.ci/system-packages

bench: $(READY) system
	$(BIN)/python -m benchmarks

up: $(READY)            ## run the site in $(SITE)
	$(BIN)/sagittal up --site $(or $(SITE),site.toml)

clean:
	rm -rf $(VENV) demo-site
