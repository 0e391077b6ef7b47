"""The operator's view in a real browser: the key, the numbers, one user, a notification's ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Demo, Server

    OpenAs = Callable[..., Page]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

SECRET = "a secret that is long enough for HS256"


def enter(page: Page, key: str) -> None:
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Open").click()


def chart(page: Page, name: str) -> Locator:
    return page.get_by_role("img", name=re.compile(f"^{name}: "))


@pytest.fixture
def desk(visit: Callable[..., Page], demo: Demo) -> Page:
    """The operator's view, with the key taken."""
    page = visit(f"{demo.address}/operator")
    enter(page, demo.state.admin_key)
    expect(page.locator("#status-title")).to_have_text("Live")
    return page


def choose(page: Page, user_id: str) -> None:
    page.get_by_label("How the user’s id begins").fill(user_id)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#user-name")).to_have_text(user_id)


def test_a_key_that_is_none_says_why_and_is_not_kept(visit: Callable[..., Page], demo: Demo) -> None:
    page = visit(f"{demo.address}/operator")
    for key, why in (
        ("wrong", "knows no such admin key"),
        (demo.state.publish_key, "for something else"),
        ("no key", "no spaces"),
        ("schlüssel", "only plain letters"),
    ):
        enter(page, key)
        expect(page.get_by_role("alert").filter(has_text=why)).to_be_visible()
        expect(page.get_by_label("Admin key")).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0
    assert page.get_by_label("Admin key").get_attribute("type") == "password"


