# Two commands do everything: `make course` and `make test`. The first call sets up .venv; later calls install nothing.
PYTHON ?= python3
LESSONS ?=
DECKS ?=
TASKS ?=
SUBMISSIONS ?= submissions
OUT ?= build/grades
# The public address that `make stamp` writes, and its branch; empty: git's origin, and the branch as it is.
REPOSITORY ?=
BRANCH ?=
COLAB_PYTHON ?= python3
# On Linux without a GPU, extra words for the torch install can spare gigabytes of CUDA: see README, "Instalação".
TORCH_ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
# a terminal sees pip's progress bars, a log is spared them
PIP := $(PY) -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)
READY := $(VENV)/.ready
CLUSTER := $(VENV)/.cluster
SITE := $(VENV)/.site
GPU_SOURCE := $(VENV)/gpu-src/.ready

.PHONY: course test test-cluster test-colab test-site canary lab notebooks tasks grade models slides site stamp bench setup clean
.DELETE_ON_ERROR:

course: $(READY)
	@$(PY) -m afina.cli course $(LESSONS)

test: $(READY) $(GPU_SOURCE)
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(PY) -m pytest -n 2 --nbval-lax tests notebooks

# `afina prep` by Daft on Ray, and `afina train` by Ray Train, on a local cluster of two workers (installs the [cluster] extra the first time).
test-cluster: $(CLUSTER)
	@$(PY) -m pytest tests/scale

# Each lesson and task opened in a simulated Colab (Linux; downloads what Colab has): `make test-colab COLAB_PYTHON=python3.13`.
test-colab: $(READY)
	@$(PY) -m workshop.colab_room --python "$(COLAB_PYTHON)"

# The site built and opened in a headless Chromium, where there is one.
test-site: $(SITE)
	@$(PY) -m pytest tests/workshop/test_site.py

# Do newer versions break the course? Fresh environments, some minutes each; the report is build/canary/report.md, or `make canary SETS="beyond"`.
SETS ?=
canary: $(READY) $(GPU_SOURCE)
	@TORCH_ARGS='$(TORCH_ARGS)' $(PY) -m workshop.canary $(if $(SETS),--sets $(SETS))

lab: $(READY)
	@cd notebooks && ../$(VENV)/bin/jupyter lab 00_start_here.ipynb

# Rebuild the notebooks whose source changed, or `make notebooks LESSONS="02"`; first the diagrams, from workshop/diagrams.
notebooks: $(READY)
	@$(VENV)/bin/ruff format --quiet notebooks/src
	@$(PY) -m workshop.pictures
	@$(PY) -m workshop.notebooks $(LESSONS)

# Rebuild the tasks whose source changed, or `make tasks TASKS="t01"`: the student's notebook and the worked solution.
tasks: $(READY)
	@$(VENV)/bin/ruff format --quiet tasks
	@$(PY) -m workshop.tasks $(TASKS)

# Grade a folder of submitted tasks: `make grade SUBMISSIONS=folder OUT=folder`.
grade: $(READY)
	@$(PY) -m afina.cli grade "$(SUBMISSIONS)" --out "$(OUT)"

# The course's own foundation models, from data/ with the lessons' code; some CPU minutes each.
models: $(READY)
	@$(PY) -m workshop.make.bert
	@$(PY) -m workshop.make.llama
	@$(PY) -m workshop.make.gpt

# The slides of pdf/, from pdf/src, or `make slides DECKS="03"`.
slides: $(READY)
	@$(PY) -m workshop.slides $(DECKS)

# The course as static pages in build/site (installs Sphinx the first time).
site: $(SITE)
	@$(PY) -m workshop.site

# Give the course another public address everywhere, a fork's: `make stamp REPOSITORY=https://github.com/you/fork BRANCH=main`.
stamp: $(READY)
	@$(PY) -m workshop.stamp $(if $(REPOSITORY),"$(REPOSITORY)") $(if $(BRANCH),--branch "$(BRANCH)")

# Every performance claim again, on a quiet machine, then the READMEs' tables; or `make bench BENCHMARKS="gpt serve"`.
BENCHMARKS ?= data_prep data_scale validator bpe gpt classify bert sft train cloud serve grade growth
bench: $(CLUSTER)
	@for name in $(BENCHMARKS); do echo "benchmarks/$$name.py"; $(PY) benchmarks/$$name.py || exit 1; done
	@$(PY) benchmarks/table.py

# torch first and alone: an unpinned or later torch would bring another build. The stamp is written last, so a set-up
# that was cut off runs again.
setup: $(READY)
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Afina precisa de Python 3.11 ou mais novo; aqui há " + sys.version.split()[0] + ". Use: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Instalando o curso em $(VENV) (uma vez só; cerca de 2 GB em disco)…"
	@$(PIP) $(TORCH_ARGS) "$$(grep '^torch==' requirements.txt)"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(PY) -c 'import matplotlib.font_manager'  # builds the font cache now, not inside the first lesson
	@touch $(READY)

$(CLUSTER): $(READY)
	@$(PIP) -r requirements.txt --no-build-isolation --editable ".[cluster]"  # the pins again: a constraints file may hold no extras
	@touch $(CLUSTER)

$(SITE): requirements-site.txt | $(READY)
	@$(PIP) -r requirements-site.txt
	@touch $(SITE)

# Unsloth's source, to read its signatures: out of Python's path, since importing it needs a GPU.
$(GPU_SOURCE): requirements-gpu.txt | $(READY)
	@rm -rf $(VENV)/gpu-src
	@$(PIP) --quiet --no-deps --target $(VENV)/gpu-src $$(grep '^unsloth' requirements-gpu.txt)
	@rm -rf $(VENV)/gpu-src/studio
	@touch $(GPU_SOURCE)

clean:
	rm -rf build
