"""The page of the API in a real Chromium, with nothing from elsewhere and readable on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import Demo

pytestmark = pytest.mark.browser


def test_calls_and_messages_are_shown_found_and_fit_a_phone(visit: Callable[..., Page], demo: Demo) -> None:
    page = visit(f"{demo.address}/docs#publishNotifications")
    call = page.locator("#publishNotifications")
    expect(call.get_by_role("heading", name="POST /v1/notifications")).to_be_in_viewport()
    call.get_by_text("Example: A deal").click()
    expect(call.get_by_text("Corner shop")).to_be_visible()
    call.locator("summary", has_text="422").click()
    expect(call.get_by_text("urn:notifyd:problem:").first).to_be_attached()
    expect(page.locator("#message-DealNotification")).to_contain_text("deals")

    page.get_by_role("searchbox").fill("watch delete")
    expect(page.locator("main article:visible")).to_have_count(1)
    page.get_by_role("searchbox").fill("")

    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    loaded = page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    assert loaded
    assert all(address.startswith(demo.address) for address in loaded)
