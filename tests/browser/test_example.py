"""The React example as a person sees it: bell, badge, list, toasts, Live; and by axe's rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tools.example import CLIENT, example, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

AXE = CLIENT / "node_modules" / "axe-core" / "axe.min.js"
DEAL = {"item_name": "Orange juice", "store_name": "Corner shop", "store_id": 12, "best_price_in_cents": 279}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True},
}


@pytest.fixture(scope="module")
def address(demo: Any) -> Iterator[str]:
    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)
    with example(demo.address) as found:
        yield found


@pytest.fixture(scope="module")
def address_of_development(demo: Any) -> Iterator[str]:
    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)
    with example(demo.address, "development") as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(locale="en-US") as found:
        yield found


def visit(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}/?user=ben")
    expect(page.locator(".live")).to_have_text("Live")
    return page


def toasts(page: Page) -> Locator:
    return page.locator(".toast")


def unread(page: Page) -> int:
    label = page.locator(".bell").get_attribute("aria-label") or ""
    found = re.search(r"(\d+) unread", label)
    return int(found[1]) if found else 0


def publish(demo: Any, type_: str, data: dict[str, Any]) -> None:
    demo.call("POST", "/v1/notifications", {"user_id": "ben", "type": type_, "data": data})


def test_deals_in_every_tab_and_a_toast_in_one(context: BrowserContext, address: str, demo: Any) -> None:
    tabs = [visit(context, address), visit(context, address)]
    publish(demo, "deal-notification", {"deals": [DEAL, DEAL | {"item_name": "Tea"}, DEAL]})
    for page in tabs:
        expect(page.locator("li", has_text="Tea")).to_have_count(1)
        expect(page.locator("li", has_text="Tea").locator("ins").first).to_have_text("$2.79")
    shown = [toasts(page).filter(has_text="3 new deals found!").count() for page in tabs]
    assert sorted(shown) == [0, 1]  # drawn with the list, in the same turn


def test_strict_mode_has_one_connection_and_each_message_once(
    context: BrowserContext, address_of_development: str, demo: Any
) -> None:
    page = context.new_page()
    said: list[str] = []
    sockets: list[Any] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("websocket", lambda opened: sockets.append(opened))
    page.goto(f"{address_of_development}/?user=ben")
    expect(page.locator(".live")).to_have_text("Live")
    assert any("React DevTools" in text for text in said), "not the development build of React"
    publish(demo, "deal-notification", {"deals": [DEAL | {"item_name": "Strict tea"}]})
    expect(page.locator("li", has_text="Strict tea")).to_have_count(1)
    expect(toasts(page).filter(has_text="1 new deal found!")).to_have_count(1)
    assert len([each for each in sockets if not each.is_closed()]) == 1


def test_what_is_read_in_one_tab_is_read_in_all(context: BrowserContext, address: str, demo: Any) -> None:
    one, other = visit(context, address), visit(context, address)
    publish(demo, "job-completed", {"job_id": 1, "job_name": "Import", "status": "completed"})
    item = one.locator("li", has_text="Import").first
    item.get_by_role("button", name="Mark read").click()
    expect(other.locator("li", has_text="Import").first.get_by_text("read", exact=True)).to_be_visible()
    one.get_by_role("button", name="Mark all read").click()
    for page in (one, other):
        expect(page.locator(".bell")).to_have_accessible_name(
            re.compile("all read|^Notifications, [12] unread")
        )
    one.get_by_role("button", name=re.compile("^Notifications,")).click()
    expect(one.locator("#inbox")).to_be_hidden()


def test_the_badge_is_the_same_in_eight_tabs(
    context: BrowserContext, address: str, demo: Any, until: Callable[[Callable[[], bool], str], None]
) -> None:
    tabs = [visit(context, address) for _ in range(8)]
    tabs[0].get_by_role("button", name="Mark all read").click()
    for number in range(5):
        publish(demo, "system-message", {"message": f"for the badge {number}"})
    for page in tabs:
        expect(page.locator("li", has_text="for the badge 4")).to_have_count(1)

    def alike() -> bool:
        # The demo finds deals meanwhile, so that the number may be larger.
        counts = {unread(page) for page in tabs}
        badges = {page.locator(".badge").text_content() for page in tabs}
        return len(counts) == 1 and min(counts) >= 5 and badges == {str(number) for number in counts}

    until(alike, "all tabs show the same number")
    tabs[7].get_by_role("button", name="Mark all read").click()
    until(lambda: all(unread(page) < 5 for page in tabs), "what one tab has read is off all badges")


def test_older_ones_can_be_had(context: BrowserContext, address: str, demo: Any) -> None:
    for number in range(35):
        publish(demo, "system-message", {"message": f"message {number}"})
    page = visit(context, address)
    expect(page.locator("li")).not_to_have_count(0)
    before = page.locator("li").count()
    page.get_by_role("button", name="Older ones").click()
    expect(page.locator("li").nth(before)).to_be_visible()
    ids = page.eval_on_selector_all("li", "items => items.map(item => item.dataset.id)")
    assert len(ids) == len(set(ids))


def test_how_long_it_takes_from_page_load_to_live(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.add_init_script(
        """new MutationObserver(() => {
            if (!window.liveAt && document.querySelector('.live.live')) window.liveAt = performance.now();
        }).observe(document, { subtree: true, childList: true, attributes: true });"""
    )
    page.goto(f"{address}/?user=ben")
    expect(page.locator(".live")).to_have_text("Live")
    took: float = page.evaluate("window.liveAt")
    print(f"live {took:.0f} ms after the page began to load")
    assert took > 0


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(browser: Browser, address: str, demo: Any, look: str) -> None:
    publish(demo, "deal-notification", {"deals": [DEAL]})
    with browser.new_context(locale="en-US", reduced_motion="reduce", **LOOKS[look]) as context:
        page = visit(context, address)
        publish(demo, "system-message", {"message": "with a toast"})
        expect(toasts(page).first).to_be_visible()
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run().then(({ violations }) => violations)")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
