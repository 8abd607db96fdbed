#!/usr/bin/env bash
# Toxiproxy's published clients, as they come from PyPI and npm, against the proxy whose API is at HOST:PORT: their usual
# operations, and what they do to a connection. Needs Python with venv, Node.js and npm; the clients go into target/.
#
#   tests/clients/run.sh HOST:PORT
#   tests/clients/run.sh --install      # no more than fetches them
set -euo pipefail
at=${1:?the API, HOST:PORT, or --install}
cd "$(dirname "$0")"

clients=$(realpath "${CARGO_TARGET_DIR:-../../target}")/clients
if [ ! -x "$clients/venv/bin/python" ] || ! "$clients/venv/bin/python" -c 'import toxiproxy' 2>/dev/null; then
  python3 -m venv "$clients/venv"
  "$clients/venv/bin/pip" install --quiet --disable-pip-version-check \
    'toxiproxy-python==0.1.1' 'requests==2.*' 'future==1.*'
fi
if [ ! -d "$clients/node_modules/toxiproxy-node-client" ]; then
  npm install --loglevel=error --no-audit --no-fund --prefix "$clients" 'toxiproxy-node-client@4.1.0' >/dev/null
fi
if [ "$at" = --install ]; then
  exit 0
fi

"$clients/venv/bin/python" toxiproxy_python.py "$at"
NODE_PATH="$clients/node_modules" node toxiproxy_node.cjs "$at"
