# Each target does its own set-up; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: help set-up lint unit test demo verify-main verify-buildpacks verify-apps verify-sources builder-packages bench-export bench-nodes bench-queue bench-redeploy faults faults-short up down monitoring verify-observability hostile clean verify-images verify-supply-chain images-report verify-wheel verify-archive verify-fleet verify-network verify-restore verify-sizes soak

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

set-up: $(STAMP) ## a virtual environment with pinned dependencies

$(STAMP): setup.cfg setup.py constraints.txt tools/set-up
	tools/set-up $(VENV)
	touch $@

lint: $(STAMP) ## ruff, mypy, import layers, sizes of rooms, modules and functions, plain English
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --config setup.cfg
	$(BIN)/python tools/house
	tools/words

unit: $(STAMP) ## tests that need no service
	$(BIN)/pytest --durations=20 tests/unit

.PHONY: coverage
coverage: $(STAMP) ## branches that tests/unit reach; fails below the floor in setup.cfg
	PYTHONPATH=. $(BIN)/coverage run -m pytest -q tests/unit
	$(BIN)/coverage report

.PHONY: docs
docs: $(STAMP) ## docs/ as a site in build/site, with the API references; a broken link is an error
	PYTHONPATH=. $(BIN)/mkdocs build
	@echo "build/site/index.html"

# Three files of tests run side by side, even on two processors: much of the time a test waits for a build, a lease or a
# time limit. tests/conftest.py starts the longest first. Faults and attacks compare the machine before and after, and
# the page is timed in a browser: they run alone. With BUILDFARM_TESTS_RECORD=1 a run writes tests/seconds.txt, the
# order of files.
ALONE := tests/faults tests/hostile tests/observability
BESIDE := --numprocesses 3 --dist loadfile tests/unit tests/integration

test: $(STAMP) lint docs ## every test, on a real engine, Redis and registry
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 $(BESIDE)
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 $(ALONE)

# Chance decides what these do: in `make test` they try a part of it.
CHANCE := $(addprefix tests/integration/,test_admission_machine.py test_collection.py \
  test_export_beside_collection.py test_logs.py test_store_machine.py)

.PHONY: strict
strict: $(STAMP) ## tests in which chance decides, with more tries than in `make test`
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 BUILDFARM_TESTS_STRICT=1 $(BIN)/pytest --durations=20 $(CHANCE)

.PHONY: integration observability hostile-short
integration: $(STAMP) ## a part of `make test`: a real engine, Redis and registry; TESTS=tests/integration/api for less of it
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 $(or $(TESTS),tests/integration)

observability: $(STAMP) ## a part of `make test`: the page in a real browser, metrics in a real Prometheus
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 tests/observability

hostile-short: $(STAMP) ## a part of `make test`: a few attacks on the sandbox
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 tests/hostile

up: $(STAMP) ## the whole farm on this machine
	$(BIN)/buildfarm up

down: $(STAMP) ## stops it; data stays
	$(BIN)/buildfarm down

demo: $(STAMP) ## builds and runs two apps, and asks them over HTTP
	$(BIN)/buildfarm up
	$(BIN)/python examples/demo.py

.PHONY: demo-fleet
demo-fleet: $(STAMP) ## ten apps under an orchestrator get a patched base in waves; a bad one stops the first rollout
	$(BIN)/buildfarm up --no-worker
	PYTHONPATH=. $(BIN)/python -m examples.fleet

verify-main: $(STAMP) ## the main job's promises, as a table of claims and figures
	$(BIN)/buildfarm up
	$(BIN)/python -m verify.main

images-report: $(STAMP) ## the sizes of database images, beside the usual install
	$(BIN)/buildfarm up
	$(BIN)/python -m verify.images.report

verify-supply-chain: $(STAMP) ## signed images, tried with cosign 2 and 3, skopeo and npm's verifier; collections against signers; components against syft; RACES=20 for fewer
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.images.signatures
	$(BIN)/python -m verify.images.races
	$(BIN)/python -m verify.images.components

verify-images: $(STAMP) ## what the database images do, on two engines, and under odd conditions; STARTS=10 interrupts fewer
	$(BIN)/buildfarm up
	$(BIN)/python -m verify.images
	$(BIN)/python -m verify.images.conditions --starts $(or $(STARTS),100)

verify-buildpacks: $(STAMP) ## both buildpack contracts, the builder and the examples, as a table of claims
	$(BIN)/buildfarm up
	$(BIN)/python -m verify.buildpacks

verify-apps: $(STAMP) ## builds, runs and queries every app of tests/apps; FAMILY=go or APP=NAME for a part
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.apps

verify-sources: $(STAMP) ## sources and buildpacks as they occur in the world, a table of kinds; KIND=log for a part
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.sources

