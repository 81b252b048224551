# `make demo` and `make test` set themselves up: they need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
# gigabytes that a set-up needs: 7 of packages, and what pip unpacks on the way
ROOM := 10
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo diagnostics demo-full without-labels when-papers-hold tune-emoji test test-browser test-faults fuzz audit bench pictures docs documents emoji-tiny clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "clipft needs Python >= 3.11, got $$($(PYTHON) --version); set PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import shutil, sys; sys.exit(shutil.disk_usage(".").free < $(ROOM) * 1e9)' || { echo "clipft needs $(ROOM) GB of free disk to set itself up, here are $$(df -h . | awk 'NR == 2 { print $$4 }'); make room, or clone to another disk"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing clipft and what it needs into .venv (a few minutes the first time) ..."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/clipft batch papermill_runs/demo.yaml

# feature distortion, energy maps and the trade-off of the demo's runs (two minutes)
diagnostics: demo
	$(BIN)/clipft batch papermill_runs/diagnostics.yaml

# every method, three seeds, and the README's table (more than an hour on two cores)
demo-full: $(READY)
	$(BIN)/clipft batch papermill_runs/all_methods.yaml
	$(BIN)/clipft results --runs papermill_runs/out/all_methods/runs --calibration --markdown

# estimators and rules that see no label of a shift, with other hands as reference (about an hour on two cores)
without-labels: $(READY)
	$(BIN)/clipft batch papermill_runs/without_labels.yaml

# what the papers' claims depend on: 209 runs, whose records are committed (about two hours on two cores)
when-papers-hold: $(READY)
	$(BIN)/python papermill_runs/when_papers_hold.py models papermill_runs/out/when_papers_hold/models
	$(BIN)/clipft batch papermill_runs/when_papers_hold.yaml
	$(BIN)/python papermill_runs/when_papers_hold.py records papermill_runs/out/when_papers_hold/runs papermill_runs/records/when_papers_hold.csv.gz

# choose the open hyper-parameters on held-out reference images (about 40 minutes on two cores)
tune-emoji: $(READY)
	$(BIN)/clipft batch papermill_runs/tune_emoji.yaml
	$(BIN)/clipft choose --runs papermill_runs/out/tune_emoji/runs --write data_manifests/presets/emoji.yaml

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadgroup

# N kills -9 over every kind of write, and writes that fail; each goes on to the same bits (minutes; N=500: a night)
N := 50
SEED := $(shell date +%s)
test-faults: $(READY)
	$(BIN)/python tests/faults/run.py --kills $(N) --seed $(SEED)

# files as nobody would write them, N of every kind (a quarter of an hour for 1000)
fuzz: N ?= 1000
fuzz: $(READY)
	CLIPFT_FUZZ=$(N) $(BIN)/python -m pytest tests/fuzz -n auto

# advisories against the pinned packages; fails where an index has none to give
audit: $(READY)
	$(BIN)/python tests/audit.py

# the notebooks and pages in a headless Chromium, which must be there; screenshots in papermill_runs/out/screenshots
test-browser: $(READY)
	CLIPFT_SHOTS=papermill_runs/out/screenshots $(BIN)/python -m pytest tests/browser -p no:xdist -s -rs --durations=0

# the pictures of the documents, from the demo's runs and a headless JupyterLab; needs a Chromium
pictures: demo
	$(BIN)/python tests/pictures.py

bench: $(READY)
	$(BIN)/python -m pytest tests/benchmarks tests/browser/bench_explorers.py tests/browser/bench_map.py -s -o python_files='bench_*.py' -p no:xdist

# every docstring as HTML pages that open without a network: build/docs/index.html
docs: $(READY)
	$(BIN)/python tests/documents.py reference build/docs

# write again what commands make of the documents, e.g. the tables of methods
documents: $(READY)
	$(BIN)/python tests/documents.py write

# train the shipped tiny CLIP again (about 20 minutes on two cores); writes clipft/assets/emoji-tiny
emoji-tiny: $(READY)
	$(BIN)/clipft train --preset emoji_tiny/pretrain --runs runs/emoji-tiny --no-score
	$(BIN)/clipft export "$$(ls -td runs/emoji-tiny/*/ | head -1)" clipft/assets/emoji-tiny --half

clean:
	rm -rf .venv papermill_runs/out build dist
