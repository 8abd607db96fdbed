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

# Side by side with wrk, when it is installed (apt-get install wrk). A few minutes.
bench:
	benches/closed_loop.sh
	benches/steady_10k.sh
	benches/payments.sh
