# `make help` lists what there is. Everything built here goes to .cache/, pip's downloads to pip's own cache outside.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

env: ## the environment for working by hand: source .cache/env.sh
	@tests/gates/env
	@echo "source $(CURDIR)/.cache/env.sh"
