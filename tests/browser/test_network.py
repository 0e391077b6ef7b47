"""What networks, servers and browsers do to a connection: it ends live, with exactly the inbox's list."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.browser.listening import SECRET, SETTINGS, Site, token
from tests.browser.middle import proxy
from tests.conftest import CHROMIUM, FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.browser.middle import Habit

#: Seconds for which a killed server is away; 60 is what the documents speak of.
OUTAGE_S = float(os.environ.get("TEST_OUTAGE_S", "5"))

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180 + 2 * OUTAGE_S)]

TRANSPORTS = ["websocket", "sse"]


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve(SECRET, **SETTINGS, HEARTBEAT_SECONDS="2", PONG_SECONDS="1")


@pytest.fixture
def site(server: Any, browser: Browser) -> Iterator[Site]:
    context = browser.new_context()
    yield Site(server, context)
    context.close()


def heard_all(site: Site, tab: Any) -> None:
    """The tab has been live from the start of the inbox, and ends so."""
    last = site.publish("the last")
    tab.wait("cursor => t.entries.some(({ id }) => id === cursor)", last)
    tab.wait_live()
    assert tab.told() == site.listed()
    assert tab.get("t.gaps") == []


@pytest.mark.parametrize("habit", ["refuses", "swallows", "buffers"])
def test_first_over_sse_where_a_proxy_spoils_websockets(site: Site, habit: Habit) -> None:
    cursor = site.publish("before")
    with proxy(site.server.port, habit) as address:
        behind = Site(site.server, site.context, site.user_id, address)
        waiting = site.publish("waits for the client")
        tab = behind.tab(cursor=cursor)
        tab.wait("() => t.entries.length > 0")
        assert tab.told() == [waiting]
        assert tab.get("t.client.state.transport") == "sse"
        print(f"{habit}: first notification after {tab.get('t.entries[0].at')} ms")
        again = behind.tab(cursor=cursor, share=False)
        again.wait("() => t.entries.length > 0")
        tab.page.evaluate("t.client.disconnect(); t.client.connect()")
        tab.wait_live()
        tried = tab.get("t.states.map(([, , transport]) => transport).filter(Boolean)")
        assert tried[-2:] == ["sse", "sse"]  # it remembers, and tries no WebSocket first


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_away_and_back(site: Site, transport: str) -> None:
    tab = site.tab(transport=transport)
    tab.wait_live()
    site.publish("before")
    tab.wait("() => t.entries.length === 1")
    site.context.set_offline(True)
    site.publish("while it is away")
    if transport == "websocket":  # a stream that is open already is not cut by this browser
        tab.wait("() => t.client.state.state !== 'live'")
        assert len(tab.told()) == 1
    site.context.set_offline(False)
    heard_all(site, tab)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_that_ends_without_having_been_renewed(site: Site, transport: str) -> None:
    """The page was too busy, or asleep: the server closes, and a new token goes on at the cursor."""
    tab = site.tab(tokens=[token(site.user_id, ttl_s=-20), token(site.user_id)], transport=transport)
    tab.wait_live()
    site.publish("before")
    tab.wait("() => t.entries.length === 1")
    heard_all(site, tab)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_tab_that_was_frozen(site: Site, transport: str) -> None:
    tab = site.tab(transport=transport)
    tab.wait_live()
    site.publish("before")
    tab.wait("() => t.entries.length === 1")
    tab.freeze()
    for number in range(5):
        site.publish(f"asleep {number}")
        time.sleep(1)  # in all longer than ping and answer: the server gives it up
    tab.thaw()
    heard_all(site, tab)


def test_the_browsers_cache_of_pages(browser: Browser, server: Any) -> None:
    """A page in the cache holds no connection; taken out of it, it goes on where it was."""
    with browser.browser_type.launch(
        executable_path=CHROMIUM,
        args=list(FLAGS),
        ignore_default_args=["--disable-back-forward-cache"],
    ) as caching:
        site = Site(server, caching.new_context())
        tab = site.tab()
        tab.wait_live()
        site.publish("before")
        tab.wait("() => t.entries.length === 1")
        tab.page.evaluate("addEventListener('pageshow', ({ persisted }) => { t.persisted = persisted })")
        tab.page.goto(f"{site.address}/react.js")
        site.publish("while it is in the cache")
        assert site.reached == 0
        tab.page.go_back(wait_until="commit")  # a page out of the cache is not loaded
        tab.wait("() => t.persisted !== undefined")
        assert tab.get("t.persisted") is True
        heard_all(site, tab)


@pytest.mark.postgres
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_was_killed(
    postgres: Any, serve: Callable[..., Any], browser: Browser, transport: str
) -> None:
    """Meanwhile an application publishes inside the database, by `notifyd_publish`."""
    with postgres.database() as url:
        server = serve(SECRET, **SETTINGS, DATABASE_URL=url)
        site = Site(server, browser.new_context())
        tab = site.tab(transport=transport)
        tab.wait_live()
        site.publish("before")
        tab.wait("() => t.entries.length === 1")
        server.kill()
        deadline = time.monotonic() + OUTAGE_S
        with psycopg.connect(url, autocommit=True) as connection:
            while time.monotonic() < deadline:
                connection.execute(
                    "SELECT notifyd_publish(%s, 'system-message', %s)",
                    [site.user_id, '{"message": "through the database"}'],
                )
                time.sleep(OUTAGE_S / 20)
        tab.wait("() => t.client.state.state !== 'live'")
        server.start()
        heard_all(site, tab)
        assert len(tab.told()) > 10
        site.context.close()
        server.stop()


def test_a_page_of_an_allowed_origin_goes_on_over_sse(serve: Callable[..., Any], browser: Browser) -> None:
    pages = serve(SECRET, **SETTINGS)
    server = serve(SECRET, **SETTINGS, ALLOWED_ORIGINS=pages.address)
    context = browser.new_context(bypass_csp=True)  # that of our own page, which stands for an application's
    site = Site(server, context, address=pages.address)
    first = site.publish("before")
    second = site.publish("missed")
    tab = site.tab(cursor=first, url=server.address, transport="sse")  # a cursor makes it send Last-Event-ID
    tab.wait_live()
    tab.wait("cursor => t.entries.some(({ id }) => id === cursor)", site.publish("live"))
    assert tab.told()[0] == second
    context.close()
