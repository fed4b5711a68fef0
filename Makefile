# `make help` lists the targets. Everything needs rustup's stable toolchain and a C compiler, nothing else.
CARGO ?= cargo
MERCER = target/release/mercer

.PHONY: help build demo verify test lint doc bench bench-fit bench-als bench-train bench-utility bench-attention bench-retrieval bench-published msrv clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release binary, target/release/mercer
	$(CARGO) build --release --workspace --bins

demo: build ## Learn two relations from real data: molecules and animals
	$(CARGO) build --release --workspace --example molecules
	MERCER=$(MERCER) sh demo/run.sh

verify: build ## Run every theorem of the paper and write verify.html
	$(MERCER) -q verify --report verify.html

test: ## Run all tests (nextest where installed) and the documentation's examples
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) test --workspace --doc --quiet && $(CARGO) nextest run --workspace; \
	else \
		$(CARGO) test --workspace; \
	fi

lint: ## Check formatting and lints, all denied; licences where cargo-deny is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check licenses bans sources; fi

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench: ## Tower forward pass and search against the core's measured peak
	$(CARGO) bench --workspace --bench forward -- $(BENCH)

bench-fit: ## The nine reference relations (BENCH="--rival --record" adds PyTorch and writes benchmarks/record)
	$(CARGO) bench --workspace --bench fit -- $(BENCH)

bench-als: ## Implicit feedback against `implicit` from Python (BENCH="--pairs FILE" adds the WordNet nouns)
	$(CARGO) bench --workspace --bench als -- $(BENCH)

bench-train: ## Training steps against PyTorch where it is at hand (BENCH="--record" writes benchmarks/record)
	$(CARGO) bench --workspace --bench train -- $(BENCH)

bench-attention: ## Attention maps against the package entmax (BENCH="--record" writes benchmarks/record)
	$(CARGO) bench --workspace --bench attention -- $(BENCH)

bench-retrieval: ## Certified attention over a million keys against exact attention (BENCH="--keys 100000" for less)
	$(CARGO) bench --workspace --bench retrieval -- $(BENCH)

bench-utility: ## Joint utilities from comparisons (BENCH="--rival --record" adds PyTorch and writes benchmarks/record)
	$(CARGO) bench --workspace --bench utility -- $(BENCH)

bench-published: build ## Definitions with published numbers, benchmarks/definitions (BENCH="--only mammals")
	$(CARGO) bench --workspace --bench published -- $(BENCH)

msrv: ## Show the highest minimum Rust version among all packages
	@$(CARGO) metadata --format-version 1 | tr ',' '\n' | sed -n 's/.*"rust_version":"\([0-9.]*\)".*/\1/p' | sort -V | tail -1

clean: ## Remove what the demo and the build wrote
	rm -rf demo-out verify.html
	$(CARGO) clean
