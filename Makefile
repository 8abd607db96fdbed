# The one language of local work and CI.

.PHONY: run check test bench

# Load, break and judge the reference payment service: about a minute.
run:
	cargo run --release -- run quickstart

# Formatting, lints and documentation, all without a warning.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Every test. Needs Rust and a C compiler, nothing else.
test:
	cargo test --workspace --locked

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
