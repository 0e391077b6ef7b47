"""The page's section about mail, and where the links in mails lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    OpenAs = Callable[..., Page]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]


def test_wishes_are_saved_and_there_again(open_as: OpenAs) -> None:
    page = open_as("Ada")
    expect(page.locator("#mail-to")).to_have_text("To ada@demo.example, in the time zone America/New_York.")
    page.get_by_label("Write to me").select_option("daily")
    page.get_by_label("About deals").select_option("always")
    page.get_by_label("Daily mail comes at").fill("18:30")
    page.get_by_label("Quiet hours").check()
    page.locator("#mail-start").fill("21:00")
    page.locator("#mailing").get_by_role("button", name="Save").click()
    expect(page.locator("#notes")).to_contain_text("Saved how you are written to.")
    page.reload()
    expect(page.get_by_label("Write to me")).to_have_value("daily")
    expect(page.get_by_label("About deals")).to_have_value("always")
    expect(page.locator("#mail-start")).to_have_value("21:00")
    expect(page.get_by_label("Daily mail comes at")).to_have_value("18:30")


def test_a_link_in_a_mail_opens_its_notification(open_as: OpenAs) -> None:
    page = open_as("Ben")
    expect(page.locator(".card").nth(3)).to_be_visible()
    wanted = page.locator(".card").nth(3).get_attribute("data-id")
    page.goto(f"{page.url.partition('#')[0]}#notification={wanted}")
    page.reload()
    expect(page.locator(f'.card[data-id="{wanted}"]')).to_be_focused()
