# Every target makes its own .venv first, once. TORCH_INDEX=URL adds a package index, such as PyTorch's CPU wheel index.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
BENCHMARKS := $(filter-out __init__ gathered grouping,$(basename $(notdir $(wildcard benchmarks/*.py))))
# The first Python of 3.11 to 3.13 that can make virtual environments; PYTHON=... chooses another.
FIND_PYTHON = for name in $(or $(PYTHON),python3 python3.12 python3.11 python3.13); do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v "$$name" && break; done
# Tests run in two lanes, one thread each; LANES=0 runs them one after the other, in this process.
LANES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(LANES) --dist worksteal
INDEX = $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: install demo test slow check format bench clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v git >/dev/null || { echo "error: git is missing; on Debian and Ubuntu: sudo apt install git" >&2; exit 1; }
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "error: no Python 3.11, 3.12 or 3.13 that can make virtual environments;" \
			"on Debian and Ubuntu: sudo apt install python3 python3-venv (or name one: make PYTHON=/path/to/python3.12)" >&2; \
		exit 1; \
	fi; \
	test -x $(BIN)/python || { echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]" -c constraints.txt $(INDEX)
	@touch $@

demo: $(STAMP)
	$(BIN)/adapt demo --output runs/demo

test: $(STAMP)
	$(PYTEST)

slow: $(STAMP)
	$(PYTEST) -m slow

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	@test -n "$(BENCHMARKS)" || { echo "error: benchmarks/ holds no script" >&2; exit 1; }
	@set -e; for name in $(BENCHMARKS); do echo "python -m benchmarks.$$name"; $(BIN)/python -m "benchmarks.$$name"; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
