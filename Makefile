# Everything a person does with a checkout. `make` alone lists it.
# More arguments for the command behind a target: make test ARGS="-k proxy -x"

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
ARGS ?=

BIN := .venv/bin
STATE ?= $(CURDIR)/.serai
LLM := .cache/llm-venv
CLIENTS := .cache/clients
DEMO := $(CLIENTS)/py-0.4.24
TYPESCRIPT := 0.3.21 0.2.95
BL := github.com/blaxel-ai/toolkit
VERSITYGW := github.com/versity/versitygw
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet $(ARGS)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: .venv/.runtime ## Start Serai in the foreground; state is in .serai (or SERAI_DATA_DIR)
	@$(MAKE) console || echo "serai: starting without the web console; all else is there" >&2
	@SERAI_DATA_DIR="$${SERAI_DATA_DIR:-$(STATE)}" exec $(BIN)/serai up $(ARGS)

CONSOLE := src/serai/console/static/index.html
.PHONY: console
console: $(CONSOLE) ## Build the web console (brings Node.js along where there is none)

$(CONSOLE): .venv/.runtime scripts/console $(shell find console -type f -not -path '*/node_modules/*')
	@scripts/console
	@touch $@

.PHONY: test
test: .venv/.dev clients $(CONSOLE) ## Run the tests, in two halves at once; ARGS="-k gateway -x" runs a part in one
	@$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(MAKE) -j2 test-workloads test-platform)

