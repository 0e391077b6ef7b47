"""The way from the original service, run from its text; the original's client, unchanged, in a browser."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

CLIENT = (Path(__file__).parent / "original_client.js").read_text()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECRET = "change-me-change-me-change-me-32"
PATIENCE_MS = 60_000
DEAL = {"item_name": "Orange juice", "best_price_in_cents": 279, "store_name": "Corner shop", "store_id": 12}


@pytest.fixture
def migrate(document: Callable[[str], Any], desk: Any) -> Any:
    if shutil.which("node") is None:
        pytest.skip("no node here: make quickstarts")
    desk.env |= {"NOTIFYD_HEARTBEAT_SECONDS": "1.5", "NOTIFYD_PONG_SECONDS": "1"}
    found = document("docs/migrate.md")
    for name in ("websocketService.mjs", "job.mjs"):
        desk.write(name, found.file(name))
    return found


@pytest.fixture
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def block_of(migrate: Any, terminal: str) -> Any:
    (block,) = [block for block in migrate.consoles() if block.terminal == terminal]
    return block


def original_token() -> str:
    """As the original signs it: the user is a number in a claim of its own."""
    return jwt.encode({"user_id": 7, "exp": int(time.time()) + 900}, SECRET, algorithm="HS256")


def wait_for(page: Page, condition: str) -> None:
    page.wait_for_function(f"() => {{ const {{ seen }} = window.original; return {condition}; }}")


def received(page: Page, type_: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        "type => window.original.seen.messages.filter(message => message.type === type)", type_
    )
    return found


def test_the_original_client_works_unchanged(migrate: Any, desk: Any, page: Page) -> None:
    desk.terminal("server").run(block_of(migrate, "server"))
    page.goto(f"http://127.0.0.1:{desk.port}/")
    page.evaluate(CLIENT, original_token())
    wait_for(page, "seen.messages.length > 0")
    (hello,) = received(page, "connection-established")
    assert hello["data"]["user_id"] == "7"

    desk.terminal("backend").run(block_of(migrate, "backend"))
    wait_for(page, "seen.events.length === 2")
    (name, deals), (other_name, announcement) = page.evaluate("() => window.original.seen.events")
    assert (name, other_name) == ("notification:deal", "notification:system")
    assert deals["deals"] == [DEAL]
    assert (deals["user_id"], deals["message"]) == ("7", "You have 1 new deal(s) on your watched items!")
    assert (announcement["message"], announcement["severity"]) == ("Closed tomorrow", "warning")

    # What it sends: pings of its own, and pongs to each of the server's.
    page.evaluate("() => window.original.heartbeat('ping')")
    wait_for(page, "['ping', 'pong'].every(type => seen.messages.some(message => message.type === type))")
    wait_for(page, "seen.messages.filter(message => message.type === 'ping').length >= 3")
    # What it never sent is answered by the sixth type, and the connection goes on.
    page.evaluate("() => window.original.send({ type: 'subscribe', data: {}, timestamp: 'now' })")
    wait_for(page, "seen.events.length === 3")
    (error,) = received(page, "error")
    assert error["data"]["code"] == "unknown_type"
    assert error["data"]["message"]
    assert page.evaluate("() => window.original.seen.closes") == []
    for message in page.evaluate("() => window.original.seen.messages"):
        assert {"type", "data", "timestamp"} <= message.keys() <= {"type", "data", "timestamp", "id"}
        assert message["timestamp"].endswith("Z")


def test_the_original_client_comes_back_after_a_restart(migrate: Any, desk: Any, page: Page) -> None:
    server = block_of(migrate, "server")
    first = desk.terminal("server")
    first.run(server)
    page.goto(f"http://127.0.0.1:{desk.port}/")
    page.evaluate(CLIENT, original_token())
    wait_for(page, "seen.messages.length > 0")
    first.__exit__()  # the terminal is closed, and the server with it
    wait_for(page, "seen.closes.length > 0")
    desk.terminal("server again").run(server)
    wait_for(page, "seen.opens === 2 && seen.connected")
    desk.terminal("backend").run(block_of(migrate, "backend"))
    wait_for(page, "seen.events.length === 2")


def test_a_bad_token_is_told_why(migrate: Any, desk: Any, page: Page) -> None:
    desk.terminal("server").run(block_of(migrate, "server"))
    page.goto(f"http://127.0.0.1:{desk.port}/")
    page.evaluate(CLIENT, jwt.encode({"user_id": 7}, SECRET, algorithm="HS256"))  # without exp
    wait_for(page, "seen.closes.length > 0")
    assert page.evaluate("() => window.original.seen.closes[0]") == 4501
    assert received(page, "error")[0]["data"]["code"] == "unauthorized"
