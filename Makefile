# One command each. Every target sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*.pyx native/*.pxi native/c/*.c native/c/*.h)

.PHONY: run test bench lint docs interop fuzz soak clean

run: $(VENV)/.ready         ## daemons on loopback, both chains: sync, prove, verify
	@$(BIN)/python -m spvnode.demo

test: $(VENV)/.dev          ## the whole test suite
	@$(BIN)/python -m pytest

bench: $(VENV)/.dev         ## ratios against named references, written to docs/benchmarks.md
	@$(BIN)/python -m tests.bench

lint: $(VENV)/.dev          ## format, lint, types, import directions, generated docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m spvnode.docs --check

docs: $(VENV)/.ready        ## writes the generated pages of docs/
	@$(BIN)/python -m spvnode.docs

interop: $(VENV)/.dev       ## real foreign peers on loopback: js-libp2p and bcoin from the npm registry, btcd by the Go module proxy
	@sh .ci/interop-setup
	@$(BIN)/python -m pytest -m interop tests/interop

fuzz: $(VENV)/.dev          ## coverage-guided fuzzing of all codecs, then the property tests with many more cases
	@$(BIN)/pip install -q --disable-pip-version-check --only-binary :all: "atheris>=3,<4" || true
	@$(BIN)/python -m tests.fuzz
	@SPVNODE_TEST_PROFILE=fuzz $(BIN)/python -m pytest -m fuzz

soak: $(VENV)/.dev          ## kill -9 at 200 random moments of a sync, and the other long ones
	@SPVNODE_TEST_PROFILE=soak $(BIN)/python -m pytest tests/crash tests/adversary

clean:
	rm -rf $(VENV) build dist *.egg-info native/*.so native/_kernels.c

$(VENV)/.ready: pyproject.toml setup.py $(NATIVE)
	@PYTHON=$(PYTHON) VENV=$(VENV) sh .ci/setup
	@touch $@

$(VENV)/.dev: $(VENV)/.ready
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[dev]"
	@touch $@
