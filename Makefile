# make demo   installs the library and segments a generated abdomen from one marked slice
# make test   installs everything the tests need and runs all of them
# make fuzz   reads 2000 damaged files, each in a process that may fail
#
# PYTHON  the interpreter that makes the environment (3.10 or newer)
# VENV    where the environment lies
# TORCH   the PyTorch to install, e.g. TORCH="torch torchvision" for the newest
# SAM2    the SAM 2 package to install, "" for none: its tests are then skipped

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.12.1 torchvision==0.27.1
SAM2   ?= sam2==1.1.0

BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP    := $(BIN)/python -m pip --disable-pip-version-check
MADE   := $(VENV)/.made
DEMO   := $(VENV)/.installed-for-demo
TESTED := $(VENV)/.installed-for-test

.PHONY: demo test lint fuzz clean

demo: $(DEMO)
	$(BIN)/fewshotsam demo --out demo

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(TESTED)
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports

$(MADE):
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 10) else 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEMO): $(MADE) pyproject.toml
	$(PIP) install $(TORCH)
	$(PIP) install --editable .
	@touch $@

# sam2 comes last and by itself: it is built with the PyTorch that is there (it would bring another
# into a separate environment), with the setuptools and wheel of "models", without its CUDA code.
$(TESTED): export SAM2_BUILD_CUDA := 0
$(TESTED): $(DEMO) Makefile
	$(PIP) install --editable ".[test,models,docs]"
	$(if $(SAM2),$(PIP) install --no-build-isolation --no-deps "$(SAM2)")
	@touch $@

fuzz: $(TESTED)
	$(BIN)/python Testing/Benchmarks/fuzz_readers.py --inputs 2000

clean:
	rm -rf $(VENV) build dist demo *.egg-info
