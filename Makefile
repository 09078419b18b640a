# `make demo` reproduces the pocket tables, `make test` runs every test; both set up .venv first.
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# A process a core, each a file at a time (fixtures are shared by file), in conftest.py's order.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder

.PHONY: demo evidence test test-fast test-slurm setup lint clean

demo: setup
	snakemake --cores $(CORES) --quiet reason
	@echo "Tables: results/pocket/tables/   Report: results/pocket/report/index.html"

# Five seeds: two hours or more on two cores. What is worth keeping goes to docs/evidence/.
evidence: setup
	snakemake --cores $(CORES) --quiet reason --configfile config/evidence.yaml -- all evidence
	mkdir -p docs/evidence && cp -r results/evidence/evidence/. docs/evidence/
	find docs/evidence -name .snakemake_timestamp -delete

test: setup lint
	$(PYTEST)

test-fast: setup
	$(PYTEST) -m "not workflow and not slurm"

# On a Slurm of one node that is started for it: root and Debian's slurm-wlm and munge, which it installs where it can.
# Elsewhere it says what is missing and passes.
test-slurm: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm -rs tests/test_slurm.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	snakemake --lint

setup: .venv/installed

.venv/installed: envs/constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11: set PYTHON=python3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "error: $(PYTHON) has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt -e '.[pocket,test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c envs/constraints.txt \
		open_clip_torch rapidocr-onnxruntime lightly pytorch-metric-learning
	touch $@

clean:
	rm -rf results logs .snakemake
