# make demo | test | test-postgresql | parity | lint | bench | up
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-postgresql parity lint bench up system clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)          ## a whole site on this machine: eight phantom studies in, eight DICOM-SEG back
	$(BIN)/sagittal demo

# Of PostgreSQL every run shows what the ledger does, its migrations and a whole site whose database crashes: those
# tests have both databases. The rest is asked of PostgreSQL by test-postgresql, which takes too long for every change.
test: lint system       ## every test; what needs a Debian package is skipped where it cannot be installed
	$(BIN)/pytest

test-postgresql: $(READY) system    ## the tests that open a ledger, once more with each ledger on a PostgreSQL of their own
	SAGITTAL_TEST_LEDGER=postgresql $(BIN)/pytest -m 'ledger and not parity'

parity: $(READY) .parity/mrsegmentator/.ready .parity/totalsegmentator/.ready    ## the authors' own programs against ours: half an hour
	SAGITTAL_PARITY=$(CURDIR)/.parity $(BIN)/pytest -m parity tests/parity
	@cat .parity/table.md

# The same torch as ours, so that no CUDA build comes in by way of another package. MRSegmentator asks for a torch
# before 2.11; its own code runs with this one, so it is installed beside what it needs and not resolved with it.
.parity/mrsegmentator/.ready: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet $(shell grep '^torch==' constraints.txt) nnunetv2==2.8.0 pydicom highdicom
	$(@D)/bin/pip install --quiet --no-deps mrsegmentator==2.0.0
	touch $@

.parity/totalsegmentator/.ready: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet $(shell grep '^torch==' constraints.txt) TotalSegmentator==2.18.0 nnunetv2==2.8.1
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

system:                 ## the real parts that tests speak to: Redis, Orthanc, dcmtk, dicom3tools, a browser and OHIF
	@.ci/system-packages
	@.ci/viewers

bench: $(READY) system .parity/mrsegmentator/.ready .parity/totalsegmentator/.ready  ## ours beside every peer, one table; `make bench FULL=1` measures all sizes, an hour and twenty minutes
	$(BIN)/python -m benchmarks $(if $(FULL),--full)

up: $(READY)            ## run the site in $(SITE)
	$(BIN)/sagittal up --site $(or $(SITE),site.toml)

clean:
	rm -rf $(VENV) demo-site
