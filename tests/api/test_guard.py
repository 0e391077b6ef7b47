"""Who may call: every way of saying who one is, and every route that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.config import Config

if TYPE_CHECKING:
    from .conftest import Api

LIST = "/v1/notifications"
INVALID = {"type": "unauthorized", "detail": "The token is not valid"}
MISSING = {"type": "unauthorized", "detail": "Send a token or key, for example as `Authorization: Bearer …`"}

USER_ROUTES = [
    ("GET", "/v1/notifications"),
    ("POST", "/v1/notifications/mark"),
    ("POST", "/v1/notifications/ack"),
    ("POST", "/v1/tickets"),
]
PUBLISHER_ROUTES = [("POST", "/v1/notifications"), ("DELETE", "/v1/notifications/n-1")]
OPERATOR_ROUTES = [("GET", "/v1/stats"), ("GET", "/metrics"), ("POST", "/v1/users/ann/disconnect")]


@pytest.mark.parametrize(("method", "path"), USER_ROUTES + PUBLISHER_ROUTES + OPERATOR_ROUTES)
async def test_nobody_may_do_anything(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path)
    assert answer.status == 401
    assert answer.problem == MISSING
    assert answer.headers["www-authenticate"] == 'Bearer realm="notifyd"'


@pytest.mark.parametrize(("method", "path"), USER_ROUTES + PUBLISHER_ROUTES + OPERATOR_ROUTES)
async def test_a_bad_token_gets_one_answer_everywhere(api: Api, method: str, path: str) -> None:
    expired = api.token(ttl_s=1)
    api.server.now_ms += 2000
    for bad in ("garbage", "a.b.c", expired, api.token()[:-4]):
        answer = await api.call(method, path, as_=bad)
        assert answer.status == 401
        assert answer.problem == INVALID
        assert answer.headers["www-authenticate"] == 'Bearer realm="notifyd", error="invalid_token"'


@pytest.mark.parametrize(("method", "path"), PUBLISHER_ROUTES)
async def test_users_and_operators_do_not_publish(api: Api, method: str, path: str) -> None:
    for as_, detail in [
        (api.token(), "The token lacks the scope notifications:write"),
        (api.token(scopes=["admin"]), "The token lacks the scope notifications:write"),
        ("adm", "This key is for something else"),
    ]:
        answer = await api.call(method, path, as_=as_)
        assert answer.status == 403
        assert answer.problem == {"type": "forbidden", "detail": detail}


@pytest.mark.parametrize(("method", "path"), OPERATOR_ROUTES)
async def test_users_and_publishers_do_not_operate(api: Api, method: str, path: str) -> None:
    for as_, detail in [
        (api.token(), "The token lacks the scope admin"),
        (api.token(scopes=["notifications:write"]), "The token lacks the scope admin"),
        ("pub", "This key is for something else"),
    ]:
        answer = await api.call(method, path, as_=as_)
        assert answer.status == 403
        assert answer.problem == {"type": "forbidden", "detail": detail}


@pytest.mark.parametrize("key", ["pub", "adm"])
async def test_a_key_has_no_inbox(api: Api, key: str) -> None:
    answer = await api.call("GET", LIST, as_=key)
    assert answer.status == 403
    assert answer.problem["detail"] == "This is a key of a publisher or operator, not a user's token"


async def test_a_token_in_the_address(api: Api) -> None:
    assert (await api.call("GET", f"{LIST}?token={api.token()}")).status == 200


async def test_a_token_beats_a_worse_one_in_the_address(api: Api) -> None:
    assert (await api.call("GET", f"{LIST}?token=garbage", as_=api.token())).status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Origin": "http://localhost"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("GET", {}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Origin": "http://localhost"}, 201),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, 403),
        ("POST", {"Origin": "http://localhost:8001"}, 403),
    ],
)
async def test_a_cookie_counts_for_our_own_pages_only(
    api: Api, method: str, headers: dict[str, str], status: int
) -> None:
    path = LIST if method == "GET" else "/v1/tickets"
    answer = await api.call(
        method, path, headers=headers | {"Cookie": f"accessToken={api.token()}", "Host": "localhost"}
    )
    assert answer.status == status
    if status == 403:
        assert answer.problem == {
            "type": "forbidden",
            "detail": "The cookie counts only for a page of an allowed origin",
        }


async def test_a_user_sees_no_other_users_notifications(api: Api) -> None:
    published = await api.publish("bob", message="for bob alone")
    for method, path, body in [
        ("GET", LIST, None),
        ("GET", f"{LIST}?since={api.parts.inbox.epoch}-0", None),
        ("GET", f"{LIST}?before={api.parts.inbox.epoch}-99", None),
        (
            "POST",
            f"{LIST}/mark",
            {"state": "archived", "notification_ids": [published["notification_id"]]},
        ),
        ("DELETE", f"{LIST}/{published['notification_id']}", None),
        ("PUT", f"{LIST}/{published['notification_id']}", {}),
    ]:
        answer = await api.call(method, path, as_=api.token("ann"), body=body)
        assert b"for bob alone" not in answer.body
        assert answer.status in (200, 403, 404, 405)
    bobs = await api.call("GET", LIST, as_=api.token("bob"))
    assert [message["state"] for message in bobs.json["notifications"]] == ["unread"]


async def test_operators_have_a_bind_of_their_own(api: Api) -> None:
    config = Config.model_validate({"operator_listen": "127.0.0.1:9000"})
    main = api.with_parts(config=config)
    for method, path in [*OPERATOR_ROUTES, ("GET", "/livez"), ("GET", "/readyz")]:
        assert (await main.call(method, path, as_="adm")).status in (404, 405)
    theirs = main.operator_api()
    for path in ("/metrics", "/livez", "/readyz"):
        assert (await theirs.call("GET", path)).status == 200
    for method, path in [("GET", "/v1/stats"), ("POST", "/v1/users/ann/disconnect")]:
        assert (await theirs.call(method, path)).status == 401
        assert (await theirs.call(method, path, as_="adm")).status == 200
    for method, path in USER_ROUTES + PUBLISHER_ROUTES:
        assert (await theirs.call(method, path, as_="pub")).status == 404


# --- calls that users share with publishers -------------------------------------------------------------


async def test_users_and_publishers_may_look_for_items(api: Api) -> None:
    for as_, status in [(api.token(), 200), ("pub", 200), ("adm", 403), ("garbage", 401), (None, 401)]:
        assert (await api.call("GET", "/v1/items", as_=as_)).status == status


async def test_a_watch_is_the_callers_or_whose_a_publisher_names(api: Api) -> None:
    body = {"item_id": "i-1", "rule": {"type": "target_price", "price_in_cents": 100}}
    made = await api.call("PUT", "/v1/watches/w-1?user_id=ann", as_="pub", body=body)
    assert made.status == 201, made
    for path, as_, status in [
        ("/v1/watches/w-1", api.token("ann"), 200),
        ("/v1/watches/w-1?user_id=ann", "pub", 200),
        ("/v1/watches/w-1", api.token("bob"), 404),
        ("/v1/watches/w-1?user_id=ann", api.token("bob"), 403),
        ("/v1/watches/w-1?user_id=ann", api.token("ann"), 403),
        ("/v1/watches/w-1", "pub", 403),
        ("/v1/watches/w-1?user_id=ann", None, 401),
    ]:
        assert (await api.call("GET", path, as_=as_)).status == status, (path, as_)
