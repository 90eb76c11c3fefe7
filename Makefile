# make run    the whole specification on the reference and on torch, with a report
# make test   the tests of the kit
# Both create .venv and install into it, again only when pyproject.toml or constraints.txt have changed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
JOBS ?= 2
ARGS ?=

.PHONY: run test test-slow lint format bench clean install
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,dev]'
	@touch $@

run: install
	@mkdir -p $(OUT)
	@code=0; $(BIN)/autograd-conformance run --results $(OUT)/results.jsonl --overwrite --html $(OUT)/report.html \
	  -j $(JOBS) $(ARGS) || code=$$?; \
	if [ $$code -le 1 ]; then echo "report: $(abspath $(OUT))/report.html"; fi; exit $$code

test: install
	$(BIN)/python -m pytest -m "not slow and not network" -n $(JOBS) --dist loadscope $(ARGS)

# What takes minutes: marked slow, or building the wheel and installing it into an empty environment.
test-slow: install
	$(BIN)/python -m pytest -m "slow or network" $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
