"""What `make bench-peers` has put into `.bench/`, and its versions."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".bench"
PYTHON = FOLDER / "venv" / "bin" / "python"
NODE = FOLDER / "node" / "node_modules"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
#: Debian keeps nginx where only root's PATH looks.
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"


def _metadata(package: str) -> list[Path]:
    """A package's own folder beside its modules; its name is spelled as the package's author likes."""
    found = (FOLDER / "venv").glob("lib/python*/site-packages/*.dist-info")
    return [path for path in found if _plain(path.name.split("-")[0]) == _plain(package)]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def python_version(package: str) -> str:
    return _metadata(package)[0].name.removesuffix(".dist-info").split("-")[1]


def python_missing(package: str) -> str | None:
    return None if PYTHON.exists() and _metadata(package) else f"{package} is not installed"


def node_version(package: str) -> str:
    return str(json.loads((NODE / package / "package.json").read_text())["version"])


def node_missing(package: str) -> str | None:
    if shutil.which("node") is None:
        return "Node is not installed"
    return None if (NODE / package).exists() else f"{package} is not installed"


def compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def compiler_version() -> str:
    return _first_line(compiler() or "cc", "-dumpfullversion")


def compiler_missing() -> str | None:
    return None if compiler() else "no C compiler (gcc or cc)"


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path=_SYSTEM_PATH)


def nchan_version() -> str:
    return _first_line("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")


def nchan_missing() -> str | None:
    if nginx() is None:
        return "nginx is not installed"
    return None if NCHAN.exists() else "nginx's nchan module is not installed"


def _first_line(*command: str) -> str:
    """What a program says of itself, or nothing where it is not there."""
    if shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].strip()
