"""Unsafe versions: each of them keeps the server from starting."""

from __future__ import annotations

from importlib import metadata

import pytest

from notifyd.errors import ConfigError
from notifyd.floors import FLOORS, check_floors, versions

BELOW = {
    "h11": "0.14.0",
    "h2": "4.2.9",
    "hypercorn": "0.15.0",
    "pyjwt": "2.12.1",
    "quart": "0.19.6",
    "werkzeug": "3.0.5",
}


def test_what_is_installed_is_good_enough() -> None:
    check_floors()


@pytest.mark.parametrize("name", FLOORS)
def test_one_that_is_too_old_is_named_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_floors(lambda each: BELOW[each] if each == name else metadata.version(each))
    assert str(raised.value) == (
        f"{name} {BELOW[name]} is older than {FLOORS[name].version} ({FLOORS[name].reason})"
    )


@pytest.mark.parametrize(
    ("version", "good"),
    [
        *((version, True) for version in ("2.13", "2.13.0", "2.13.0.post1", "3", "2.100.0")),
        *((version, False) for version in ("2.13.0rc1", "2.13.0.dev0", "2.9.9", "unknown")),
    ],
)
def test_versions_are_numbers_and_not_text(version: str, good: bool) -> None:
    def version_of(name: str) -> str:
        return version if name == "pyjwt" else metadata.version(name)

    if good:
        check_floors(version_of)
    else:
        with pytest.raises(ConfigError, match="pyjwt"):
            check_floors(version_of)


def test_one_that_is_missing_is_named() -> None:
    def version_of(name: str) -> str:
        if name == "h2":
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    with pytest.raises(ConfigError, match="h2 is not installed"):
        check_floors(version_of)


def test_all_are_shown_with_their_floors() -> None:
    lines = versions()
    assert lines[0].startswith("Python 3.")
    assert "OpenSSL" in lines[1]
    for name, floor in FLOORS.items():
        assert f"{name} {metadata.version(name)} (at least {floor.version})" in lines
