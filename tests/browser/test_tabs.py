"""Eight tabs of one user in a real browser: one connection, one toast, one list; leaders that die."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error

from tests.browser.listening import SECRET, SETTINGS, Site, Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

TABS = 8


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve(SECRET, **SETTINGS)


@pytest.fixture
def site(server: Any, browser: Browser) -> Iterator[Site]:
    context = browser.new_context()
    yield Site(server, context)
    context.close()


def leader_of(tabs: list[Tab]) -> Tab:
    (found,) = [tab for tab in tabs if tab.get("t.client.state.leader")]
    return found


def open_tabs(site: Site) -> list[Tab]:
    tabs = [site.tab() for _ in range(TABS)]
    for tab in tabs:
        tab.wait_live()
    return tabs


def wait_for(tabs: list[Tab], cursor: str) -> None:
    for tab in tabs:
        tab.wait("cursor => t.entries.some(({ id }) => id === cursor)", cursor)


class Publishing:
    """Publishes in another thread as long as the block lasts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            self._site.publish(f"number {number}")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_one_connection_one_toast_and_the_same_in_each(site: Site) -> None:
    tabs = open_tabs(site)
    first = site.publish("A deal")
    assert site.reached == 1
    wait_for(tabs, first)
    assert sum(len(tab.get("t.alerts")) for tab in tabs) == 1
    reader = next(tab for tab in tabs if not tab.get("t.client.state.leader"))
    (notification_id,) = reader.get("t.entries.map(({ data }) => data.notification_id)")
    reader.page.evaluate("id => t.client.mark('read', { ids: [id] })", notification_id)
    for tab in tabs:
        tab.wait("() => t.entries.at(-1).type === 'notification-updated'")
        assert tab.get("t.entries.at(-1).data") == {"state": "read", "notification_ids": [notification_id]}
    assert len({tuple(tab.told()) for tab in tabs}) == 1


@pytest.mark.parametrize("way", ["closed", "crashed", "frozen"])
def test_another_takes_over_and_nothing_is_lost_or_doubled(site: Site, way: str) -> None:
    tabs = open_tabs(site)
    leader = leader_of(tabs)
    others = [tab for tab in tabs if tab is not leader]
    with Publishing(site):
        others[0].wait("() => t.entries.length > 5")
        began = others[0].get("Date.now()")
        if way == "closed":
            leader.page.close()
        elif way == "crashed":
            with suppress(Error):  # a page that has crashed does not answer
                site.context.new_cdp_session(leader.page).send("Page.crash", timeout=100)
        else:
            leader.freeze()
        for tab in others:
            tab.wait(
                "began => t.states.some(([state, , , at]) => state === 'live' && at > began)",
                began,
            )
        new = leader_of(others)
        live = new.get("t.states.find(([state, leader]) => leader && state === 'live')[3]")
        print(f"{way}: live again after {live - began} ms")
        new.wait("seen => t.entries.length > seen + 5", len(new.told()))
    last = site.publish("the last")
    assert site.reached == 1 or way == "frozen"
    wait_for(others, last)
    for tab in others:
        assert tab.told() == site.listed()
        assert tab.get("t.gaps") == []
    alerted = [cursor for tab in others for cursor in tab.get("t.alerts")]
    assert len(alerted) == len(set(alerted))
    if way == "frozen":
        leader.thaw()
        wait_for([leader], last)
        assert leader.told() == site.listed()
        leader.wait("() => !t.client.state.leader && t.client.state.state === 'live'")


def test_a_tab_that_comes_later_is_served_from_its_own_cursor(site: Site) -> None:
    old = site.tab()
    old.wait_live()
    cursors = [site.publish(str(number)) for number in range(4)]
    wait_for([old], cursors[-1])
    inside = site.tab(cursor=cursors[1])  # the leader still has what it lacks
    wait_for([inside], cursors[-1])
    assert inside.told() == cursors[2:]
    late = Site(site.server, site.context, site.user_id).tab(share="another")
    late.wait_live()
    late_too = site.tab(
        share="another", cursor=cursors[0]
    )  # this leader has none of it and reads the log anew
    wait_for([late_too], cursors[-1])
    assert late_too.told() == cursors[1:]
    assert late.told() == []
    last = site.publish("to all")
    wait_for([old, inside, late, late_too], last)
    assert site.reached == 2


def test_users_and_lonely_tabs_keep_to_themselves(site: Site) -> None:
    ours = site.tab()
    other = Site(site.server, site.context)
    theirs = other.tab()
    alone = site.tab(share=False)
    for tab in (ours, theirs, alone):
        tab.wait_live()
        assert tab.get("t.client.state.leader")
    cursor = site.publish("for one")
    assert site.reached == 2
    wait_for([ours, alone], cursor)
    assert (theirs.told(), ours.told()) == ([], [cursor])


def test_each_tab_is_alone_where_there_are_no_locks(site: Site) -> None:
    site.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    tabs = [site.tab(), site.tab()]
    for tab in tabs:
        tab.wait_live()
    cursor = site.publish("twice")
    assert site.reached == 2
    wait_for(tabs, cursor)
    assert [tab.told() for tab in tabs] == [[cursor], [cursor]]