def test_the_key_stays_in_this_tab_and_out_of_every_address(visit: Callable[..., Page], demo: Demo) -> None:
    asked: list[str] = []
    page = visit(f"{demo.address}/operator")
    page.on("request", lambda request: asked.append(request.url))
    key = demo.state.admin_key
    enter(page, key)
    expect(page.locator("#status-title")).to_have_text("Live")
    choose(page, "ada")
    page.reload()
    expect(page.locator("#status-title")).to_have_text("Live")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert asked
    assert not any(key in url for url in asked)
    assert all(url.startswith(demo.address) for url in asked), "nothing comes from elsewhere"
    expect(visit(f"{demo.address}/operator").get_by_label("Admin key")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_that_was_taken_away_is_asked_for_again(desk: Page) -> None:
    desk.route("**/v1/stats", lambda route: route.fulfill(status=401, json={"detail": "no"}))
    expect(desk.get_by_role("alert").filter(has_text="knows no such admin key")).to_be_visible()
    expect(desk.locator("#desk")).to_be_hidden()
    assert desk.evaluate("sessionStorage.length") == 0


def test_the_charts_follow_the_server_in_lines_and_in_words(desk: Page, open_as: OpenAs, demo: Demo) -> None:
    page = open_as("Ada")
    page.get_by_role("radio", name="SSE", exact=True).check()
    expect(page.locator("#status-detail")).to_have_text("over SSE")
    open_as("Ben")
    chart(desk, "Connections").wait_for(state="attached")
    expect(
        desk.get_by_role("img", name=re.compile(r"^Connections: now WebSocket 1, SSE 1;"))
    ).to_be_attached()
    expect(desk.locator(".chart").first.locator(".value")).to_have_text("2")
    expect(desk.locator("#since")).to_have_text("2 users are connected")
    data = {"type": "system-message", "data": {"message": "to all"}, "broadcast": True}
    demo.call("POST", "/v1/notifications", data)
    expect(
        desk.get_by_role("img", name=re.compile(r"^Deliveries: now .* per second;.* and [1-9]"))
    ).to_be_attached()
    expect(desk.get_by_role("img", name=re.compile(r"^Loop stall: now [\d.,]+ ms at most"))).to_be_attached()
    expect(desk.get_by_role("img", name=re.compile(r"^Catching up: now 0 connections"))).to_be_attached()
    line = chart(desk, "Connections").locator("path.first")
    expect(line).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+"))
    desk.get_by_text("Jobs", exact=True).click()
    expect(desk.get_by_role("row", name=re.compile("dispatcher at work 0"))).to_be_visible()
    expect(desk.locator("#jobs-count")).to_have_text(re.compile(r"all \d+ at work"))


def test_no_answer_is_told_and_then_it_goes_on(desk: Page) -> None:
    desk.route("**/v1/stats", lambda route: route.abort())
    expect(desk.locator("#status-title")).to_have_text("No answer")
    expect(desk.locator("#status-detail")).to_contain_text("the numbers are old")
    desk.unroute("**/v1/stats")
    expect(desk.locator("#status-title")).to_have_text("Live")


def test_a_hidden_tab_asks_nothing(desk: Page) -> None:
    asked: list[str] = []
    desk.on("request", lambda request: asked.append(request.url))
    become = """state => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    desk.evaluate(become, "hidden")
    expect(desk.locator("#status-title")).to_have_text("Paused")
    desk.wait_for_timeout(300)  # an answer may have been on its way
    asked.clear()
    desk.wait_for_timeout(4500)
    assert asked == []
    desk.evaluate(become, "visible")
    expect(desk.locator("#status-title")).to_have_text("Live")
    for _ in range(2):
        with desk.expect_request("**/v1/stats"):
            pass


def test_a_test_is_sent_seen_by_the_user_and_traced(desk: Page, open_as: OpenAs) -> None:
    user = open_as("Ben")
    choose(desk, "ben")
    expect(desk.locator("#connections li").first).to_contain_text("WebSocket")
    expect(desk.locator("#connections .tag").first).to_have_text("live")
    desk.get_by_label("What the user will read").fill("Can you <b>see</b> this?")
    desk.get_by_role("button", name="Send", exact=True).click()
    expect(user.locator(".card", has_text="Can you <b>see</b> this?")).to_be_visible()
    expect(desk.locator("#inbox li").first).to_contain_text("Can you <b>see</b> this?")
    for step in ("stored", "dispatched", "written", "acknowledged"):
        expect(desk.locator("#trace .steps strong", has_text=step).first).to_be_visible()
    user.locator(".card", has_text="Can you").get_by_role("button", name="Mark read").click()
    expect(user.locator(".card", has_text="Can you")).to_have_attribute("data-state", "read")
    desk.get_by_role("button", name="Trace").click()
    expect(desk.locator("#trace .tag")).to_have_text("read")


def test_a_user_is_disconnected_only_when_it_is_meant(desk: Page, open_as: OpenAs) -> None:
    user = open_as("Chika")
    choose(desk, "chika")
    desk.get_by_role("button", name="Disconnect").click()
    expect(desk.get_by_role("dialog")).to_contain_text("Close 1 connection of chika?")
    desk.keyboard.press("Escape")
    expect(desk.get_by_role("dialog")).to_be_hidden()
    expect(user.locator("#status-title")).to_have_text("Live")
    desk.get_by_role("button", name="Disconnect").click()
    desk.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    expect(user.locator("#status-title")).not_to_have_text("Live")
    expect(desk.locator("#notes")).to_contain_text("1 connection closed.")
    expect(desk.get_by_role("button", name="Disconnect")).to_be_disabled()

    def look_again() -> None:
        desk.get_by_role("button", name="Look again").click()
        expect(desk.locator("#connections li").first).to_contain_text(
            "closed with 1000: normal", timeout=1500
        )

    for attempt in range(10):  # the ledger is written once a second
        try:
            look_again()
            break
        except AssertionError:
            assert attempt < 9


def test_a_watch_is_explained_and_a_deal_traced(desk: Page) -> None:
    choose(desk, "ada")
    desk.get_by_role("button", name="Explain the watch").first.click()
    expect(desk.locator("#explained h2")).to_have_text(re.compile("^Watch "))
    expect(desk.locator("#explained .steps li").first).to_have_text(re.compile(r" at .*: .*\."))
    desk.get_by_role("button", name="Ledger of").last.click()
    expect(desk.locator("#trace")).to_contain_text("deal-notification")
    expect(desk.locator("#explained")).to_be_hidden()
    desk.get_by_label("Notification, or the id").fill("nobody-knows")
    desk.get_by_role("button", name="Trace").click()
    expect(desk.get_by_role("alert").filter(has_text="no such notification")).to_be_visible()


def test_a_user_of_whom_nothing_is_known_has_empty_places(desk: Page) -> None:
    odd = 'a/b?c#d "é" & <i>'
    desk.get_by_label("How the user’s id begins").fill(odd)
    desk.get_by_role("button", name="Find").click()
    expect(desk.locator("#none-found")).to_contain_text("Nobody whose id begins with")
    desk.get_by_role("button", name="not known here").click()
    expect(desk.locator("#user-name")).to_have_text(odd)
    for words in ("Not connected now", "This user watches nothing"):
        expect(desk.get_by_text(words)).to_be_visible()
    desk.get_by_role("button", name="Send", exact=True).click()
    expect(desk.locator("#notes")).to_contain_text("not connected")
    expect(desk.locator("#trace")).to_contain_text("Not confirmed: the user has not been connected")


def test_it_works_by_keyboard_and_fits_a_phone(visit: Callable[..., Page], demo: Demo) -> None:
    page = visit(f"{demo.address}/operator")
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.keyboard.type(demo.state.admin_key)
    page.keyboard.press("Enter")
    expect(page.locator("#status-title")).to_have_text("Live")
    page.get_by_label("How the user’s id begins").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    expect(page.locator("#user-name")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Look again")).to_be_focused()
    page.get_by_role("button", name="Ledger of").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#trace")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def apart(serve: Callable[..., Server]) -> tuple[Server, str]:
    """A server whose operators have a bind of their own, and that bind's address."""
    port = free_port()
    server = serve(SECRET, ADMIN_KEYS="the-admin-key", OPERATOR_LISTEN=f"127.0.0.1:{port}")
    return server, f"http://127.0.0.1:{port}"


def test_on_a_bind_of_their_own_it_is_the_first_page(
    visit: Callable[..., Page], apart: tuple[Server, str]
) -> None:
    server, address = apart
    page = visit(address)
    enter(page, "the-admin-key")
    expect(page.locator("#status-title")).to_have_text("Live")
    expect(page.locator("#since")).to_have_text("0 users are connected")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#none-found")).to_have_text("Nobody was ever seen here.")
    page.get_by_label("How the user’s id begins").fill("zoe")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="not known here").click()
    expect(page.get_by_text("Nothing in the inbox")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("Nothing in the inbox")).to_be_hidden()
    expect(page.locator("#trace")).to_contain_text("stored")
    for path in ("/operator", "/v1/stats", "/v1/inspect/users"):
        assert httpx2.get(f"{server.address}{path}", trust_env=False).status_code == 404
    assert httpx2.get(f"{server.address}/", trust_env=False).status_code == 200


