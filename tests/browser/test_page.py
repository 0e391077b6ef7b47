"""The page of the demo in a real browser: what a person sees from the first deal to a restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from notifyd.demo.feed import ITEMS, changes, due_ticks, price_at
from notifyd.errors import CloseCode, should_reconnect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    OpenAs = Callable[..., Page]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

ANY_DROP = {"type": "percent_drop", "percent": 1, "baseline": "previous", "cooldown_s": 0}


def card(page: Page, **of: str) -> Locator:
    [(attribute, value)] = of.items()
    return page.locator(f'.card[data-{attribute}="{value}"]')


def told_ids(page: Page) -> list[str]:
    ids: list[str] = page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.id)")
    return ids


def agrees_with_inbox(page: Page, demo: Any, user_id: str) -> bool:
    """The page shows the newest of the inbox, in order and none twice."""
    inbox = [each["data"]["notification_id"] for each in demo.inbox(user_id)]
    shown = told_ids(page)
    return len(shown) > 0 and shown == inbox[: len(shown)]


def test_a_deal_says_item_store_both_prices_and_why(open_as: OpenAs) -> None:
    page = open_as("Ada")
    deal = page.locator(".card .deal").first
    expect(deal.locator("h2")).to_have_text(re.compile("Orange juice|Ground coffee|Whole milk|Oat granola"))
    expect(deal.locator(".where")).to_have_text(
        re.compile("Corner Market|Fresh Fields|Harbor Foods|Green Grocer")
    )
    expect(deal.locator("ins")).to_have_text(re.compile(r"now \$\d+\.\d9$"))
    expect(deal.locator("del").or_(deal.locator(".why"))).not_to_have_count(0)
    expect(deal.locator(".why")).to_have_text(
        re.compile(r"\d+\u202f% below its (30-day median|previous price) \$|your target of \$")
    )


def test_a_notification_appears_by_itself_and_is_read_out(open_as: OpenAs, demo: Any) -> None:
    page = open_as("Ada")
    data = {"job_id": "7", "job_name": "Import", "status": "done", "message": "All 12 rows are in"}
    demo.call("POST", "/v1/notifications", {"type": "job-completed", "data": data, "user_id": "ada"})
    new = page.locator(".card", has_text="All 12 rows are in")
    expect(new).to_have_attribute("data-state", "unread")
    expect(page.locator("#said")).to_have_text(re.compile("All 12 rows are in|new notifications"))
    expect(page).to_have_title(re.compile(r"^\(\d+\) notifyd$"))


def test_two_tabs_agree_about_what_is_read(open_as: OpenAs) -> None:
    one, other = open_as("Ben"), open_as("Ben")
    # One of the newest: the oldest of a page may be beyond the page of a tab that was opened later.
    notification_id = one.locator(".card").first.get_attribute("data-id") or ""
    card(one, id=notification_id).get_by_role("button", name="Mark read").click()
    for page in (one, other):
        expect(card(page, id=notification_id)).to_have_attribute("data-state", "read")
        expect(card(page, id=notification_id).get_by_role("button")).to_be_hidden()
    before = told_ids(other)
    other.get_by_role("button", name="Mark all read").click()
    for page in (one, other):
        for each in before:
            expect(card(page, id=each)).to_have_attribute("data-state", "read")
    one.reload()
    expect(card(one, id=notification_id)).to_have_attribute("data-state", "read")


def test_sse_and_back_with_one_cursor(open_as: OpenAs, demo: Any) -> None:
    page = open_as("Chika")
    for label in ("SSE", "WebSocket"):
        page.get_by_role("radio", name=label, exact=True).check()
        expect(page.locator("#status-detail")).to_have_text(f"over {label}")
        text = f"An announcement while over {label}"
        data = {"message": text}
        demo.call("POST", "/v1/notifications", {"type": "system-message", "data": data, "user_id": "chika"})
        expect(page.locator(".card", has_text=text)).to_have_count(1)
        page.locator(".card", has_text=text).get_by_role("button", name="Mark read").click()
        expect(page.locator(".card", has_text=text)).to_have_attribute("data-state", "read")
    assert agrees_with_inbox(page, demo, "chika")


def test_sse_by_itself_where_websockets_are_refused(open_as: OpenAs) -> None:
    refuse = """window.WebSocket = class {
        constructor() { setTimeout(() => this.onclose?.({ code: 1006 })); }
        close() {}
    };"""
    page = open_as("Ada", script=refuse)
    expect(page.locator("#status-detail")).to_have_text("over SSE")


def test_a_stopped_server_is_told_and_what_was_missed_comes_once(
    open_as: OpenAs, demo: Any, until: Callable[[Callable[[], bool], str], None]
) -> None:
    page = open_as("Ada", script="Math.random = () => 0.2")  # the jitter between two tries
    for item in ITEMS:
        watch = {"item_id": item.item_id, "rule": ANY_DROP}
        demo.call("PUT", f"/v1/watches/any-{item.item_id}?user_id=ada", watch)
    demo.stop()
    expect(page.locator("#status-title")).to_have_text("Offline")
    expect(page.locator("#status-next")).to_have_text(re.compile(r"next try in \d+ s|trying again"))
    newest = told_ids(page)[0]
    expect(page.locator("#status-detail")).to_have_text("server not reachable")
    until(lambda: missed_a_drop(demo), "a price fell while the server was down")
    demo.start()
    expect(page.locator("#status-title")).to_have_text("Live")
    until(lambda: told_ids(page)[0] != newest, "a missed deal has come")
    until(lambda: agrees_with_inbox(page, demo, "ada"), "page and inbox agree")
    assert newest in told_ids(page)
    for item in ITEMS:
        demo.call("DELETE", f"/v1/watches/any-{item.item_id}?user_id=ada", {})


def missed_a_drop(demo: Any) -> bool:
    state = demo.state
    return any(
        point.cents < 0.98 * price_at(state.seed, point.item, point.shop, tick - 1)
        for tick in due_ticks(state.begun_ms, state.played, wall_ms())
        for point in changes(state.seed, tick, 0)
    )


def test_a_watch_is_added_and_removed(open_as: OpenAs) -> None:
    page = open_as("Ben")
    expect(page.locator("#watches li")).to_have_count(4)
    page.get_by_label("Watch an item").select_option(label="Green tea, 40 bags")
    expect(page.locator("#item-hint")).to_have_text(re.compile(r"^Now from \$\d+\.\d\d at "))
    page.get_by_label("At a target").check()
    page.get_by_label("Target price in").fill("3.33")
    page.get_by_role("button", name="Add watch").click()
    watch = page.locator("#watches li", has_text="Green tea")
    expect(watch).to_have_text(re.compile(r"at or below \$3\.33"))
    watch.get_by_role("button", name="Stop watching Green tea, 40 bags").click()
    expect(page.locator("#watches li")).to_have_count(4)


def test_an_announcement_reaches_everyone(open_as: OpenAs) -> None:
    sender, reader = open_as("Ada"), open_as("Chika")
    text = "The shop in Main Street closes at noon <b>today</b>"
    sender.get_by_label("Announcement").fill(text)
    sender.get_by_role("button", name="Send").click()
    for page in (sender, reader):
        expect(page.locator(".card", has_text=text)).to_have_count(1)  # as text: nothing in it is markup
    expect(sender.get_by_label("Announcement")).to_have_value("")


def test_it_works_by_keyboard_and_fits_a_phone(visit: Callable[..., Page], demo: Any) -> None:
    page = visit(demo.address)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_role("button", name="Chika")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to notifications")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Ada")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#status-title")).to_have_text("Live")
    page.locator(".card").last.get_by_role("button", name="Mark read").focus()
    last = page.locator(".card").last.get_attribute("data-id") or ""
    page.keyboard.press("Enter")
    expect(card(page, id=last)).to_have_attribute("data-state", "read")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


RENEWING_CLIENT = """async ([transport, tokens]) => {
    const { createClient } = await import("/client.js");
    const renewed = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) { renewed.push(text); send.call(this, text); };
    const getToken = async ({ refresh }) => tokens[Number(refresh)];
    const client = createClient({ transport, getToken });
    window.states = [];
    client.on("state", ({ state }) => window.states.at(-1) === state || window.states.push(state));
    client.connect();
    window.sent = renewed;
}"""


@pytest.mark.parametrize("transport", ["auto", "sse"])
def test_a_token_is_renewed_before_it_ends(visit: Callable[..., Page], demo: Any, transport: str) -> None:
    page = visit(demo.address)
    secret = demo.state.jwt_secret
    tokens = [mint_token(secret, "ada", now_ms=wall_ms(), ttl_s=seconds) for seconds in (16, 600)]
    if transport == "sse":
        with page.expect_response("**/v1/auth") as answer:
            page.evaluate(RENEWING_CLIENT, [transport, tokens])
        assert answer.value.ok
    else:
        page.evaluate(RENEWING_CLIENT, [transport, tokens])
        page.wait_for_function("token => window.sent.some(text => text.includes(token))", arg=tokens[1])
    assert page.evaluate("window.states") == ["connecting", "live"]  # without a new connection


def test_the_clients_close_codes_are_the_servers(visit: Callable[..., Page], demo: Any) -> None:
    page = visit(demo.address)
    codes, returning = page.evaluate(
        """async () => {
            const { CLOSE_CODES, shouldReconnect } = await import("/client.js");
            const all = Array.from({ length: 5000 }, (_, code) => code);
            return [CLOSE_CODES, all.filter(shouldReconnect)];
        }"""
    )
    assert codes == {str(int(code)): [code.reason, code.reconnect] for code in CloseCode}
    assert returning == [code for code in range(5000) if should_reconnect(code)]
