"""Which pages may read answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import Api

LIST = "/v1/notifications"
GOOD = "https://shop.example"
#: All that a browser may call the origin of a page that is not ours, and some of what it may not.
FOREIGN = [
    "null", "", "*", "https://shop.example.evil.example", "https://evilshop.example", "http://shop.example",
    "https://shop.example:8443", "https://shop.example/", "https://user@shop.example", "https://SHOP.example.",
    "https://shop.example, https://evil.example", "https://shop.example#", "file://", "https://sub.shop.example",
    "https://shop", "shop.example", "//shop.example", "https:shop.example", "https://shop.example?x",
    "https://shop.example@evil.example", "https://xn--shp-xqa.example", "data:", "chrome-extension://a",
]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
async def test_no_other_origin_reads_or_uses_the_cookie(
    open_api: Callable[..., AbstractAsyncContextManager[Api]], origin: str
) -> None:
    async with open_api(allowed_origins=GOOD) as api:
        cookie = {"Origin": origin, "Cookie": f"accessToken={api.token()}"}
        answer = await api.call("GET", LIST, headers=cookie)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]


async def test_an_allowed_origin_reads_answers_and_errors_with_the_cookie(
    open_api: Callable[..., AbstractAsyncContextManager[Api]],
) -> None:
    async with open_api(allowed_origins=GOOD) as api:
        for cookie, status in ((api.token(), 200), ("bad", 401)):
            headers = {"Origin": GOOD, "Cookie": f"accessToken={cookie}"}
            answer = await api.call("GET", LIST, headers=headers)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == GOOD
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert "Origin" in answer.headers["vary"]


async def test_a_preflight_says_what_may_be_sent(
    open_api: Callable[..., AbstractAsyncContextManager[Api]],
) -> None:
    async with open_api(allowed_origins=GOOD) as api:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answer = await api.call("OPTIONS", f"{LIST}/mark", headers={"Origin": GOOD, **asked})
        assert answer.status == 200
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "Content-Type" in answer.headers["access-control-allow-headers"]
        other = await api.call("OPTIONS", f"{LIST}/mark", headers={"Origin": "https://evil.example", **asked})
        assert "access-control-allow-methods" not in other.headers


async def test_a_page_may_open_the_stream_and_read_when_to_come_back(
    open_api: Callable[..., AbstractAsyncContextManager[Api]],
) -> None:
    async with open_api(allowed_origins=GOOD) as api:
        wish = "authorization,last-event-id"
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": wish}
        answer = await api.call("OPTIONS", "/events", headers={"Origin": GOOD, **asked})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == GOOD
        assert "GET" in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert set(wish.split(",")) <= set(allowed)
        answer = await api.call("GET", LIST, headers={"Origin": GOOD})
        assert answer.headers["access-control-expose-headers"] == "Retry-After"


async def test_without_a_list_nothing_is_said(api: Api) -> None:
    answer = await api.call("GET", LIST, as_=api.token(), headers={"Origin": "http://localhost"})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
