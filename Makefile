# "make" says what there is. Everything needs Go and the network's module proxy;
# "make test" installs the rest of what it needs.

GO ?= go
BIN := bin/ipfs-registry
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ipfs-registry

# Where "make run" keeps its repository and listens.
RUN ?= .run
LISTEN ?= localhost:5050
ADMIN ?= localhost:5051

LINT_VERSION := v2.12.0
LINT := $(CACHE)/golangci-lint-$(LINT_VERSION)
# What the linter remembers has the paths of the tree it saw in it, and the
# exclusions go by path: every tree remembers for itself.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

# The longest that one package's tests take; those of test/ build and run images.
TEST_TIMEOUT ?= 45m
BENCH_TIMEOUT ?= 60m
FUZZ_TIME ?= 30s

.PHONY: help run test race bench check build lint fmt docs fuzz clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, publish a small sample image, and serve it until Ctrl-C
	@$(GO) run ./test/sample $(RUN)/sample
	@set -e; \
	cid=$$($(BIN) --repo $(RUN)/repo push oci:$(RUN)/sample:latest | tail -n 1); \
	name=$(LISTEN)/ipfs/$$cid; \
	printf '\nThe sample image is in IPFS. While this runs, pull and run it by its CID:\n\n'; \
	printf '  docker run --rm %s\n' $$name; \
	printf '  nerdctl run --rm --net=none %s\n' $$name; \
	printf '  curl -s http://%s/v2/ipfs/%s/manifests/latest\n\n' $(LISTEN) $$cid; \
	printf 'This run contacts nobody (--bootstrap none). To join the public network: %s serve\n\n' $(BIN); \
	exec $(BIN) --repo $(RUN)/repo serve --bootstrap none --swarm-listen /ip4/127.0.0.1/tcp/0 --listen $(LISTEN) --admin $(ADMIN)

test: ## install what the tests need, and run all of them
	test/install.sh
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

# What is small enough to be slowed down; "make race RACE=./node" takes eight
# minutes more. It needs a C compiler.
RACE ?= ./image/... ./pin/... ./registry/... ./publish

race: ## run tests again, with the race detector
	CGO_ENABLED=1 $(GO) test -race $(RACE)

bench: build ## compare with the other ways to serve an image, as ratios in one run
	test/install.sh
	$(GO) test -timeout $(BENCH_TIMEOUT) -run '^$$' -bench . -benchtime 1x ./test/...

check: lint build test race ## what CI does: lint, build, test

build: ## build bin/ipfs-registry, a static binary
	@mkdir -p bin/data # for the Dockerfile
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/ipfs-registry

lint: $(LINT) ## report what is not as it should be
	$(LINT) run ./...

fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

docs: ## write the generated pages again
	$(GO) test ./config -run Documentation -update
	$(GO) test ./cmd/ipfs-registry -run Documentation -update

fuzz: ## let every fuzz test run for FUZZ_TIME
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$name"; \
			$(GO) test $$(dirname $$file) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME); \
		done; \
	done

clean: ## remove what make made here, the sample's repository included
	rm -rf bin .cache $(RUN)

# Built from the module proxy by a module of one line: "go install" refuses
# programs whose go.mod excludes or replaces something.
$(LINT):
	@set -e; mkdir -p $(CACHE); dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cd $$dir; \
	echo "building golangci-lint $(LINT_VERSION), once"; \
	printf 'module tools\n\ngo 1.26\n\nrequire github.com/golangci/golangci-lint/v2 $(LINT_VERSION)\n' > go.mod; \
	$(GO) build -mod=mod -o $@.new github.com/golangci/golangci-lint/v2/cmd/golangci-lint; \
	mv $@.new $@
