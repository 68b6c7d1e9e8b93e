# Each target sets up what it needs; tools/with_comfyui.py says where that goes.
PYTHON ?= python3
WORKERS ?= 2
RUN = $(PYTHON) tools/with_comfyui.py

.PHONY: demo test test-all company margins compat contract bench workflows lint format

demo:  ## two references in two regions: pictures in demo/
	$(RUN) workflows/demo.py $(ARGS)

PYTEST = $(RUN) --dev -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test:  ## every promise, against a real ComfyUI; WORKERS=0 for one after the other
	$(PYTEST) -m "not release" $(ARGS)

test-all:  ## every case of each promise
	HYPOTHESIS_PROFILE=full $(PYTEST) $(ARGS)

company:  ## beside real packs: PACKS=FOLDER with their checkouts, named after their repositories
	IPADAPTER_REGIONS_PACKS="$(PACKS)" $(PYTEST) tests/company $(ARGS)

margins:  ## the tests whose numbers come within a tenth of what they allow
	IPADAPTER_REGIONS_MARGINS=$$(mktemp) $(PYTEST) -p tests.margins -m "not release" $(ARGS)

compat:  ## loading and running in five ComfyUI versions; VERSIONS="0.16.3 0.30.0", ONLY=faceid for some
	COMFYUI_PATH= $(RUN) --dev tests/compat/compat.py $(VERSIONS) --only "$(ONLY)"

contract:  ## what saved workflows rely on, into tests/contract/; ARGS=--release after a release
	$(RUN) --dev tests/contract.py $(ARGS)

bench:  ## what references cost: tables in tests/bench/results/
	$(RUN) --dev tests/bench/bench.py $(ARGS)

workflows:  ## the bundled graphs, from what workflows/authoring says
	$(RUN) -m workflows.authoring.build $(ARGS)

lint:  ## style, formatting, types
	$(RUN) --dev -m ruff check .
	$(RUN) --dev -m ruff format --check .
	$(RUN) --dev -m basedpyright

format:
	$(RUN) --dev -m ruff format .
	$(RUN) --dev -m ruff check --fix .