.PHONY: verify-git
verify-git: $(STAMP) ## private repositories, Git LFS, push webhooks and git push, on real git servers, as tables of claims; needs root
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.git.credentials
	$(BIN)/python -m verify.git.lfs
	$(BIN)/python -m verify.git.webhooks
	$(BIN)/python -m verify.git.push

builder-packages: $(STAMP) ## writes images/builder/installed.txt anew from the builder that is there
	images/builder/list-installed >images/builder/installed.txt.new
	mv images/builder/installed.txt.new images/builder/installed.txt

.PHONY: images verify-chart test-kube
test-kube: images ## opt-in, minutes, root: the chart in a real Kubernetes 1.20 with two simulated nodes
	$(BIN)/python -m verify.kube

images: $(STAMP) ## the farm's own images, buildfarm/api and buildfarm/worker, on this machine's engine
	$(BIN)/buildfarm up --no-worker
	tools/farm-images

verify-chart: $(STAMP) ## the Helm chart: linted, rendered, validated, refused, released, run
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.chart

bench-export: $(STAMP) ## export against commit + push, Dockerfile and buildah
	$(BIN)/buildfarm up
	$(BIN)/python -m bench.export

faults: $(STAMP) ## kills, freezes, fills and cuts off build nodes; a table of what was promised and seen
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 BUILDFARM_TESTS_STRICT=1 BUILDFARM_FAULTS=all $(BIN)/pytest --tb=native tests/faults

faults-short: $(STAMP) ## a part of `make test`: faults of nodes, Redis and the registry
	$(BIN)/buildfarm up --no-worker
	BUILDFARM_TESTS_NEED_SERVICES=1 $(BIN)/pytest --durations=20 --tb=native tests/faults

monitoring: $(STAMP) ## dashboards and alert rules, made from monitoring/
	$(BIN)/python -m monitoring

verify-observability: $(STAMP) ## API, page, metrics and dashboards, tried on a live farm
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.observability

hostile: $(STAMP) ## some fifty attacks on the sandbox, in real builds, twice: without a pool, and with one and a hostile cache
	$(BIN)/buildfarm up
	$(BIN)/python -m tests.hostile

bench-redeploy: $(STAMP) ## a one-line change from folder to image, against BuildKit and the version before; APPS=small,growth for a part
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m bench.redeploy
	BUILDFARM_TESTS_NEED_SERVICES=1 BUILDFARM_PACKAGE_MANAGERS=1 BUILDFARM_EXAMPLES=3 $(BIN)/pytest tests/integration/redeploys

.PHONY: bench-signing
bench-signing: $(STAMP) ## what signatures and provenance add to a one-line redeploy; ROUNDS=20 for less
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m bench.signing $(ROUNDS)

bench-nodes: $(STAMP) ## what idle build nodes cost one Redis, and what builds wait beside 3, 1,000 and 3,000 of them
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m bench.nodes

bench-queue: $(STAMP) ## fairness, limits and cost of the queue, up to 100,000 builds
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m bench.queue

verify-archive: $(STAMP) ## what 100,000 archived builds cost, and how fast one is found
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.archive
	$(BIN)/python -m verify.archive.beside

verify-fleet: $(STAMP) ## a fleet on another base: the rules, 40 real apps, and what 1,000 moves cost, with signatures too; APPS=200 REAL_APPS=15 for less, PART=rules, redis, bundled, apps, cost or signed for one
	$(BIN)/buildfarm up --no-worker
	PYTHONPATH=. $(BIN)/python -m verify.fleet

verify-network: $(STAMP) ## what is in front of a farm and around it: nginx, registries, an unsteady Redis, clocks that jump, IPv6, a cache of packages
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.network

.PHONY: verify-engines
verify-engines: $(STAMP) ## the farm on Debian's engines 20.10, 26.1 and 28.5, as a table; needs root. ENGINES=sid PARTS=main,prune for a part
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.network.engines $(ENGINES)

verify-sizes: $(STAMP) ## a 6 GiB build on a large node while standard ones go on; takes 6 GiB of memory
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.queue.sizes

verify-restore: $(STAMP) ## Redis lost, Redis an hour old, registry an hour old: what survives, as tables of claims
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.restore

soak: $(STAMP) ## opt-in, root: 54,000 builds in 45 minutes, and memory and disk that do not grow; MINUTES=10 is shorter
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python -m verify.soak

verify-wheel: $(STAMP) ## the wheel in empty environments, with each extra, and the first run from it
	$(BIN)/python -m verify.wheel

.PHONY: release figures record
release: $(STAMP) ## wheel, source archive and chart of HEAD in dist/, built twice, compared and checked
	$(BIN)/python tools/release dist

figures: ## the README's table of figures anew, from bench/results
	tools/figures

record: $(STAMP) ## the README's output and picture anew, from a real build
	$(BIN)/buildfarm up --no-worker
	$(BIN)/python tools/record

clean: ## removes the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build
