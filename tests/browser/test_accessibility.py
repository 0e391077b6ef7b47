"""What axe finds to complain about on every view of the pages, in light and dark: nothing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.browser.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
VIEWS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


def complaints(page: Page) -> list[str]:
    """What axe finds, each with the rule and the element; the script goes in past the page's own policy."""
    page.evaluate(AXE)
    found: Any = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 10, "axe has looked"
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.fixture(params=VIEWS)
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    look: Any = VIEWS[request.param]
    with browser.new_context(locale="en-US", reduced_motion="reduce", **look) as context:
        yield context.new_page()


def test_axe_notices_what_is_wrong(page: Page, demo: Demo) -> None:
    page.goto(demo.address)
    page.get_by_role("button", name="Ada").evaluate("button => { button.replaceChildren(); }")
    assert any(each.startswith("button-name") for each in complaints(page))


def test_the_users_page(page: Page, demo: Demo) -> None:
    page.goto(demo.address)
    expect(page.get_by_role("button", name="Ada")).to_be_visible()
    assert complaints(page) == []
    page.get_by_role("button", name="Ada").click()
    expect(page.locator("#status-title")).to_have_text("Live")
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#watches li").first).to_be_visible()
    page.locator(".card").get_by_role("button", name="Mark read").last.click()
    page.get_by_text("Log", exact=True).click()
    assert complaints(page) == []


def test_the_operators_view(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.address}/operator")
    page.get_by_label("Admin key").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#key-fault")).not_to_be_empty()
    assert complaints(page) == []
    page.get_by_label("Admin key").fill(demo.state.admin_key)
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#status-title")).to_have_text("Live")
    page.get_by_text("Jobs", exact=True).click()
    page.get_by_label("How the user’s id begins").fill("ada")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#user-name")).to_have_text("ada")
    assert complaints(page) == []
    page.get_by_role("button", name="Explain the watch").first.click()
    expect(page.locator("#explained")).to_be_visible()
    assert complaints(page) == []
    page.get_by_role("button", name="Ledger of").first.click()
    expect(page.locator("#trace")).to_be_visible()
    assert complaints(page) == []


def test_the_page_of_the_api(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.address}/docs")
    expect(page.locator("#publishNotifications")).to_be_visible()
    assert complaints(page) == []


@pytest.fixture
def serve_plain(serve: Callable[..., Any]) -> Any:
    return serve("a secret that is long enough for HS256")


def test_the_page_that_asks_for_a_token(page: Page, serve_plain: Any) -> None:
    page.goto(serve_plain.address)
    expect(page.get_by_label("Token")).to_be_visible()
    assert complaints(page) == []