def test_what_a_line_is_made_of(desk: Page) -> None:
    found = desk.evaluate(
        """async () => {
            const { place, pathOf, topOf } = await import("/assets/charts.js");
            const { rate } = await import("/assets/numbers.js");
            const now = 1_000_000;
            const ago = (ms, value) => [now - ms, value];
            const points = [ago(200_000, 9), ago(90_000, 5), ago(88_000, null), ago(86_000, 10), ago(0, 0)];
            const at = (at, delivered) => ({ at, delivered });
            return {
                path: pathOf(place(points, now, 10)),
                tops: [topOf([], 5), topOf([0], 1), topOf([3, 6], 5), topOf([11], 5), topOf([2000], 5)],
                rates: [
                    rate(null, at(0, 5)), rate(at(0, 5), at(2000, 9)), rate(at(0, 9), at(2000, 5)),
                    rate(at(0, 5), at(60_000, 9)), rate(at(0, 5), at(2000, 5)),
                ],
            };
        }"""
    )
    # What is too old is left out, an unknown value is no point, and a long pause is a gap.
    assert found["path"] == "M120.0 30.0L125.3 0.0M240.0 60.0"
    assert found["tops"] == [5, 1, 10, 20, 2000]
    # Nothing is made up at the start, after a restart of the server, or over a pause.
    assert found["rates"] == [None, 2, None, None, 0]
