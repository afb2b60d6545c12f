# CI is this file: .ci/run calls `make test` and nothing else.

SHELL       := /bin/bash
GO          ?= go
BIN         := bin
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0
MINIO       := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
KUSTOMIZE   := sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
KUBECONFORM := github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
KUBERNETES  := v1.34.0
COMPOSE     ?= docker compose
# Nodes that `make up CLUSTER=1` has joined before anybody asks them.
JOINED      := redis-1:6379,redis-2:6379,redis-3:6379
# Three gateways and a crowd are compared to the second: a gateway that other
# tests keep from its tick counts late.
ALONE       := ^TestMovesAreNeverCountedTwice$$
# Packages that take longest: whatever else there is goes beside them.
LONG        := /(redis|web)$$
# Packages whose tests need what .ci/build-tools builds, and some that mostly wait:
# beside cmd/grandstand, which takes longest of all, there is room for them.
LATE        := /(archiver|cmd/grandstand|simulator|gateway|gateway/journal|redis/redistest|blocker)$$
GOBIN_DIR   := $(shell $(GO) env GOPATH)/bin

.PHONY: demo build up down test check unit packages tools web clip sdk fuzz measure chaos chaos-hour bench bench-full bench-go compose-test manifests audit clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## run everything on this machine, with a simulated crowd
	$(GO) run ./cmd/grandstand demo

build: ## build bin/grandstand
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/grandstand ./cmd/grandstand

up: .env ## start docker-compose.yml: everything with real parts (CROWD=1: with an audience, CLUSTER=1: with a Redis Cluster)
	$(if $(CLUSTER),$(COMPOSE) --profile cluster run --rm -T cluster)
	$(if $(CLUSTER),REDIS_NODES=$(JOINED) )$(COMPOSE) $(if $(CROWD),--profile crowd) up --build --detach
	@echo "open http://127.0.0.1:$${PORT:-8080}"

down: ## stop it; the volumes stay
	$(COMPOSE) --profile crowd --profile cluster down --timeout 60

.env:
	@umask 077; sh deploy/compose/secrets.sh >$@
	@echo "made .env with fresh secrets"

test: packages check unit sdk ## install what the tests need, then vet, staticcheck, gofmt, all tests with -race, manifests

tools: packages ## install what the tests need: redis-server, Chromium, ffmpeg, promtool, minio, kustomize
	@./.ci/build-tools $(MINIO) $(KUSTOMIZE)

packages:
	@./.ci/tools

check: ## vet, staticcheck and gofmt
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags chaos,measure,compose ./... # tests that make test does not run
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod verify
	@for dir in . archiver/testdata/duckcheck; do \
	  (cd $$dir && $(GO) mod tidy -diff) || { echo "$$dir/go.mod is not tidy: run go mod tidy there"; exit 1; }; done

# MinIO takes minutes to build: meanwhile the packages run that do without. The
# manifests' turn is in between: it takes a minute on a new machine, else seconds.
unit: ## all tests, with the race detector
	@{ ./.ci/build-tools $(MINIO) $(KUSTOMIZE) && make --no-print-directory manifests; } & built=$$!; export PATH="$$PATH:$(GOBIN_DIR)"; \
	all=$$($(GO) list ./...) || exit 1; \
	set -x; $(GO) test -race -timeout 9m $$(grep -E '$(LONG)' <<<"$$all") $$(grep -vE '$(LATE)|$(LONG)' <<<"$$all") || { kill $$built 2>/dev/null; exit 1; }; \
	wait $$built || exit 1; \
	$(GO) test -race -timeout 9m -skip '$(ALONE)' $$(grep -E '$(LATE)' <<<"$$all")
	PATH="$$PATH:$(GOBIN_DIR)" $(GO) test -race -timeout 9m -run '$(ALONE)' ./cmd/grandstand
	$(GO) test -run 'TestEstimateIsFast|TestMemoryIsBounded' . ./archiver # speed and memory: not under the race detector
	cd archiver/testdata/duckcheck && $(GO) test -count=1 ./... # a module of its own: DuckDB needs cgo

web: ## build what pages load: web/sdk/dist, web/dashboard/dist
	cd web/sdk && npm ci --no-audit --no-fund --silent && npm run --silent build -- --log-level=warning
	cd web/dashboard && npm ci --no-audit --no-fund --silent && npm run --silent build

