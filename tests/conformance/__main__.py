"""`make conformance`: Autobahn's fuzzing client against notifyd's WebSocket, where a Python 2.7 exists."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

#: 9 sends up to 16 MiB and 12 and 13 compress: notifyd takes 16 KiB and no extension, on purpose.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
#: RFC 6455 lets a server fail a connection as soon as it can, in the middle of a message or frame.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
VERSION = "25.10.1"


def python2() -> str | None:
    """The interpreter to install Autobahn for."""
    named = os.environ.get("PYTHON2")
    of_pyenv = sorted(map(str, (Path.home() / ".pyenv" / "versions").glob("2.7*/bin/python2.7")))
    candidates = [named] if named else ["python2.7", "pypy2", *of_pyenv]
    for each in candidates:
        found = shutil.which(each)
        if found and subprocess.run([found, "-c", "import pip"], capture_output=True).returncode == 0:
            return found
    return None


def installed(folder: Path, python: str) -> Path:
    """The path of `wstest`, installed once."""
    wstest = folder / "venv" / "bin" / "wstest"
    if not wstest.exists():
        quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, *quiet, "--target", str(folder / "vt"), "virtualenv"], check=True)
        environment = os.environ | {"PYTHONPATH": str(folder / "vt")}
        subprocess.run([python, "-m", "virtualenv", str(folder / "venv")], env=environment, check=True)
        pip = folder / "venv" / "bin" / "pip"
        subprocess.run([str(pip), "install", "--quiet", f"autobahntestsuite=={VERSION}"], check=True)
    return wstest


def run(wstest: Path, folder: Path) -> dict[str, dict[str, str]]:
    """What Autobahn says of each case."""
    echo = subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert echo.stdout is not None
    try:
        url = echo.stdout.readline().strip().replace("http", "ws", 1) + "/ws"
        spec = {
            "outdir": str(folder / "reports"),
            "servers": [{"agent": "notifyd", "url": url}],
            "cases": CASES,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        command = [str(wstest), "-m", "fuzzingclient", "-s", str(folder / "spec.json")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=900)
    finally:
        echo.communicate(timeout=30)
    found: dict[str, dict[str, str]] = json.loads((folder / "reports" / "index.json").read_text())["notifyd"]
    return found


def main() -> int:
    """0: conforms, or there is no Python 2.7; 1: some case failed."""
    python = python2()
    if python is None:
        print("conformance: skipped, for Autobahn needs a Python 2.7 with pip (PYTHON2=path)")
        return 0
    folder = Path(".conformance").absolute()
    folder.mkdir(exist_ok=True)
    results = run(installed(folder, python), folder)
    bad = {
        case: said for case, said in results.items() if not {said["behavior"], said["behaviorClose"]} <= GOOD
    }
    groups = Counter((int(case.split(".")[0]), said["behavior"]) for case, said in results.items())
    for (group, behavior), count in sorted(groups.items()):
        print(f"group {group:2}: {behavior:13} {count}")
    lenient = [case for case, said in results.items() if said["behavior"] == "NON-STRICT"]
    print("non-strict:", ", ".join(sorted(lenient)) or "none")
    for case, said in sorted(bad.items()):
        print(f"failed: {case} {said['behavior']}, close {said['behaviorClose']}")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())
