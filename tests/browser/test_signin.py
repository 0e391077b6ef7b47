"""The page as `notifyd serve` shows it: no demo, so a token is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from playwright.sync_api import expect

from notifyd.auth import mint_token
from notifyd.clock import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

SECRET = "a secret that is long enough for HS256"


@pytest.fixture(scope="module")
def server(serve: Callable[[str], Any]) -> Any:
    return serve(SECRET)


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_a_token_signs_in_and_stays_in_this_tab(visit: Callable[..., Page], server: Any) -> None:
    page = visit(server.address)
    expect(page.get_by_text("notifyd token --user USER")).to_be_visible()
    sign_in(page, mint_token(SECRET, "dora", now_ms=wall_ms(), ttl_s=600))
    expect(page.locator("#status-title")).to_have_text("Live")
    expect(page.locator("#who-name")).to_have_text("dora")
    expect(page.get_by_text("Nothing yet. A notification")).to_be_visible()
    expect(page.get_by_role("heading", name="Tell everyone")).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]
    page.reload()
    expect(page.locator("#status-title")).to_have_text("Live")
    other = visit(server.address)
    expect(other.get_by_label("Token")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('notifyd.account')") is None


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("nonsense", "not a token"),
        (mint_token("x" * 40, "dora", now_ms=wall_ms(), ttl_s=600), "token is not valid"),
        (mint_token(SECRET, "dora", now_ms=0, ttl_s=600), "expired"),
    ],
)
def test_a_bad_token_is_refused_with_a_reason(
    visit: Callable[..., Page], server: Any, token: str, why: str
) -> None:
    page = visit(server.address)
    sign_in(page, token)
    expect(page.get_by_role("alert")).to_contain_text(why)
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_token_that_ends_says_signed_out(visit: Callable[..., Page], server: Any) -> None:
    page = visit(server.address)
    sign_in(page, mint_token(SECRET, "dora", now_ms=wall_ms(), ttl_s=600))
    expect(page.locator("#status-title")).to_have_text("Live")
    forged = mint_token("x" * 40, "dora", now_ms=wall_ms(), ttl_s=600)
    page.evaluate(
        """token => {
            const account = JSON.parse(sessionStorage.getItem("notifyd.account"));
            sessionStorage.setItem("notifyd.account", JSON.stringify({ ...account, token }));
        }""",
        forged,
    )
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("sign in again")


@pytest.mark.parametrize("path", ["/demo/users", "/demo/login", "/demo/announce"])
def test_there_is_no_demo_login(server: Any, path: str) -> None:
    assert httpx2.get(f"{server.address}{path}", trust_env=False).status_code == 404
    assert httpx2.post(f"{server.address}{path}", json={}, trust_env=False).status_code == 404
