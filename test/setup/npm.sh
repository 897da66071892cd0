#!/usr/bin/env bash
# Installs the npm packages when they are missing or older than the lockfile.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -e node_modules/.package-lock.json ] && ! [ package-lock.json -nt node_modules/.package-lock.json ]; then
  exit 0
fi
echo "installing npm packages" >&2
mkdir -p .make
if ! npm ci --ignore-scripts --no-audit --no-fund >.make/npm.log 2>&1 </dev/null; then
  tail -n 20 .make/npm.log >&2
  echo "npm ci failed; the whole of it is in .make/npm.log" >&2
  exit 1
fi
touch node_modules/.package-lock.json