clip: ## make the clip that the demo plays without ffmpeg: web/static/clip.webm (needs ffmpeg)
	$(GO) test -count=1 -run TestTheClip ./web/pitch -update

sdk: web ## check the types of SDK and dashboard, test them, and that what is committed is what is built
	cd web/sdk && npm test --silent
	cd web/dashboard && npm test --silent
	@test -z "$$(git status --porcelain -- web/*/dist)" || { git status --short -- web/*/dist; echo "what is in dist is not what src makes: run make web and commit it"; exit 1; }
	@size=$$(gzip -9c web/sdk/dist/sdk.js | wc -c); echo "sdk.js: $$size bytes gzipped"; test $$size -le 6144 || { echo "over 6 KB"; exit 1; }

fuzz: ## fuzz every decoder for a minute each
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime 60s $$pkg; \
	  done; done

measure: ## the figures of docs/measured.md over real processes (a quiet machine, half an hour)
	PATH="$$PATH:$(GOBIN_DIR)" $(GO) test -tags measure -run Measure -v -count 1 -timeout 30m ./cmd/grandstand
	PATH="$$PATH:$(GOBIN_DIR)" $(GO) test -tags measure -run 'Killed|Compact|Memory|Acknowledged' -v -count 1 ./archiver ./gateway/journal
	$(GO) test -tags measure -run MadeUp -v -count 1 ./gateway
	$(GO) test -tags measure -run Measure -v -count 1 -timeout 30m ./web

chaos: tools ## every fault there is over real processes, then a rollout of 20,000 viewers: docs/faults.md (forty minutes, a quiet machine, root)
	PATH="$$PATH:$(GOBIN_DIR)" REPORT=$(CURDIR)/docs/faults.md $(GO) test -tags chaos -run 'TestChaos(Evening|Rollout)$$' -v -count 1 -timeout 60m ./cmd/grandstand

chaos-hour: tools ## faults at random for DURATION (1h), drawn by SEED (1): the same ones again with the same seed
	PATH="$$PATH:$(GOBIN_DIR)" REPORT=$(CURDIR)/docs/faults.md SEED=$${SEED:-1} $(GO) test -tags chaos -run 'TestChaosHour$$' -v -count 1 -timeout 3h ./cmd/grandstand

bench: build ## what a viewer costs here, against docs/bench-baseline.json (two minutes, a quiet machine)
	$(BIN)/grandstand bench --size small --baseline docs/bench-baseline.json

bench-full: build ## the figures of docs/capacity.md and the table of its targets (half an hour, a quiet machine)
	$(BIN)/grandstand bench --size full --json $(BIN)/bench.json
	$(BIN)/grandstand bench --model $(BIN)/bench.json

bench-go: ## the benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./...

compose-test: ## start docker-compose.yml for real and look at it in a browser (root, docker, debootstrap; some minutes)
	./deploy/compose/bases.sh
	$(GO) test -tags compose -run TestCompose -v -count 1 -timeout 40m ./cmd/grandstand

manifests: ## check what kustomize builds against the API of Kubernetes, whose description is in its module
	@api=$$(cd /tmp && $(GO) mod download -json k8s.io/kubernetes@$(KUBERNETES) | sed -n 's/.*"Dir": "\(.*\)",/\1/p') && \
	$(GO) run ./deploy/kubernetes/schemas "$$api/api/openapi-spec/swagger.json" $(BIN)/schemas
	@set -o pipefail; for built in base overlays/example; do \
	  PATH="$$PATH:$(GOBIN_DIR)" kustomize build deploy/kubernetes/$$built | \
	  $(GO) run $(KUBECONFORM) -strict -summary -schema-location '$(BIN)/schemas/{{.ResourceKind}}{{.KindSuffix}}.json' || exit 1; done

audit: ## known vulnerabilities (needs https://vuln.go.dev) and the module list
	$(GO) list -m all
	@$(GO) run $(GOVULNCHECK) ./... || { \
	  echo; echo "audit: govulncheck found something, or could not reach its database (see above)."; \
	  echo "audit: without the database nothing was checked: this is not a pass."; exit 1; }

clean: ## remove what the demo and the build left
	rm -rf $(BIN) data artifacts
