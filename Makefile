# Sets up .venv from the lock and works in it. Needs Python 3.11, 3.12 or 3.13 with venv, git and make, nothing else.
# Values to override: PYTHON=python3.12, VENV=folder, OUT=folder.

# The first interpreter that can run the package; dsresearch/__init__.py knows which can, and why another cannot.
usable = $(shell $(1) -B -c 'import dsresearch, ensurepip' 2>/dev/null && echo $(1))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(call usable,$(name))) python3)
VENV ?= .venv
OUT ?= out/hybrid-digits-quick

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := PIP_USE_PEP517=1 $(BIN)/python -m pip --disable-pip-version-check
UV := 0.13.9
TEX := pdflatex -interaction=nonstopmode -halt-on-error

.PHONY: help install reproduce rebuild test test-all test-peers test-parity torture check paper lock clean

help:
	@sed -n 's/^\([a-z-]*\):.*##/make \1:/p' $(MAKEFILE_LIST)

install: $(READY)  ## .venv from the lock, with the command `dsresearch` in it

reproduce: $(READY)  ## the Figure 4 study on the embedded digits: trains what is missing in OUT, then its tables
	$(BIN)/dsresearch run hybrid --profile quick --data digits --out $(OUT)
	$(BIN)/dsresearch report $(OUT) --beside results/hybrid-digits-quick

rebuild: $(READY)  ## every table, figure and number anew from the committed rows; says what differs from the committed ones
	for rows in results/*/trials.csv; do $(BIN)/dsresearch report $$(dirname $$rows) >/dev/null; [ $$? -lt 2 ] || exit 1; done
	sed -n 's/^<!-- [a-z0-9_]*: dsresearch \(.*\) -->$$/\1/p' README.md docs/findings.md | sort -u | \
	while read -r words; do $(BIN)/dsresearch $$words >/dev/null; [ $$? -lt 2 ] || exit 1; done
	$(BIN)/dsresearch cost --tables docs
	$(BIN)/python benchmarks/scale_page.py
	$(BIN)/python benchmarks/native_page.py
	$(BIN)/python experiments/imagenet.py draw with out=results/imagenet-sized >/dev/null
	$(BIN)/dsresearch paper
	git diff --stat --exit-code -- README.md benchmarks/README.md docs paper results

test: $(READY)  ## the test suite without the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-peers: $(READY)  ## the tests that need PyTorch, which is installed first
	$(PIP) install --quiet --no-build-isolation -e '.[peers]'
	$(BIN)/python -m pytest -v tests/peers tests/test_bench_flax.py tests/test_layers.py tests/test_loss.py tests/test_optimiser.py
	DSRESEARCH_KERNELS=native $(BIN)/python -m pytest -v tests/peers
	DSRESEARCH_KERNELS=fused $(BIN)/python -m pytest -v tests/peers
	DSRESEARCH_KERNELS=throughout $(BIN)/python -m pytest -v tests/peers
	DSRESEARCH_KERNELS=winograd $(BIN)/python -m pytest -v tests/peers

test-parity: $(READY)  ## networks beside those of Keras and others, which are installed first; writes docs/parity.json
	$(PIP) install --quiet --no-build-isolation -e '.[parity]'
	$(BIN)/python -m pytest -v tests/parity --write-parity docs/parity.json
	$(BIN)/python -m pytest -v tests/test_layers.py
	$(BIN)/dsresearch cost --tables docs

torture: $(READY)  ## kill a study 50 times at random moments, start it eight times at once; its files must be the same
	PYTHONPATH=tests $(BIN)/python -m torture.torment --log results/measurements/torture.jsonl

check: $(READY)  ## lint, format, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dsresearch experiments
	$(BIN)/python -m pytest -q tests/test_rooms.py

paper: $(READY)  ## the replication article from results/: numbers, tables, figures, and main.pdf where TeX is installed
	$(BIN)/dsresearch paper
	@if command -v pdflatex >/dev/null; then cd paper && for pass in 1 2 3; do $(TEX) main.tex >main.txt || { tail -n 20 main.txt; exit 1; }; done; \
	else echo "no pdflatex here: apt-get install texlive-latex-recommended texlive-fonts-recommended lmodern"; fi

lock:  ## write requirements.lock anew from pyproject.toml; FLAGS=--upgrade takes the newest versions
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet uv==$(UV)
	build/lock/bin/uv pip compile --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(FLAGS) \
	    --extra dev pyproject.toml --output-file requirements.lock --quiet

clean:  ## remove .venv and caches; what was trained stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One of the packages (promise) comes as source only. It is built by the locked setuptools, which therefore goes first;
# in pip's isolated build it would be by whichever is newest that day. (Pips before 23.1 build it in an older way unless told.)
$(READY): requirements.lock pyproject.toml
	@why=$$($(PYTHON) -B -c 'import dsresearch' 2>&1) || { printf '%s\n' "$$why" | tail -n 1 >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	sed -n '/^setuptools==/,/[^\]$$/p' requirements.lock > $(VENV)/build.txt
	$(PIP) install --quiet --require-hashes -r $(VENV)/build.txt
	$(PIP) install --quiet --require-hashes --no-build-isolation -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $@