# Most of either half waits for something, so that two cores hold both.
WORKLOADS := $(addprefix tests/,compute egress gateway hub network redteam runtime sandboxd storage)
CLIENTS_TESTS := tests/clients tests/examples
PLATFORM := $(filter-out $(WORKLOADS) $(CLIENTS_TESTS) %__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

.PHONY: test-workloads test-platform
test-workloads: .venv/.dev clients ## Half of the tests: sandboxes, their network and disks, the gateway
	@$(BIN)/python -m pytest -p no:cacheprovider $(WORKLOADS)
test-platform: .venv/.dev clients $(CONSOLE) ## The other half: the management API, sign-in, metering, billing
	@$(BIN)/python -m pytest -p no:cacheprovider $(PLATFORM)

.PHONY: test-clients
test-clients: .venv/.dev clients ## Run the official SDKs and CLI, of several releases, against real servers
	@$(BIN)/python -m pytest -p no:cacheprovider $(CLIENTS_TESTS) $(ARGS)

.PHONY: test-s3
test-s3: .venv/.dev .cache/programs/.versitygw ## Test drives over S3, with an S3 server built by Go
	@$(BIN)/python -m pytest tests/storage/test_s3.py $(ARGS)

.PHONY: test-redteam
test-redteam: .venv/.dev ## Run hostile programs in sandboxes, which must fail (part of `make test`; DRIVER=crun for another)
	@SERAI_TEST_DRIVER=$(DRIVER) $(BIN)/python -m pytest tests/redteam $(ARGS)

.PHONY: test-images
test-images: .venv/.dev $(DEMO)/.ready ## Build images of the hub's names, and run the SDK in each (needs mmdebstrap; SERAI_TEST_ALL_IMAGES=1 for all)
	@$(BIN)/python -m pytest -m hub tests/hub $(ARGS)

.PHONY: test-frameworks
test-frameworks: .venv/.dev $(CLIENTS)/frameworks/.ready $(CLIENTS)/ts-frameworks/.ready $(LLM)/.ready ## Run the SDKs' adapters for agent frameworks against providers' protocols, and a small model
	@$(BIN)/python -m pytest -p no:cacheprovider -m frameworks tests/frameworks $(ARGS)

.PHONY: test-builds
test-builds: .venv/.dev clients ## Deploy real projects with the official clients: packages are installed, which takes minutes
	@$(BIN)/python -m pytest -p no:cacheprovider -m builds tests/build tests/builds $(ARGS)

.PHONY: test-drivers
test-drivers: .venv/.dev .cache/drivers/image.tar $(CLIENTS)/py-0.4.24/.ready ## Test every runtime driver that is installed here, and engines started for it
	@SERAI_TEST_DRIVERS=runc,crun,runsc,bwrap,podman,docker \
		SERAI_TEST_IMAGE=$(CURDIR)/.cache/drivers/image.tar \
		$(BIN)/python -m pytest tests/runtime/test_runtime_conformance.py \
		tests/runtime/test_driver_isolation.py tests/runtime/test_drivers.py \
		tests/runtime/test_checkpoints.py tests/compute/test_live_snapshots.py \
		tests/egress/test_sandboxes.py tests/clients/test_live_snapshots.py $(ARGS)
	@for driver in crun runc bwrap runsc podman dockerd; do \
		command -v $$driver >/dev/null || continue; \
		SERAI_TEST_DRIVER=$${driver%d} SERAI_TEST_IMAGE=$(CURDIR)/.cache/drivers/image.tar \
			$(BIN)/python -m pytest tests/redteam/test_breakout.py \
			tests/redteam/test_descriptors.py tests/redteam/test_restarts.py || exit 1; \
	done

.PHONY: clients
clients: $(CLIENTS)/py-0.4.24/.ready $(CLIENTS)/py-0.4.3/.ready $(TYPESCRIPT:%=$(CLIENTS)/ts-%/.ready) $(CLIENTS)/bl/.ready $(CLIENTS)/oidc-provider/.ready $(CLIENTS)/vite/.ready $(CLIENTS)/providers/.ready ## Install the official SDKs and CLI, an OpenID provider, Vite and model clients, for the tests that run them

.PHONY: lint
lint: .venv/.dev ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: parity
parity: .venv/.dev clients ## Rewrite the conformance table and docs/reference/parity.md
	@PYTHONPATH=tests $(BIN)/python -m contract.rewrite

.PHONY: bench
bench: .venv/.dev $(DEMO)/.ready ## Measure the gateway, the sandboxes and the bill
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-usage
bench-usage: .venv/.dev ## Measure recording usage, and a year of 100 million events answered
	@$(BIN)/python -m bench usage $(ARGS)

.PHONY: bench-jobs
bench-jobs: .venv/.dev ## Measure what a task of a job costs beside what it does
	@$(BIN)/python -m bench jobs $(ARGS)

.PHONY: bench-gateway
bench-gateway: .venv/.dev ## Compare the model gateway with nginx, TensorZero, Portkey and LiteLLM (15 minutes); ARGS=--quick shows that it runs
	@$(BIN)/python -m bench.gateway $(ARGS)

.PHONY: demo
demo: .venv/.runtime $(DEMO)/.ready ## Run the official Python SDK against a server of its own
	@$(BIN)/python -m examples.demo $(ARGS)

.PHONY: demo-llm
demo-llm: .venv/.runtime $(DEMO)/.ready $(LLM)/.ready ## The demo with a small language model on this machine
	@$(BIN)/python -m examples.demo --llm $(ARGS)

.PHONY: lock
lock: .venv/.dev ## Refresh requirements/*.lock (ARGS=--upgrade for newer versions)
	@$(LOCK) pyproject.toml -o requirements/runtime.lock
	@$(LOCK) requirements/build.in -c requirements/runtime.lock -o requirements/build.lock
	@$(LOCK) pyproject.toml --group dev -c requirements/runtime.lock -c requirements/build.lock \
		-o requirements/dev.lock
	@$(LOCK) --no-deps requirements/demo-llm.in -o requirements/demo-llm.lock
	@$(LOCK) requirements/clients.in -o requirements/clients.lock
	@$(LOCK) requirements/clients-0.4.3.in -o requirements/clients-0.4.3.lock
	@$(LOCK) requirements/clients-providers.in -o requirements/clients-providers.lock
	@$(LOCK) requirements/clients-frameworks.in -o requirements/clients-frameworks.lock \
		--overrides requirements/clients-frameworks.without
	@$(LOCK) requirements/node.in -o requirements/node.lock
	@$(LOCK) requirements/bench-litellm.in -o requirements/bench-litellm.lock
	@$(LOCK) requirements/bench-tensorzero.in -o requirements/bench-tensorzero.lock

.PHONY: clean
clean: ## Remove environments and caches; state in .serai stays
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: pyproject.toml requirements/runtime.lock requirements/build.lock scripts/venv
	@scripts/venv .venv requirements/runtime.lock --project
	@touch $@

.venv/.dev: pyproject.toml requirements/dev.lock requirements/build.lock scripts/venv
	@scripts/venv .venv requirements/dev.lock --project
	@touch $@

.cache/drivers/image.tar: scripts/driver-image
	@scripts/driver-image $@

$(CLIENTS)/py-0.4.24/.ready: requirements/clients.lock scripts/venv
	@scripts/venv $(@D) requirements/clients.lock
	@touch $@

$(CLIENTS)/py-0.4.3/.ready: requirements/clients-0.4.3.lock scripts/venv
	@scripts/venv $(@D) requirements/clients-0.4.3.lock
	@touch $@

$(CLIENTS)/providers/.ready: requirements/clients-providers.lock scripts/venv
	@scripts/venv $(@D) requirements/clients-providers.lock
	@touch $@

$(CLIENTS)/frameworks/.ready: requirements/clients-frameworks.lock scripts/venv
	@scripts/venv $(@D) requirements/clients-frameworks.lock
	@touch $@

$(CLIENTS)/ts-frameworks/.ready: tests/frameworks/ts/package-lock.json scripts/node-modules
	@scripts/node-modules tests/frameworks/ts $(@D)
	@if [ -d $(@D)/node_modules ]; then touch $@; fi

$(CLIENTS)/ts-%/.ready: tests/clients/ts/%/package-lock.json scripts/node-modules
	@scripts/node-modules tests/clients/ts/$* $(@D)
	@if [ -d $(@D)/node_modules ]; then touch $@; fi

$(CLIENTS)/oidc-provider/.ready: tests/signin/provider/package-lock.json scripts/node-modules
	@scripts/node-modules tests/signin/provider $(@D)
	@if [ -d $(@D)/node_modules ]; then touch $@; fi

$(CLIENTS)/vite/.ready: tests/compute/vite/package-lock.json scripts/node-modules
	@scripts/node-modules tests/compute/vite $(@D)
	@if [ -d $(@D)/node_modules ]; then touch $@; fi

$(CLIENTS)/bl/.ready: tests/clients/bl/go.mod tests/clients/bl/go.sum scripts/go-program
	@scripts/go-program tests/clients/bl $(BL) $(@D) bl
	@if [ -x $(@D)/bl ]; then touch $@; fi

# What the S3 tests run, for those that ask for it: it takes some minutes, once.
.cache/programs/.versitygw: tests/storage/versitygw/go.mod tests/storage/versitygw/go.sum scripts/go-program
	@scripts/go-program tests/storage/versitygw $(VERSITYGW)/cmd/versitygw $(@D) versitygw $(VERSITYGW)
	@if [ -x $(@D)/versitygw ]; then touch $@; fi

$(LLM)/.ready: requirements/demo-llm.lock scripts/venv
	@scripts/venv $(LLM) requirements/demo-llm.lock
	@touch $@
