#!/bin/sh
# Installs into FOLDER (and, as root on Debian, into the system) what the documents' examples run on.
# What cannot be installed is named, and the tests that need it are skipped.
set -u
folder=${1:?usage: install.sh FOLDER}
here=$(dirname "$0")
mkdir -p "$folder"

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  wanted=""
  command -v nginx >/dev/null || wanted="$wanted nginx-light"
  command -v caddy >/dev/null || wanted="$wanted caddy"
  command -v puma >/dev/null || wanted="$wanted ruby-rails ruby-jwt puma"
  if [ -n "$wanted" ]; then
    echo "installing$wanted"
    apt-get update -qq >/dev/null 2>&1 || true
    for package in $wanted; do # one by one: one that is not to be had is not in the way of the others
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "could not be installed: $package"
    done
  fi
fi

if [ ! -e "$folder/venv/.ready" ] || [ "$here/requirements.txt" -nt "$folder/venv/.ready" ]; then
  echo "installing $(tr '\n' ' ' < "$here/requirements.txt")"
  python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" install -q --disable-pip-version-check \
    -r "$here/requirements.txt" && touch "$folder/venv/.ready" || echo "could not be installed: Django and FastAPI"
fi

if ! command -v npm >/dev/null; then
  echo "not installed: Node and npm"
elif [ ! -e "$folder/node_modules" ] || [ "$here/package-lock.json" -nt "$folder/node_modules" ]; then
  echo "installing Express"
  cp "$here/package.json" "$here/package-lock.json" "$folder/"
  npm ci --prefix "$folder" --silent && touch "$folder/node_modules" || echo "could not be installed: Express"
fi
exit 0
