# Everything a fresh machine with Python, pip and make needs, in one place: each target
# sets up what it uses. `make demo` and `make test` are the two to begin with.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH := $(VENV)/bench
# The footer shows the version. Who publishes the pages sets DOCS_REPOSITORY to the address of
# the repository, and DOCS_EDIT to that of docs/ in its editor, for a link on every page.
DOCS = DOCS_VERSION="$$($(BIN)/python -c 'import kvwrap; print("kvwrap", kvwrap.__version__)')" $(BIN)/zensical

# Bytecode is kept, whatever the environment says: the tests start about a thousand processes, and
# each would compile kvwrap anew.
unexport PYTHONDONTWRITEBYTECODE

# Where every server is required, those that take minutes to compile are built too.
SERVERS := $(if $(KVWRAP_REQUIRE_SERVERS),,--quick --optional)

.PHONY: demo test test-fast test-environments check format docs bench soak servers clean

demo: $(INSTALLED)
	$(BIN)/python -m scripts.servers --optional redis
	$(BIN)/python -m examples.demo

test: $(INSTALLED)
	$(BIN)/python -m scripts.servers $(SERVERS)
	$(BIN)/python -m pytest -n auto

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n auto -m "not server and not slow"

# Other versions of Python and of py-key-value, in environments of their own outside the checkout.
test-environments: $(INSTALLED)
	$(BIN)/python -m scripts.environments

soak: $(INSTALLED) servers
	KVWRAP_SOAK=1 $(BIN)/python -m pytest -n auto

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_structure.py tests/docs/test_language.py tests/docs/test_reference.py
	$(DOCS) build --strict

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(DOCS) serve

# In an environment of its own: the fastest versions to compare with clash with those of the tests.
bench: $(BENCH)/.installed
	$(BENCH)/bin/python -m scripts.servers
	$(BENCH)/bin/python -m benchmarks $(ARGS)

servers: $(INSTALLED)
	$(BIN)/python -m scripts.servers

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	touch $(INSTALLED)

$(BENCH)/.installed: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BENCH)/bin/python -m pip install --quiet --editable ".[all]" --group bench
	touch $(BENCH)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
