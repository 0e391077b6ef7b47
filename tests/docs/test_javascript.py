"""The JavaScript client in a real browser behind nginx, with its shipped configuration and with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.browser.listening import LISTEN, PATIENCE_S
from tests.docs.test_proxies import KEY, Behind, nginx_as_shipped, nginx_tuned, token

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
