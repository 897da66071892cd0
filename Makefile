# Everything a person may want to do. Recipes print progress to stderr, so that stdout holds only what was asked for.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
BIN := node_modules/.bin

# make demo
DURATION ?= 0
OUTPUT ?= compact

.DEFAULT_GOAL := help
.PHONY: help deps deps-bpf deps-kernels deps-arm64 build bpf check test test-long test-kernels bench demo clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## System packages (apt, as root) and npm packages that are missing
	@test/setup/system.sh run testbed
	@test/setup/npm.sh

deps-bpf:
	@test/setup/system.sh bpf

deps-kernels:
	@test/setup/system.sh kernels

deps-arm64:
	@test/setup/system.sh kernels arm64

build: deps ## Compile to dist/ (npx vethflow runs it)
	@node proto/generate.mjs >/dev/null
	@$(BIN)/tsc -p . >&2
	@chmod +x dist/ui-stream/cli.js

bpf: deps deps-bpf ## Rebuild the prebuilt kernel objects (pinned clang-19) and the layout made from them
	@$(MAKE) -C bpf
	@node proto/generate.mjs >/dev/null
	@$(BIN)/tsc -p . --noCheck >&2
	@node dist/agent/kernel/layout/generate.js bpf/prebuilt/flow.bpf.o bpf/flow.h agent/kernel/layout.gen.ts
	@node dist/agent/kernel/layout/generate.js bpf/prebuilt/socket.bpf.o bpf/socket.h agent/kernel/socket-layout.gen.ts

check: deps ## Types, lint, format, and that the kernel objects match their sources
	@if [ "$$CI" = true ]; then test/setup/system.sh bpf; fi
	@node proto/generate.mjs >/dev/null
	@$(BIN)/tsc --noEmit -p .
	@$(BIN)/biome ci --colors=off .
	@test/setup/bpf-check.sh

test: build deps-kernels ## All tests; last line: N passed, N failed
	@test/setup/run-tests.sh

test-long: build deps-arm64 ## Full counts, fault tables, soaks (hours)
	@ls test/long/*.test.ts >/dev/null 2>&1 || { echo 'there are no long tests yet' >&2; exit 1; }
	@VETHFLOW_TEST_SECONDS=28800 test/setup/run-tests.sh --config test/setup/vitest.long.config.ts test/long

test-kernels: build deps-kernels ## Every kernel series that is tried, under qemu
	@VETHFLOW_KERNELS=all VETHFLOW_TEST_SECONDS=7200 test/setup/run-tests.sh test/kernels

bench: build deps-bpf ## Measurements: tables, and JSON in bench/results
	@test -e dist/bench/main.js || { echo 'there are no benchmarks yet' >&2; exit 1; }
	@node dist/bench/main.js

demo: build ## A small cluster with live flows: make demo [DURATION=20] [OUTPUT=compact|wide|json]
	@exec setpriv --pdeathsig TERM node dist/test/demo/main.js --duration '$(DURATION)' --output '$(OUTPUT)'

clean: ## Remove what was built here
	@rm -rf dist proto/gen .make coverage
