"""The first hour, run from its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def test_quickstart(document: Callable[[str], Any], desk: Any) -> None:
    for block in document("docs/quickstart.md").consoles():
        desk.terminal(block.terminal).run(block)
