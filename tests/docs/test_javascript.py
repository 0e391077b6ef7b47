"""The JavaScript client in a real browser behind nginx, with its shipped configuration and with ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser.listening import LISTEN, PATIENCE_S
from tests.docs.test_proxies import KEY, Behind, nginx_as_shipped, nginx_tuned, token
from tools.example import CLIENT, missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("proxy", "transport", "becomes"),
    [
        (nginx_tuned, "websocket", "websocket"),
        (nginx_tuned, "sse", "sse"),
        (nginx_as_shipped, "sse", "sse"),
        (nginx_as_shipped, "auto", "sse"),  # it passes no upgrade on: 426
    ],
)
def test_behind_nginx(
    document: Any,
    desk: Any,
    free_port: Callable[[], int],
    browser: Browser,
    proxy: Any,
    transport: str,
    becomes: str,
) -> None:
    with proxy(desk, document, free_port()) as address:
        behind = Behind(desk, address)
        with behind.server(), browser.new_context() as context:
            page = context.new_page()
            page.goto(f"{address}/client.js")
            options = {"transport": transport}
            page.evaluate(LISTEN, {"tokens": [token()], "options": options, "cursor": None})
            live = "() => t.client.state.state === 'live'"
            page.wait_for_function(live, timeout=PATIENCE_S * 1000)
            body = {"user_id": "7", "type": "system-message", "data": {"message": "behind nginx"}}
            headers = {"Authorization": f"Bearer {KEY}"}
            httpx2.post(
                f"{address}/v1/notifications", json=body, headers=headers, trust_env=False
            ).raise_for_status()
            page.wait_for_function("() => t.entries.length === 1", timeout=PATIENCE_S * 1000)
            assert page.evaluate("t.client.state.transport") == becomes


def test_the_page_of_the_document(document: Any, desk: Any, browser: Browser) -> None:
    """As it stands there, on the host of the server, with a login that gives tokens."""
    address = f"http://127.0.0.1:{desk.port}"
    html = document("docs/javascript.md").file("index.html")
    with Behind(desk, address).server(), browser.new_context() as context:
        context.route("**/shop", lambda route: route.fulfill(body=html, content_type="text/html"))
        context.route("**/my-login/notifyd-token", lambda route: route.fulfill(body=token()))
        page = context.new_page()
        page.goto(f"{address}/shop")
        expect(page.locator("#live")).to_have_text("Live")
        deal = {"item_name": "Tea", "best_price_in_cents": 99, "store_name": "Corner shop", "store_id": 1}
        body = {"user_id": "7", "type": "deal-notification", "data": {"deals": [deal]}}
        headers = {"Authorization": f"Bearer {KEY}"}
        with page.expect_console_message(lambda line: line.text == "1 new deals found!"):
            httpx2.post(f"{address}/v1/notifications", json=body, headers=headers, trust_env=False)
        expect(page.locator("#messages li")).to_have_text("You have 1 new deal(s) on your watched items!")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("docs/react.md", ["App.jsx"]),
        ("docs/migrate.md", ["main.jsx", "NotificationComponent.jsx"]),
        ("docs/javascript.md", ["listen.mjs"]),
    ],
)
def test_what_is_shown_uses_the_package_rightly(document: Any, path: str, names: list[str]) -> None:
    """By TypeScript's checker, which finds names and members that are not there."""
    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)
    shown = document(path)
    settings = {
        "extends": "../tsconfig.json",
        "compilerOptions": {"noImplicitAny": False},
        "include": ["./*"],
        "exclude": [],
    }
    with tempfile.TemporaryDirectory(dir=CLIENT) as folder:
        for name in names:
            (Path(folder) / name).write_text(shown.file(name))
        (Path(folder) / "tsconfig.json").write_text(json.dumps(settings))
        tsc = CLIENT / "node_modules" / ".bin" / "tsc"
        checked = subprocess.run([tsc, "-p", folder], cwd=CLIENT, capture_output=True, text=True, check=False)
    assert checked.stdout == ""
