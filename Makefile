# The commands that people and CI use. Everything runs in .venv, with the versions and hashes of
# requirements/; `make help` lists the targets.

PYTHON ?= python3
# the build of torch: cpu, or cuda for NVIDIA GPUs on Linux; once installed, it stays
TORCH ?= $(or $(patsubst .venv/.torch-%,%,$(wildcard .venv/.torch-*)),cpu)
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# compiled here, since compiling at first use is slower and in some containers impossible; without
# dependency resolution, since the locks are complete
INSTALL := uv pip install --quiet --compile-bytecode --no-deps --python .venv/bin/python

# What a user has set for pip, uv and Python decides where packages come from, and nothing else.
SOURCES := %INDEX_URL %FIND_LINKS %NO_INDEX %CERT %PROXY %TRUSTED_HOST %TIMEOUT %RETRIES %CACHE_DIR \
	%KEYRING_PROVIDER PIP_CONFIG_FILE UV_CONFIG_FILE UV_INDEX% UV_DEFAULT_INDEX UV_INSECURE_HOST \
	UV_NATIVE_TLS UV_SYSTEM_CERTS UV_OFFLINE UV_CONCURRENT% UV_LINK_MODE UV_NO_CACHE
HARMLESS := PYTHON PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONUNBUFFERED
unexport $(filter-out $(SOURCES),$(filter PIP_% UV_%,$(.VARIABLES)))
unexport $(filter-out $(HARMLESS),$(filter PYTHON%,$(.VARIABLES)))
# before what a pip.conf says
export PIP_USER := 0
export PIP_REQUIRE_VIRTUALENV := 0

SHAKESPEARE := data/raw/tinyshakespeare.txt
SHAKESPEARE_URL := https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt
SHAKESPEARE_MD5 := 6fb458f1232090904fb40fe944165e91

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev lock repro check test slow coverage prove campaign docs bench llama lint format ui chat shakespeare clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinyllm needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --require-hashes --requirement $<
	@touch $@

# pip, since it takes a wheel from PIP_FIND_LINKS or a mirror if PyTorch's own host cannot be reached,
# with few retries there. Another build has the same version, so it must be uninstalled first.
.venv/.torch-%: requirements/torch-%.txt .venv/.uv
	$(if $(filter-out $@,$(wildcard .venv/.torch-*)),python -m pip uninstall --quiet --yes torch)
	python -m pip install --quiet --retries 2 --no-compile --no-deps --require-hashes --requirement $<
	@rm -f .venv/.torch-* && touch $@

.venv/.installed: pyproject.toml requirements/runtime.txt .venv/.torch-$(TORCH)
	$(INSTALL) --require-hashes --requirement requirements/runtime.txt
	$(INSTALL) --no-build-isolation --config-setting editable_mode=compat --editable .
	@touch $@

.venv/.installed-dev: requirements/dev.txt .venv/.installed
	$(INSTALL) --require-hashes --requirement $<
	@touch $@

setup: .venv/.installed ## Create the virtual environment (TORCH=cuda: with the CUDA build of torch)
	@[ '$(origin PYTHON)' != 'command line' ] || [ "$$($(PYTHON) -V)" = "$$(.venv/bin/python -V)" ] || \
		{ echo '.venv holds another Python than $(PYTHON); delete .venv first.'; exit 1; }
	@! grep -qsx /tinyshakespeare.txt.dvc data/raw/.dvcignore || rm data/raw/.dvcignore # of earlier versions

setup-dev: .venv/.installed-dev setup

lock: .venv/.uv ## Recreate the locks of requirements/ (versions stay; requirements/lock --upgrade)
	requirements/lock

repro: setup ## Run the pipeline: prepare, tokenize, train, evaluate, export
	@python -m tinyllm.app.repository
	dvc repro
	@tinyllm summary

check: setup-dev lint ## Lint and the fast tests, for work in progress
	python -m pytest --numprocesses 2 --dist worksteal -m 'not slow and not medium and not exhaustive'

test: setup-dev lint ## Run all checks but the slow proofs: ruff, mypy, pytest with coverage
	python -m pytest --numprocesses 2 --dist worksteal -m 'not slow and not exhaustive' --cov --cov-report=term --cov-fail-under=88

slow: setup-dev ## Run the slow tests: queues, kills, servers, sweeps, the commands of the documents
	python -m pytest --numprocesses 2 --dist loadfile -m 'slow and not exhaustive'

coverage: setup-dev ## Measure what both groups cover, 95 % of the lines at least (takes a third longer)
	python -m pytest --numprocesses 2 --dist loadfile -m 'not exhaustive' --cov --cov-report=term --cov-fail-under=95

prove: setup-dev ## Inject faults, kill the pipeline, open the exports in fresh environments
	python -m pytest -m exhaustive

campaign: setup-dev ## Try every fault of the campaign, and write docs/reliability.md
	python -m tests.campaign --write

docs: setup-dev ## Build the API reference into site/
	python docs/reference.py site

bench: setup-dev shakespeare ## Compare with the well-known small recipe for CPUs; profile a step
	python benchmarks/peer.py $(SHAKESPEARE)
	python benchmarks/step_time.py
	mkdir -p .tinyllm
	python benchmarks/step_parts.py --plot .tinyllm/step.png
	python benchmarks/step_parts.py presets/shakespeare-98s.yaml

llama: setup-dev ## Build llama.cpp's Python package (minutes), so that the tests open GGUF in it
	CMAKE_ARGS='-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF' \
		$(INSTALL) --no-binary llama-cpp-python --require-hashes --requirement requirements/llama.txt

lint: setup-dev
	ruff check .
	ruff format --check .
	mypy
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: setup-dev ## Format the code
	ruff check --fix .
	ruff format .

ui: setup ## Compare runs in the browser (MLflow, http://localhost:5000; PORT=5001: at another port)
	@python -m tinyllm.app.ui $(or $(PORT),5000)

chat: setup ## Talk to the model that was trained last
	tinyllm console

shakespeare: setup ## Fetch Tiny Shakespeare, or take the file that is there, and verify it
	[ -e $(SHAKESPEARE) ] || dvc get-url --quiet --force $(SHAKESPEARE_URL) $(SHAKESPEARE)
	python -c 'import hashlib, sys; sys.exit(hashlib.md5(open("$(SHAKESPEARE)", "rb").read()).hexdigest() != "$(SHAKESPEARE_MD5)" and "$(SHAKESPEARE) is not the known text: its MD5 is not $(SHAKESPEARE_MD5)")'
	[ -e $(SHAKESPEARE).dvc ] || dvc add --quiet $(SHAKESPEARE)
	@echo 'Train on it: dvc exp run -S prepare.source=$(SHAKESPEARE)'
	@echo 'For experiments in copies: git add $(SHAKESPEARE).dvc && git commit'

clean: setup ## Delete what the pipeline wrote; the environment and the runs in MLflow stay
	python -m stages.clean
	rm -f $(addprefix reports/evaluate/,curves.png positions.png surprise.png samples.txt)
	rm -rf .tinyllm/training .tinyllm/logs .pytest_cache .mypy_cache .ruff_cache htmlcov .coverage .coverage.*
