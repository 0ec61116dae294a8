# make demo    compile, simulate and evaluate the example
# make test    lint, types and all tests
# make quick   lint, types and the everyday tests (three minutes at most)
# make docs    the documentation site in build/docs; a broken link is an error
#
# Every target sets up its own virtual environment in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
JOBS   ?= 2

.PHONY: demo test quick docs lint types venv clean

demo: $(STAMP)
	$(PY) examples/fashion_mnist/demo.py

test: lint types
	$(PY) -m pytest -n $(JOBS)

quick: lint types
	$(PY) -m pytest -n $(JOBS) -m "not slow"

docs: $(STAMP)
	$(PY) -m sphinx -b html -c docs -W --keep-going -q . build/docs

lint: $(STAMP)
	$(PY) -m ruff check .

# mypy wants a folder with the package's name, which a checkout need not have.
types: $(STAMP)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && ln -s "$(CURDIR)" "$$folder/penjing" \
	&& cd "$$folder" && "$(CURDIR)/$(PY)" -m mypy --config-file penjing/pyproject.toml \
	   --cache-dir "$(CURDIR)/.mypy_cache" -p penjing

venv: $(STAMP)

# Debian's python3.11 may come without ensurepip; then a pip outside can still fill the environment.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3.11 found; install it or set PYTHON" >&2; exit 2; }
	@echo "make: setting up $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	     && $(PYTHON) -m pip --python $(PY) install -qq pip; } \
	|| { echo "make: cannot create $(VENV); install python3.11-venv (or virtualenv)" >&2; exit 2; }
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[all]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
