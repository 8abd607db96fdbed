#!/usr/bin/env bash
# Payments on the embedded store, by this tree and by one before it, in turn: whether a change has made them slower. The generator
# of each drives its own service.
#
#   benches/before.sh FOLDER_OF_THE_OTHER_SQUALL [PAIRS] [SCENARIO] [ARGS of squall run...]    default: 5 pairs of steady-50k
#
# The other one, for example: git worktree add /tmp/before COMMIT && cargo build --release -p squall --manifest-path
# /tmp/before/Cargo.toml, then /tmp/before/target/release.
source "$(dirname "$0")/common.sh"
other=${1:?where the other squall is} pairs=${2:-5} scenario=${3:-steady-50k}
shift $(($# > 3 ? 3 : $#))
cargo build --release -q -p squall
make_tmp
machine
echo "== $scenario $*"
row_head
own=$target
for pair in $(seq "$pairs"); do
  for which in before now; do
    target=$own
    if [ "$which" = before ]; then target=$other; fi
    payments_row "$pair $which" "$scenario" "$@"
  done
done
