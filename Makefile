# Every target sets up .venv first where that is needed; nothing is installed outside it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NAME   ?= analogseeker
ARGS   ?=

.PHONY: help run test test-quick lint clean
.DEFAULT_GOAL := help

help: ## this text
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-16s %s\n", $$1, $$2}'
	@echo "  variables        NAME=analogseeker  ARGS='--set sft.epochs=1'  PYTHON=python3.12"

run: $(READY) ## set up, then run a recipe: make run NAME=analogseeker ARGS='--profile gpu'
	$(BIN)/python -m recipes run $(NAME) $(ARGS)

test: $(READY) ## set up, then run all tests: make test ARGS='-k config'
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-quick: $(READY) ## set up, then run the tests that need no torch and are done in seconds
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

lint: $(READY) ## style and import rules
	$(BIN)/ruff check .
	$(BIN)/lint-imports

clean: ## remove the environment and caches; results in runs/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "The environment could not be made. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(READY)
