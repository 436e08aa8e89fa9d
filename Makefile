# Everything runs in a virtual environment that these rules make; only Python 3.11+ and make have to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
MODEL ?= default
COUNT ?= 100000
SEED ?= 0
# Programs of others that have to get along with our server, each in a folder of its own
CLIENTS := nninteractive-client==2.5.1 nninteractive-client==2.6.0 monailabel==0.8.5

# A test at a time for each core, with its share of the threads (Server/tests/conftest.py)
PYTEST := $(BIN)/python -m pytest --dist loadgroup
# And one more where tests wait for the clusters that they started
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

WEB := .venv-web
OLDEST := .venv-oldest

.PHONY: demo test quick lint types unit fuzz benchmark view test-web test-oldest constraints clean help

help:  ## list the rules
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

demo: $(VENV)/demo-ready  ## segment three organs of the bundled CT: make demo [MODEL=checkpoint]
	$(BIN)/sammed3d demo --model "$(MODEL)" --output demo-output --force

test: lint types unit  ## set everything up and pass all tests

lint: $(VENV)/test-ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/test-ready  ## check types: of the package, and of the Slicer module's files without a window
	cd Server && ../$(BIN)/mypy sammed3d
	if $(BIN)/python -c 'import slicer_core' 2>/dev/null; then \
		$(BIN)/python SAMMed3DSegment/Testing/SlicerHarness/makeStubs.py $(VENV)/stubs && \
		cd SAMMed3DSegment && MYPYPATH=../$(VENV)/stubs:../Server ../$(BIN)/mypy SAMMed3DSegmentLib; \
	else echo "slicer-core is not on this platform: types of the Slicer module are not checked"; fi

quick: $(VENV)/test-ready  ## lint and the tests that take seconds, while you work
	$(BIN)/ruff check
	$(PYTEST) --numprocesses auto -m "not slow"

unit: $(VENV)/test-ready
	$(PYTEST) --numprocesses $(WORKERS) --durations 10

fuzz: $(VENV)/test-ready  ## send 100,000 mutated requests to a server in one process: make fuzz [SEED=7] [COUNT=100000]
	PYTHONPATH=Server/tests $(BIN)/python Server/tests/fuzz.py --count $(COUNT) --seed $(SEED)

benchmark: $(VENV)/test-ready  ## compare with baselines on this machine
	for script in encoder around_the_network precision runtimes slicer_click slicer_event_loop server; do $(BIN)/python benchmarks/$$script.py || exit 1; done

view: $(WEB)/ready  ## open the page in a browser: make view [VOLUME=ct.nii.gz]
	$(WEB)/bin/sammed3d view $(if $(VOLUME),"$(VOLUME)")

test-web: $(WEB)/ready  ## use that page in Chromium, as a person would
	$(WEB)/bin/python -m pytest -rs Server/tests/web

test-oldest: $(OLDEST)/ready  ## pass the quick tests with the oldest versions that the package says it works with
	$(OLDEST)/bin/python -m pytest --dist loadgroup --numprocesses auto -m "not slow"

constraints: $(VENV)/test-ready  ## write down the versions in use
	@echo "# Versions with which the tests pass; keeps a clone of today working later. Made by: make constraints" > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' >> constraints.txt

clean:  ## remove what these rules made
	rm -rf $(VENV) $(WEB) $(OLDEST) demo-output

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-ready: Server/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable "Server[torch,cli]"
	touch $@

$(VENV)/test-ready: Server/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable "Server[test]"
	rm -rf $(VENV)/clients
	for client in $(CLIENTS); do $(INSTALL) --no-deps --target "$(VENV)/clients/$$client" "$$client" || exit 1; done
	touch $@ $(VENV)/demo-ready

# What the package needs itself in the lowest versions that it names, what those need in the newest
$(OLDEST)/ready: Server/pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		--editable "Server[test]"
	touch $@

# An environment of its own: trame-slicer is bound to another version of slicer-core than the tests with Slicer use
$(WEB)/ready: Server/pyproject.toml constraints-web.txt
	$(PYTHON) -m venv $(WEB)
	$(WEB)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-web.txt \
		--editable "Server[web,serve]" hypothesis nibabel playwright pytest pytest-timeout scipy
	touch $@
