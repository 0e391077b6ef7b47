"""Tabs that listen by the client a server gives out at /client.js, and what they have heard."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from notifyd.auth import mint_token
from notifyd.clock import wall_ms

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SECRET = "a secret that is long enough for HS256"
PUBLISH_KEY = "publish-key-of-the-tests"
ADMIN_KEY = "admin-key-of-the-tests"
SETTINGS = {"PUBLISH_KEYS": PUBLISH_KEY, "ADMIN_KEYS": ADMIN_KEY}

#: Seconds for what has to happen in a page; generous, for busy machines.
PATIENCE_S = 30.0

LISTEN = """async ({ tokens, options, cursor }) => {
    const { createClient } = await import("/client.js");
    let asked = 0;
    const getToken = () => tokens[Math.min(asked++, tokens.length - 1)];
    const client = createClient({ getToken, ...options });
    const t = window.t = { client, entries: [], alerts: [], states: [], gaps: [], began: performance.now() };
    const since = () => Math.round(performance.now() - t.began);
    client.on("entry", ({ id, type, data }, { alert }) => {
        t.entries.push({ id, type, data, at: since() });
        if (alert) t.alerts.push(id);
    });
    client.on("state", ({ state, leader, transport }) => {
        t.states.push([state, leader, transport, Date.now()]);
    });
    client.on("recovered", ({ recovered, reason }) => {
        if (!recovered && reason !== "no-cursor") t.gaps.push(reason);
    });
    client.connect(cursor);
}"""


def token(user_id: str, ttl_s: float = 3600) -> str:
    return mint_token(SECRET, user_id, now_ms=wall_ms(), ttl_s=ttl_s)


@dataclass
class Tab:
    """A page that listens."""

    page: Page
    _dialog: Any = None

    def told(self) -> list[str]:
        """Ids of the entries, in the order in which the application got them."""
        found: list[str] = self.page.evaluate("t.entries.map(({ id }) => id)")
        return found

    def get(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def wait(self, condition: str, arg: Any = None) -> None:
        self.page.wait_for_function(condition, arg=arg, timeout=PATIENCE_S * 1000)

    def freeze(self) -> None:
        """Nothing runs in it any more until `thaw`: a dialog is open, since headless browsers hide no tab."""
        with self.page.expect_event("dialog") as shown:
            self.page.evaluate("setTimeout(() => alert('frozen'))")
        self._dialog = shown.value

    def thaw(self) -> None:
        self._dialog.accept()

    def wait_live(self) -> None:
        self.wait("() => t.client.state.state === 'live'")


@dataclass
class Site:
    """A running server, a user of the test's own, and the tabs in which that user is."""

    server: Any
    context: BrowserContext
    user_id: str = ""
    address: str = ""
    reached: int = 0

    def __post_init__(self) -> None:
        self.user_id = self.user_id or f"user-{secrets.token_hex(4)}"
        self.address = self.address or self.server.address

    def tab(self, *, tokens: list[str] | None = None, cursor: str | None = None, **options: Any) -> Tab:
        page = self.context.new_page()
        page.goto(f"{self.address}/client.js")  # a page of the same origin with nothing on it
        page.evaluate(
            LISTEN,
            {"tokens": tokens or [token(self.user_id)], "options": options, "cursor": cursor},
        )
        return Tab(page)

    def publish(self, message: str, **more: Any) -> str:
        """The entry's cursor; `reached` is then how many connections it concerned."""
        body = {"user_id": self.user_id, "type": "system-message", "data": {"message": message}, **more}
        answer = self._call("POST", "/v1/notifications", PUBLISH_KEY, body)
        self.reached = int(answer["live_connections"])
        return str(answer["id"])

    def listed(self) -> list[str]:
        """The inbox's list, oldest first."""
        answer = self._call("GET", "/v1/notifications?limit=500", token(self.user_id))
        return [each["id"] for each in reversed(answer["notifications"])]

    def _call(self, method: str, path: str, key: str, body: Any = None) -> Any:
        answer = httpx2.request(
            method,
            self.server.address + path,
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        answer.raise_for_status()
        return answer.json()
