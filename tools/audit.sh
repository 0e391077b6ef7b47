#!/bin/sh
# Known vulnerabilities of what requirements.lock names. Needs pip-audit and its database; says so when it
# cannot have them, and fails only for a vulnerability.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python
folder=.audit
[ -x "$folder/bin/pip-audit" ] || {
  "$python" -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check pip-audit
} || {
  echo "audit: skipped, pip-audit could not be installed"
  exit 0
}
report=$("$folder/bin/pip-audit" --requirement requirements.lock --no-deps --disable-pip --progress-spinner off 2>&1)
status=$?
unknown=$(echo "$report" | grep -c "could not be audited")
echo "$report" | grep -v "could not be audited"
if [ "$unknown" -gt 0 ]; then
  echo "audit: $unknown of $(grep -c == requirements.lock) packages could not be looked up from here"
  [ "$status" -eq 0 ] && exit 0
fi
case "$report" in
*"No known vulnerabilities"*) exit 0 ;;
*"Found "*"known vulnerabilit"*) exit 1 ;;
esac
echo "audit: skipped, the database of vulnerabilities cannot be reached (status $status)"
