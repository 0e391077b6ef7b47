"""The way from the original service, run from its text; the original's client, unchanged, in a browser."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest

from tests.docs.running import nginx, reload_nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
CLIENT = (HERE / "original_client.js").read_text()
TOOLS = HERE.parents[1] / ".quickstarts"
SECRET = "change-me-change-me-change-me-32"
PATIENCE_S = 60
#: The message types that the original client knows.
SIX = {
    "connection-established",
    "deal-notification",
    "system-message",
    "ping",
    "pong",
    "error",
}
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
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    page.context.close()


def block_of(migrate: Any, terminal: str) -> Any:
    (block,) = [block for block in migrate.consoles() if block.terminal == terminal]
    return block


def original_token() -> str:
    """As the original signs it: the user is a number in a claim of its own."""
    return jwt.encode({"user_id": 7, "exp": int(time.time()) + 900}, SECRET, algorithm="HS256")


def wait_for(page: Page, condition: str) -> None:
    page.wait_for_function(
        f"""() => {{
            const {{ seen }} = window.original;
            const received = (type) => seen.messages.filter((message) => message.type === type);
            return {condition};
        }}"""
    )


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
    assert {message["type"] for message in page.evaluate("() => window.original.seen.messages")} == SIX
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
    wait_for(page, "seen.delays.length >= 3")  # the original's own patience: longer and longer
    desk.terminal("server again").run(server)
    wait_for(page, "seen.opens === 2 && seen.connected")
    delays = page.evaluate("() => window.original.seen.delays")
    assert delays == [200 * 2**attempt for attempt in range(len(delays))]
    desk.terminal("backend").run(block_of(migrate, "backend"))
    wait_for(page, "seen.events.length === 2")


class Shop:
    """The original's Express server, whose jobs publish to both, and nginx in front of it and of notifyd."""

    def __init__(self, migrate: Any, desk: Any, front: int, port: int) -> None:
        self._desk = desk
        self._front, self._port = front, port
        self._server = migrate.file("default.conf").replace("listen 80", f"listen 127.0.0.1:{front}")
        desk.write("both.mjs", migrate.file("both.mjs"))
        for ours, name in (("server", "websocketService.server"), ("app", "app")):
            shutil.copy(HERE / f"original_{ours}.mjs", desk.folder / f"{name}.mjs")
        (desk.folder / "node_modules").symlink_to(TOOLS / "node_modules")
        desk.env |= {
            "NOTIFYD_JWT_SECRET": SECRET,
            "NOTIFYD_URL": f"http://127.0.0.1:{desk.port}",
            "NOTIFYD_KEY": "my-publish-key",
            "PORT": str(port),
        }

    def configuration(self, *, notifyd: bool) -> str:
        """With the line of the document, or with what its comment says."""
        text = self._server
        if not notifyd:
            before, found, after = text.partition("http://127.0.0.1:8000; # and back again: ")
            assert found
            text = before + after
        return f"events {{}}\nhttp {{\naccess_log off;\n{text.replace('127.0.0.1:3001', self._address)}}}\n"

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self, name: str) -> Any:
        terminal = self._desk.terminal(name)
        terminal.start("node app.mjs")
        terminal.expect(["shop is up"])
        return terminal

    def point_ws(self, *, to_notifyd: bool) -> None:
        reload_nginx(self._desk, self.configuration(notifyd=to_notifyd))
        deadline = time.monotonic() + PATIENCE_S
        while ("problem" in self._asked().headers.get("content-type", "")) != to_notifyd:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _asked(self) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{self._front}/ws", trust_env=False)

    def run_job(self) -> None:
        subprocess.run(
            ["curl", "-fsS", "-X", "POST", f"http://127.0.0.1:{self._front}/job"],
            check=True,
            capture_output=True,
        )


def test_side_by_side_and_back_again(
    migrate: Any, desk: Any, page: Page, free_port: Callable[[], int]
) -> None:
    if not (TOOLS / "node_modules/ws").exists():
        pytest.skip("the original's packages are not installed: make quickstarts")
    server = block_of(migrate, "server")
    desk.terminal("server").run(server)
    shop = Shop(migrate, desk, front := free_port(), free_port())
    with nginx(desk, shop.configuration(notifyd=False), front) as address:
        old = shop.start("shop")
        page.goto(address)
        page.evaluate(CLIENT, original_token())
        wait_for(page, "seen.messages.length === 1")
        shop.run_job()
        wait_for(page, "seen.events.length === 1")

        shop.point_ws(to_notifyd=True)
        shop.run_job()
        wait_for(page, "seen.events.length === 2")  # nobody was cut off
        old.__exit__()
        shop.start("shop again")
        wait_for(page, "seen.opens === 2 && received('connection-established').length === 2")
        shop.run_job()
        wait_for(page, "seen.events.length === 3")

        shop.point_ws(to_notifyd=False)
        desk.terminal("server").__exit__()
        wait_for(page, "seen.opens === 3 && received('connection-established').length === 3")
        desk.terminal("server again").run(server)
        shop.run_job()
        wait_for(page, "seen.events.length === 4")
    welcomes = [each["data"].get("message") for each in received(page, "connection-established")]
    assert welcomes == ["original", None, "original"]
    by_notifyd = ["id" in each for each in received(page, "deal-notification")]
    assert by_notifyd == [False, False, True, False]


def test_a_bad_token_is_told_why(migrate: Any, desk: Any, page: Page) -> None:
    desk.terminal("server").run(block_of(migrate, "server"))
    page.goto(f"http://127.0.0.1:{desk.port}/")
    page.evaluate(CLIENT, jwt.encode({"user_id": 7}, SECRET, algorithm="HS256"))  # without exp
    wait_for(page, "seen.closes.length > 0")
    assert page.evaluate("() => window.original.seen.closes[0]") == 4501
    assert received(page, "error")[0]["data"]["code"] == "unauthorized"
