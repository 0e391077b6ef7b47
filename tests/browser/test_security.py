"""What a real browser does with TLS and HTTP/2, and what a page of another origin can do to ours."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from tests.certificates import write_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

SECRET = "a secret that is long enough for HS256"
PATIENCE_MS = 20_000

#: What pages run: the first thing that a stream of each kind tells, or that it does not open.
BY_WEBSOCKET = """([address, query]) => new Promise(done => {
  const socket = new WebSocket(address.replace(/^http/, 'ws') + '/ws' + query)
  socket.onmessage = event => done(JSON.parse(event.data).type)
  socket.onclose = event => done('closed ' + event.code)
})"""
BY_EVENTS = """([address, query]) => new Promise(done => {
  const source = new EventSource(address + '/events' + query, {withCredentials: true})
  source.onmessage = event => { source.close(); done(JSON.parse(event.data).type) }
  source.onerror = () => { source.close(); done('failed') }
})"""
BY_FETCH = """([address, path]) => fetch(address + path, {credentials: 'include'})
  .then(answer => answer.text().then(text => answer.status), () => 'failed')"""


def token(user_id: str = "dora") -> str:
    return mint_token(SECRET, user_id, now_ms=wall_ms(), ttl_s=600)


# --- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    cert, key = write_certificate(tmp_path_factory.mktemp("tls"))
    return serve(SECRET, TLS_CERT_FILE=str(cert), TLS_KEY_FILE=str(key))


@pytest.fixture
def trusting_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_streams_go_by_http2_and_websockets_by_http1(secure: Any, trusting_page: Page) -> None:
    page = trusting_page
    protocols: dict[str, str] = {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")

    def note(event: Any) -> None:
        protocols[event["response"]["url"].partition("?")[0]] = event["response"]["protocol"]

    session.on("Network.responseReceived", note)
    page.goto(secure.address)
    arguments = [secure.address, f"?token={token()}"]
    assert page.evaluate(BY_EVENTS, arguments) == "connection-established"
    assert page.evaluate(BY_WEBSOCKET, arguments) == "connection-established"
    assert protocols[f"{secure.address}/"] == "h2"
    assert protocols[f"{secure.address}/events"] == "h2"
    handshake = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
    assert page.evaluate(handshake) == "h2"


def test_the_page_is_live_over_tls(secure: Any, trusting_page: Page) -> None:
    page = trusting_page
    page.goto(secure.address)
    page.get_by_label("Token").fill(token())
    page.get_by_role("button", name="Sign in").click()
    page.locator("#status-title").get_by_text("Live").wait_for()


# --- other origins --------------------------------------------------------------------------------------


@contextmanager
def elsewhere() -> Iterator[str]:
    """A page of another origin: the same host on another port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>elsewhere</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with elsewhere() as address:
        yield address


@pytest.fixture(scope="module")
def ours(serve: Callable[..., Any]) -> Any:
    return serve(SECRET)


@pytest.fixture
def signed_in(browser: Browser, ours: Any) -> Iterator[BrowserContext]:
    """A browser with our cookie, which is one for every port of the host."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([{"name": "accessToken", "value": token(), "url": ours.address}])
    yield context
    context.close()


def test_our_own_page_may_use_the_cookie(signed_in: BrowserContext, ours: Any) -> None:
    page = signed_in.new_page()
    page.goto(ours.address)
    assert page.evaluate(BY_WEBSOCKET, [ours.address, ""]) == "connection-established"
    assert page.evaluate(BY_EVENTS, [ours.address, ""]) == "connection-established"
    assert page.evaluate(BY_FETCH, [ours.address, "/v1/notifications"]) == 200


def test_a_page_on_another_port_may_not(signed_in: BrowserContext, ours: Any, other: str) -> None:
    page = signed_in.new_page()
    page.goto(other)
    assert page.evaluate(BY_WEBSOCKET, [ours.address, ""]) == "closed 1006"
    assert page.evaluate(BY_EVENTS, [ours.address, ""]) == "failed"
    assert page.evaluate(BY_FETCH, [ours.address, "/v1/notifications"]) == "failed"


def test_a_page_of_an_allowed_origin_may(serve: Callable[..., Any], browser: Browser, other: str) -> None:
    server = serve(SECRET, ALLOWED_ORIGINS=other)
    context = browser.new_context()
    context.add_cookies([{"name": "accessToken", "value": token(), "url": server.address}])
    page = context.new_page()
    page.goto(other)
    assert page.evaluate(BY_WEBSOCKET, [server.address, ""]) == "connection-established"
    assert page.evaluate(BY_EVENTS, [server.address, ""]) == "connection-established"
    context.close()


def test_the_page_cannot_be_framed_and_loads_nothing_from_elsewhere(ours: Any) -> None:
    headers = httpx2.get(ours.address, trust_env=False).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["object-src"] == policy["base-uri"] == "'none'"
    assert not any("unsafe" in sources for sources in policy.values())
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
