# Installs the servers that notifyd is measured against into a folder: install.sh FOLDER [PYTHON]
# Does nothing for what is there already. What cannot be installed is named and left out of the bench.
set -u
folder=${1:?usage: install.sh FOLDER [PYTHON]}
python=${2:-python3}
here=$(dirname "$0")
mkdir -p "$folder/node"

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  wanted=""
  [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || wanted="nginx libnginx-mod-nchan"
  command -v gcc >/dev/null || wanted="$wanted gcc libc6-dev"
  command -v npm >/dev/null || wanted="$wanted nodejs npm"
  if [ -n "$wanted" ]; then
    echo "installing $wanted"
    # shellcheck disable=SC2086
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted) \
      >"$folder/apt.log" 2>&1 || echo "could not be installed: $wanted ($folder/apt.log)"
  fi
fi

if [ ! -e "$folder/venv/.ready" ] || [ "$here/requirements.txt" -nt "$folder/venv/.ready" ]; then
  echo "installing the Python servers"
  { "$python" -m venv "$folder/venv" &&
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" &&
    touch "$folder/venv/.ready"; } >"$folder/pip.log" 2>&1 ||
    echo "could not be installed: the Python servers ($folder/pip.log)"
fi

if command -v npm >/dev/null; then
  if [ ! -e "$folder/node/.ready" ] || [ "$here/package-lock.json" -nt "$folder/node/.ready" ]; then
    echo "installing the Node servers"
    cp "$here/package.json" "$here/package-lock.json" "$folder/node/"
    { npm ci --prefix "$folder/node" --no-audit --no-fund && touch "$folder/node/.ready"; } >"$folder/npm.log" 2>&1 ||
      echo "could not be installed: the Node servers ($folder/npm.log)"
  fi
fi
exit 0
