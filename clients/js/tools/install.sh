#!/bin/sh
# Installs what the tests and the build of this package need. What cannot be had is said, and is no failure: the
# tests that need it are skipped by name.
set -u
cd "$(dirname "$0")/.."
ready=node_modules/.ready

if ! command -v npm >/dev/null; then
  echo "no npm here: the JavaScript client's tests will be skipped (Debian: apt-get install nodejs npm)"
elif [ -e "$ready" ] && [ ! package-lock.json -nt "$ready" ]; then
  :
elif npm ci --silent --no-audit --no-fund --ignore-scripts; then
  touch "$ready"
else
  echo "npm ci failed: the JavaScript client's tests will be skipped"
fi
exit 0
