# Everything a developer or a first-time user types. Needs Python 3.11 or later and make; brings the rest itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help env demo test faults check docs docs-data format bench clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## */\t/' | expand -t 12

env: $(STAMP)    ## own environment in .venv, everything installed as the lock file says

# torch is asked for first and by itself: any other way of asking may bring gigabytes of GPU libraries.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Penstock needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: env        ## the main job on real data that the project ships: train, evaluate, predict
	$(BIN)/python examples/demo.py

test: env        ## every test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests src

# On two idle cores about an hour and a half: the kills take half of it. See CONTRIBUTING.md for the variables.
faults: env      ## fault injection in its long forms: kills, power cuts, damaged files (an hour and a half)
	PENSTOCK_KILLS=2000 PENSTOCK_POWER_CUTS=1000 PENSTOCK_DAMAGED=20000 \
		$(BIN)/python -m pytest -q -n 2 tests/faults tests/test_failing.py tests/test_kept_scans.py

check: env       ## format, lint, types (strict), and whether the documentation can be built
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m sphinx --quiet -W --keep-going -E -d docs/_build/doctrees docs docs/_build/html

docs: env        ## the documentation, in docs/_build/html/index.html; a warning is an error
	$(BIN)/python -m sphinx --quiet -W --keep-going -E -d docs/_build/doctrees docs docs/_build/html
	@echo docs/_build/html/index.html

docs-data: env   ## run the pages of the documentation that need the public data sets in $$PENSTOCK_DATA
	test -d "$$PENSTOCK_DATA"
	$(BIN)/python -m pytest -q tests/test_docs.py -k public_data

format: env      ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: env       ## the benchmarks' tables (see benchmarks/README.md for the peers and the real data)
	$(BIN)/python -m benchmarks.prepare --rows 5000000
	$(BIN)/python -m benchmarks.csv_reading
	$(BIN)/python -m benchmarks.bulk_prediction
	$(BIN)/python -m benchmarks.start_up
	$(BIN)/python -m benchmarks.relational
	$(BIN)/python -m benchmarks.profile
	$(BIN)/python -m benchmarks.encoding
	$(BIN)/python -m benchmarks.adult examples/data/adult

clean:           ## remove the environment and what tests and demos left
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out docs/_build docs/reference
