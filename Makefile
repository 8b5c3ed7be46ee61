# `make help` lists what there is. Everything built here goes to .cache/, pip's downloads to pip's own cache outside.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Ansible is content with a link to the checkout in an ansible_collections tree. ansible-test and the importer are not:
# dev/gates/tree makes a copy for those.
COLLECTIONS := .cache/collections
HERE := $(COLLECTIONS)/ansible_collections/limiquantix/kvm
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(COLLECTIONS)
# The PATH lets a tool find its own neighbours. ansible-lint looks into Ansible's home before all else: a copy of the
# collection that was once installed there must not be what is linted.
LINT := PATH=$(CURDIR)/.cache/venv/lint/bin:$$PATH ANSIBLE_HOME=$(CURDIR)/.cache/ansible

##@ Every day
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: test
test: ## every gate; sets up what it needs
	@dev/gates/run_all

.PHONY: env
env: venv-ansible venv-lint $(HERE) ## the environment for working by hand: source .cache/env.sh
	@{ \
	  echo 'export PATH="$(CURDIR)/.cache/venv/ansible/bin:$(CURDIR)/.cache/venv/lint/bin:$$PATH"'; \
	  echo 'export ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/$(COLLECTIONS)"'; \
	} > .cache/env.sh.new
	@mv .cache/env.sh.new .cache/env.sh
	@echo "source $(CURDIR)/.cache/env.sh"

.PHONY: format
format: venv-lint ## let ruff put the Python files in shape
	@$(LINT) ruff check --quiet --fix-only .
	@$(LINT) ruff format .

.PHONY: lab lab-down
lab: ## start the hypervisors that tests, demo and benchmark use
	@dev/lab/lab up

lab-down: ## stop them
	@dev/lab/lab down

.PHONY: demo bench soak table
demo: env ## see the collection at work on the lab
	@source .cache/env.sh && dev/demo/run

bench: env ## measure it on the lab
	@source .cache/env.sh && dev/bench/run

.PHONY: agent
agent: env ## of the tests on the lab those that roll the agent out, in every good and bad way
	@source .cache/env.sh && dev/gates/on_lab agent

.PHONY: everywhere
everywhere: env ## each test on each hypervisor: of many, `make system` does a sixth of the cases, each on one of them
	@source .cache/env.sh && dev/gates/on_lab everywhere

.PHONY: metal
metal: env ## tests on hypervisors that are machines of their own: AppArmor, power cuts
	@source .cache/env.sh && dev/gates/on_lab metal

.PHONY: group
group: env ## groups of VMs on the lab that is up: killed at each step, lost in the middle, and 200 times seen to be one moment
	@source .cache/env.sh && LIMIQUANTIX_KVM_GROUP=all pytest -o cache_dir=.cache/pytest-group tests/system/test_group.py tests/system/test_group_playbooks.py tests/system/test_group_tokens.py

.PHONY: uefi
uefi: env ## UEFI variables and TPMs in snapshots, on the lab that is up, killed at each step
	@source .cache/env.sh && LIMIQUANTIX_KVM_UEFI=all pytest -o cache_dir=.cache/pytest-uefi tests/system/test_nvram.py tests/system/test_nvram_killed.py tests/system/test_tpm*.py

.PHONY: walk
walk: env ## as a stranger does it, on the lab that is up: bare Debians, the artifact, README; and an upgrade with 50 snapshots
	@source .cache/env.sh && LIMIQUANTIX_KVM_UPGRADE=all pytest -o cache_dir=.cache/pytest-walk tests/walk tests/system/test_upgrade.py

N ?= 500
SEED ?= random
soak: env ## random work compared with a model: N=2000 steps on each hypervisor, SEED=… to repeat one
	@source .cache/env.sh && tests/soak/run $(N) $(SEED)

table: env ## see on the lab what works on which libvirt
	@source .cache/env.sh && dev/table/run

.PHONY: dist
dist: ## the artifact for Galaxy, in .cache/dist
	@dev/gates/dist

.PHONY: release
VERSION ?=
release: venv-lint ## changelog, version, artifact, commit and tag: VERSION=1.0.0; publishes nothing
	@$(LINT) python dev/release $(VERSION)

.PHONY: clean
clean: ## forget everything that was built in this checkout
	rm -rf .cache

##@ Gates, all of them in make test
.PHONY: ruff yamllint ansible-lint lint types docs site changelog importer
ruff: venv-lint ## Python style, and formatting
	@$(LINT) ruff check .
	@$(LINT) ruff format --check --diff .

yamllint: venv-lint ## YAML style
	@$(LINT) yamllint --strict .

ansible-lint: venv-lint $(HERE) ## profile production
	@$(LINT) ansible-lint

lint: ruff yamllint ansible-lint ## the three above

types: venv-lint $(HERE) ## mypy, strict
	@$(LINT) mypy $(HERE)/plugins $(wildcard dev/lab dev/bench dev/table dev/release tests/soak/on_host.py tests/soak/others.py dev/gates/*.py dev/site/chains.py roles/schedule/files/*.py)

docs: venv-lint $(HERE) ## antsibull-docs: plugin and role documentation
	@$(LINT) antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self \
	  --disallow-unknown-collection-refs $(HERE)

site: $(HERE) ## the docs site, in .cache/site/html: no warning, no broken link
	@dev/gates/site

changelog: venv-lint ## antsibull-changelog: fragments and changelog
	@$(LINT) antsibull-changelog lint
	@$(LINT) antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml

importer: ## what Galaxy says when it imports the artifact
	@dev/gates/importer

.PHONY: sanity sanity-oldest sanity-newest units units-oldest units-newest
sanity-oldest: ## ansible-test sanity, oldest ansible-core
	@dev/gates/ansible_test oldest sanity

sanity-newest: ## ansible-test sanity, newest ansible-core
	@dev/gates/ansible_test ansible sanity

sanity: sanity-oldest sanity-newest ## the two above

units-oldest: ## ansible-test units, oldest ansible-core
	@dev/gates/ansible_test oldest units

units-newest: ## ansible-test units, newest ansible-core
	@dev/gates/ansible_test ansible units

units: units-oldest units-newest ## the two above

.PHONY: integration integration-oldest integration-newest
integration-oldest: ## ansible-test integration on the mock, oldest ansible-core
	@dev/gates/ansible_test oldest integration

integration-newest: ## ansible-test integration on the mock, newest ansible-core
	@dev/gates/ansible_test ansible integration

integration: integration-oldest integration-newest ## the two above

.PHONY: molecule system metal-brief
molecule: env ## molecule scenarios on the lab
	@source .cache/env.sh && dev/gates/on_lab molecule

system: env ## tests of every backend, on the lab's real hypervisors too
	@source .cache/env.sh && dev/gates/on_lab system

metal-brief: env ## some of `make metal`: live removal under AppArmor, a power cut in the middle of snapshots
	@source .cache/env.sh && dev/gates/on_lab metal-brief

# Not for typing.
.PHONY: venv-ansible venv-lint
venv-ansible venv-lint:
	@dev/gates/venv $(@:venv-%=%)

$(HERE):
	@mkdir -p $(@D)
	@ln -sfn $(CURDIR) $@
