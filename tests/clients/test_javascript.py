"""The JavaScript client's own tests, types, size, and the files that are built of it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    InClient = Callable[..., str]

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js"

pytestmark = pytest.mark.timeout(180)


def source_hash() -> str:
    """As tools/build.js takes it."""
    found = hashlib.sha256()
    for path in sorted((CLIENT / "src").glob("*.js"), key=lambda path: path.name):
        found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", ["client.js", "react.js"])
def test_what_is_served_is_built_of_these_sources(name: str) -> None:
    first = (ROOT / "notifyd" / "web" / name).read_text("utf-8").partition("\n")[0]
    assert first.endswith(source_hash()), "run `make client`"


def test_it_is_what_a_build_makes(in_client: InClient) -> None:
    assert in_client("node", "tools/build.js", "--check") == "", "run `make client`"


def test_types(in_client: InClient) -> None:
    """A wrong payload is an error of the compiler: test/types.test-d.ts expects each of them."""
    in_client("npx", "--no-install", "tsc")


def test_vitest(in_client: InClient) -> None:
    printed = in_client("npx", "--no-install", "vitest", "run", "--reporter=json")
    report = json.loads(printed[printed.index("{") :])
    assert report["numPassedTests"] > 100
    assert report["numPassedTests"] == report["numTotalTests"]


def test_the_core_is_small_and_the_document_says_how_small(in_client: InClient) -> None:
    found = re.search(r"(\d+) bytes", in_client("node", "tools/build.js", "--size"))
    assert found is not None
    said = re.search(r"([\d,]+) bytes", (ROOT / "docs" / "javascript.md").read_text("utf-8"))
    assert said is not None
    assert said[1].replace(",", "") == found[1]


def members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield name, member
            yield from members(member)


def test_the_lock_names_versions_and_no_addresses_of_packages() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text())
    assert not [name for name, _ in members(lock["packages"]) if name == "resolved"]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
