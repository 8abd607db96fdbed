#!/usr/bin/env bash
# Takes the parts of the stack away under load, one after another, and says what clients saw of it and that no
# payment was lost or doubled: the table of docs/failures.md. It starts a stack of its own and takes it down.
#
#   deploy/failures.sh                      # all of them: eight minutes, and the build
#   FAILURES=postgres deploy/failures.sh    # those whose name contains this
#   PROFILE=dev deploy/failures.sh          # with unoptimised binaries
set -euo pipefail
cd "$(dirname "$0")/.."

project=squall-failures
# Whatever ends this script, nothing of its stack stays; a test that was killed could not see to it.
sweep() {
  local of="label=com.docker.compose.project=$project"
  docker ps --all --quiet --filter "$of" | xargs --no-run-if-empty docker rm --force --volumes
  docker volume ls --quiet --filter "$of" | xargs --no-run-if-empty docker volume rm
  docker network ls --quiet --filter "$of" | xargs --no-run-if-empty docker network rm
} >/dev/null
trap sweep EXIT
trap 'exit 130' INT TERM

profile=${PROFILE:-release}
cargo build --profile "$profile" --locked -p payments -p squall
timeout --foreground --kill-after 30 "${LIMIT_S:-1200}" \
  cargo test --profile "$profile" --locked -p squall --test failures -- --ignored --nocapture
