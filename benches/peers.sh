#!/usr/bin/env bash
# Installs what squall is compared with into benches/.peers: wrk from Debian's packages, oha and
# goose from crates.io. Installs nothing into the system. Takes some minutes once.
source "$(dirname "$0")/common.sh"
mkdir -p "$peers/bin" "$peers/lib"

if [ ! -x "$peers/bin/wrk" ]; then
  if command -v wrk >/dev/null; then
    ln -sf "$(command -v wrk)" "$peers/bin/wrk"
  elif command -v apt-get >/dev/null; then
    # Unpacked, not installed: the package and the one library that a bare system lacks.
    (cd "$peers" && apt-get download -q wrk libluajit-5.1-2 libluajit-5.1-common && mkdir -p deb &&
      for package in ./*.deb; do dpkg -x "$package" deb; done && rm -f ./*.deb)
    cp "$peers"/deb/usr/bin/wrk "$peers/bin/wrk"
    find "$peers/deb" -name '*.so*' -exec cp -P {} "$peers/lib/" \;
  else
    echo "wrk: no apt-get here; install it by hand and it is found on the PATH" >&2
  fi
fi
if [ ! -x "$peers/bin/oha" ]; then
  CARGO_TARGET_DIR="$peers/target" cargo install oha --version 1.16.0 --locked --no-default-features \
    --features rustls --root "$peers"
fi
if [ ! -x "$peers/bin/bench-goose" ]; then
  CARGO_TARGET_DIR="$PWD/$peers/target" cargo build --release --locked --manifest-path benches/goose/Cargo.toml
  cp "$peers/target/release/bench-goose" "$peers/bin/"
fi
echo "peers: $(cd "$peers/bin" && echo *)"
