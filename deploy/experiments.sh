#!/usr/bin/env bash
# Runs the shipped experiments one after the other and prints what became of each as a table: docs/experiments.md.
#
#   deploy/experiments.sh                        # those on the embedded service: twenty minutes, and the build
#   deploy/experiments.sh stack                  # those on the stack, which need docker compose
#   deploy/experiments.sh fraud-check-down ...   # these
#
# Needs jq. The run folders stay in runs/experiments.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -p squall
folder=runs/experiments
mkdir -p "$folder"
case ${1:-embedded} in
  embedded) names=$(grep -L 'system = "compose"' chaos/library/*.toml) ;;
  stack) names=$(grep -l 'system = "compose"' chaos/library/*.toml) ;;
  *) names="$*" ;;
esac
echo '| experiment | during | detected | back | steady state after | who suffered | exit |'
echo '|---|---|---|---|---|---|---|'
for name in $names; do
  name=$(basename "$name" .toml)
  rm -rf "${folder:?}/$name"
  code=0
  target/release/squall run "$name" --ui none --out "$folder/$name" >"$folder/$name.txt" 2>&1 || code=$?
  [ -e "$folder/$name/summary.json" ] || { echo "| \`$name\` | did not run: see $folder/$name.txt | | | | | $code |"; continue; }
  jq -r --arg name "$name" --arg code "$code" -f deploy/experiments.jq "$folder/$name/summary.json"
done
