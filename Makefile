# Two targets are for everybody: `make demo` and `make test`. Each sets up .venv by itself; the second time nothing is fetched.
PYTHON ?= python3.11
HELM ?= helm
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: demo test setup lint types layers unit controlplane namespaced generate bench bench-cluster soak sbom pins clean

demo: setup
	@$(BIN)/apportion demo

setup: $(STAMP)

$(STAMP): pyproject.toml requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH; name another with: make PYTHON=python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Apportion needs Python 3.11 or newer"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing dependencies into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

lint: setup
	$(BIN)/ruff check operator tests docs
	$(BIN)/ruff format --check operator tests docs

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

# Three workers on two cores: those of the control planes wait for other processes most of the time.
unit: setup
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report= tests
	$(BIN)/coverage report --fail-under=90

test: lint types layers unit

controlplane: setup
	PYTHONPATH=tests $(BIN)/python -m controlplane build

# All of tests/integration on the real control plane, with operators that may write in one namespace only.
namespaced: setup
	$(BIN)/python -m pytest tests/integration -k real --namespaced --all-on-real

generate: setup
	$(BIN)/apportion crds --output crds
	$(BIN)/apportion crds --output helm/apportion/files/crds
	$(BIN)/apportion reference --output docs/reference
	@command -v $(HELM) >/dev/null || { echo "$(HELM) is not on the PATH: manifests/install.yaml is left as it is"; exit 0; }; \
	{ sed '/^---$$/,$$d' manifests/install.yaml && $(HELM) template apportion helm/apportion --namespace apportion-system; } \
	  > manifests/install.yaml.new && mv manifests/install.yaml.new manifests/install.yaml

bench: setup
	PYTHONPATH=tests $(BIN)/python -m bench $(BENCH)

bench-cluster: setup
	PYTHONPATH=tests $(BIN)/python -m bench cluster $(CLUSTER)

# What is in the image, in CycloneDX: see CONTRIBUTING.md.
sbom: setup
	PYTHONPATH=tests $(BIN)/python -m image sbom dist/apportion.cdx.json

soak: setup
	PYTHONPATH=tests $(BIN)/python -m soak $(SOAK)
	PYTHONPATH=tests $(BIN)/python -m property $(CASES)

pins: setup
	$(BIN)/python -m pip freeze --exclude apportion | sed "1i # Every version that \`make test\` uses, pinned; \`make pins\` writes it anew." > requirements-dev.txt

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
