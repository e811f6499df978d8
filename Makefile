# Two commands: make demo (find the bifurcations in the bundled scan), make test (everything passes).
# The first call makes .venv and installs the pinned packages; PYTHON chooses the interpreter (3.11 to 3.13).

PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
READY := .venv/ready

.PHONY: demo test test-slow screenshots benchmark table1 table1-medium table1-small lint clean

demo: $(READY)
	$(BIN)/carotid-landmark demo --output demo-output

# One thread per process: two processes share the machine without slowing each other down. Each begins with a half of the
# tests, so that what a module prepares is prepared once.
test: $(READY)
	OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# What takes minutes: baselines that learn, many random necks.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

screenshots: $(READY)
	QT_QPA_PLATFORM=offscreen $(BIN)/python Testing/widget/screenshots.py

# Tables in docs/results. MODELS: bundles or training runs whose equivariance is compared; default: the shipped one.
CONFIGS ?= Training/configs/small.yaml Training/configs/full-width.yaml
MODELS ?=
benchmark: $(READY)
	$(BIN)/python -m benchmarks.accuracy.equivariance $(addprefix --model=,$(MODELS))
	$(BIN)/python -m benchmarks.cost.throughput $(CONFIGS)
	$(BIN)/python -m benchmarks.cost.rendering
	$(BIN)/python -m benchmarks.cost.memory train
	$(BIN)/python -m benchmarks.cost.memory detect
	$(BIN)/python -m benchmarks.cost.detection_time

# The paper's Table 1 on digital necks, cohort included: docs/training/reproduction.md. Stopped half-way, each goes on from there.
table1 table1-medium table1-small: $(READY)
	$(BIN)/carotid-train table1 runs/$@-cohort --output runs/$@ --protocol $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt .ci/system-libraries
	@bash .ci/system-libraries
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "This Python can not make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[train,slicer,cohort,test]'
	@touch $(READY)

clean:
	rm -rf .venv build dist demo-output *.egg-info
