"""Versions of what we depend on that are known to be unsafe: with one of them the server does not start.

A lock keeps them out of our own installations; this keeps them out of everybody's.
"""

from __future__ import annotations

import re
import ssl
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class Floor(NamedTuple):
    """The first version that may be used, and why those before may not."""

    version: str
    reason: str


FLOORS: Final = {
    "h11": Floor("0.16.0", "CVE-2025-43859: the end of a chunk is not checked"),
    "h2": Floor("4.3.0", "CVE-2025-57804: a header can hold a line break"),
    "hypercorn": Floor("0.16.0", "CVE-2023-44487: streams reset at once are not counted"),
    "pyjwt": Floor("2.13.0", "CVE-2026-48526, CVE-2026-48523, CVE-2026-32597: forged tokens pass"),
    "quart": Floor("0.19.7", "CVE-2024-49767: a form takes many times its size"),
    "werkzeug": Floor("3.0.6", "CVE-2024-49767: a form takes many times its size"),
}
#: Shown besides by `notifyd --versions`.
ALSO: Final = (
    "trio",
    "wsproto",
    "httptools",
    "quart-trio",
    "msgspec",
    "sqlalchemy",
    "cryptography",
    "psycopg",
)


def check_floors(version_of: Callable[[str], str] = metadata.version) -> None:
    """Raises ConfigError, naming all of them, when something installed is older than its floor."""
    faults = []
    for name, floor in FLOORS.items():
        try:
            found = version_of(name)
        except metadata.PackageNotFoundError:
            faults.append(f"{name} is not installed")
            continue
        if _number(found) < _number(floor.version):
            faults.append(f"{name} {found} is older than {floor.version} ({floor.reason})")
    if faults:
        raise ConfigError("\n".join(faults))


def versions() -> list[str]:
    """One line for everything that parses bytes from strangers, with its floor."""
    lines = [f"Python {sys.version.split()[0]}", ssl.OPENSSL_VERSION]
    for name in sorted({*FLOORS, *ALSO}):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        floor = FLOORS.get(name)
        lines.append(f"{name} {found}" + (f" (at least {floor.version})" if floor else ""))
    return lines


def _number(version: str) -> tuple[int, ...]:
    """The release part of a version (PEP 440), comparable: `2.13.0rc1` is before `2.13.0`."""
    found = re.match(r"(\d+(?:\.\d+)*)(.*)", version)
    if found is None:
        return (0,)
    release = [int(part) for part in found[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    unfinished = re.match(r"[.-]?(a|b|rc|dev)", found[2]) is not None
    padded = release + [0] * (6 - len(release))
    return (*padded, -1 if unfinished else 0)
