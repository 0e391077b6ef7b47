"""What the README shows does what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def test_readme(document: Callable[[str], Any], desk: Any) -> None:
    readme = document("README.md")
    first, *rest = readme.consoles()
    assert "make demo" in first.text, "two commands that have tests of their own"
    for block in rest:
        desk.terminal(block.terminal).run(block)
    desk.terminal("listener").expect(["…Your import is done…", "…Hello from curl…", "…Orange juice 64 oz…"])

    desk.write("listen.py", readme.file("listen.py"))
    listener = desk.terminal("python")
    listener.start('.venv/bin/python listen.py "$(.venv/bin/notifyd token --user 7)"')
    publish = '.venv/bin/notifyd publish --user 7 --message "from Python" --json'
    desk.terminal().start(f"until {publish} | grep -E 'live_connections\": ?2'; do :; done")
    listener.expect(["system-message …from Python…"])
