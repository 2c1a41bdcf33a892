# Two commands do everything: `make train` runs the main job, `make test` runs all checks and tests.
# Each sets up a virtual environment of its own first, once.
PYTHON ?= python3
RUN_VENV := .venv-run
DEV_VENV := .venv
LOW_VENV := .venv-lowest
SETUP := $(PYTHON) tools/setup_venv.py

.PHONY: train test setup lint smoke clean

train: $(RUN_VENV)/.ready
	@$(RUN_VENV)/bin/python -m needle train $(ARGS)

test: lint smoke
	@$(DEV_VENV)/bin/python -m pytest -n auto --dist loadfile

lint: $(DEV_VENV)/.ready
	@$(DEV_VENV)/bin/ruff check .
	@$(DEV_VENV)/bin/ruff format --check .
	@$(DEV_VENV)/bin/mypy
	@$(DEV_VENV)/bin/lint-imports
	@$(DEV_VENV)/bin/python tools/check_size.py

smoke: $(LOW_VENV)/.ready
	@$(LOW_VENV)/bin/python tools/smoke_test.py

$(RUN_VENV)/.ready: pyproject.toml tools/setup_venv.py
	@$(SETUP) $(RUN_VENV) --install ".[plots]" --editable

$(DEV_VENV)/.ready: pyproject.toml tools/setup_venv.py
	@$(SETUP) $(DEV_VENV) --install ".[plots,dev]" --editable

$(LOW_VENV)/.ready: pyproject.toml tools/setup_venv.py tools/lowest.txt
	@$(SETUP) $(LOW_VENV) --install "." --constraint tools/lowest.txt

clean:
	rm -rf $(RUN_VENV) $(DEV_VENV) $(LOW_VENV) build dist
