# The one language of local work and CI.

.PHONY: run check test fuzz-api servers bench

# Load, break and judge the reference payment service: about a minute.
run:
	cargo run --release -- run quickstart

# Formatting, lints and documentation, all without a warning.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Every test. Needs Rust, a C compiler and the servers that `servers` installs where it can.
test: servers
	cargo test --workspace --locked

# The reference service, asked everything that its OpenAPI allows and much that it does not, on both of its
# stores: a minute. Needs Python.
fuzz-api: servers
	cargo build -p payments --locked
	target-system/tests/fuzz-api.sh
	target-system/tests/fuzz-api.sh --store postgres

# The servers that the tests start: Debian's packages, when they are missing and this is root.
servers:
	target-system/tests/servers.sh

# Side by side with wrk, oha and goose, which it installs into benches/.peers. About half an hour;
# nothing else should run meanwhile.
bench:
	benches/peers.sh
	benches/closed_loop.sh
	benches/open_loop.sh
	benches/connections.sh
	benches/stall.sh
	benches/payments.sh 3 steady-10k
	benches/payments.sh 5 steady-50k
	benches/memory.sh
	benches/postgres.sh
	benches/reads.sh
