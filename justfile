# Daily commands. `just` lists them.

default:
    @just --list

# Compile everything without running it.
check:
    cargo check --workspace --all-targets --locked

# Format, then lint as CI does.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Build the documentation; a dead link is an error.
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# Run all tests, or those whose names contain the arguments.
test *names:
    cargo test {{ if names == "" { "" } else { "--test promises -- " + names } }}

# Run the long versions of the tests whose names contain the arguments.
test-long *names:
    .ci/long {{ if names == "" { "" } else { "--test promises -- " + names } }}

# Run one benchmark against a release build: `just bench serving ../glove-100`.
bench name *arguments:
    cargo build --release --locked
    cargo bench --bench {{ name }} -- {{ arguments }}

# Start a server with two demo tenants on port 15002.
dev *arguments:
    cargo run --release -- dev {{ arguments }}

# Fuzz one target for ten minutes: `just fuzz filter`.
fuzz target seconds="600":
    cd fuzz && cargo fuzz run --sanitizer none {{ target }} -- -max_total_time={{ seconds }} -timeout=20 -rss_limit_mb=2048 -max_len=65536

# Everything that has to hold before a change lands.
ci:
    .ci/run

# Line coverage; needs cargo-llvm-cov.
coverage:
    .ci/coverage
