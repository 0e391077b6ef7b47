"""One user as an operator sees them, and that looking leaves no trace."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from notifyd.store import ledger, tracing, users
from notifyd.store.ledger import Closed, Opened

from .conftest import NOW_MS

if TYPE_CHECKING:
    from .conftest import Answer, Api

WATCH = {"item_id": "oj", "rule": {"type": "target_price", "price_in_cents": 299}}
PRICE = {
    "item_id": "oj",
    "item_name": "Juice",
    "store_id": 1,
    "store_name": "Shop",
    "price_in_cents": 250,
    "currency": "USD",
}


async def look(api: Api, what: str, **query: object) -> Answer:
    text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    return await api.call("GET", f"/v1/inspect/{what}?{text}", as_="adm")


async def test_users_are_found_who_are_connected_or_known(api: Api) -> None:
    await api.publish("anne")
    await api.call("GET", "/v1/notifications", as_=api.token("ann"))
    await api.parts.store.write(partial(users.appeared, heads={"ann": 0}))
    api.server.live = {"anton": 2, "bob": 1}
    found = await look(api, "users", search="an")
    assert found.json == {
        "users": [
            {"user_id": "ann", "connections": 0},
            {"user_id": "anne", "connections": 0},
            {"user_id": "anton", "connections": 2},
        ]
    }
    assert [each["user_id"] for each in (await look(api, "users", limit=2)).json["users"]] == ["ann", "anne"]
    assert (await look(api, "users", search="an\0")).json == {"users": []}


async def test_connections_say_what_they_do_or_how_they_ended(api: Api) -> None:
    opened = [Opened(name, "ann", "sse", NOW_MS - 5000, 0) for name in ("open", "ended")]
    closed = [Closed("ended", NOW_MS - 1000, 4012, 3)]
    await api.parts.store.write(lambda tx: ledger.note(tx, opened, [], closed))
    now = {"transport": "sse", "position": 7, "queued_bytes": 0, "expires_ms": NOW_MS + 1000}
    api.server.connections["ann"] = [
        {"connection_id": "open", "catching_up": False, **now},
        {"connection_id": "new", "catching_up": True, **now, "transport": "websocket"},
    ]
    new, open_, ended = (await look(api, "connections", user_id="ann")).json["connections"]
    assert (new["connection_id"], new["state"], new["connected_at"]) == ("new", "catching-up", None)
    assert (open_["connection_id"], open_["state"]) == ("open", "live")
    assert open_["cursor"] == f"{api.parts.inbox.epoch}-7"
    assert open_["connected_at"] == "2026-05-28T20:26:35.000Z"
    assert open_["token_expires_at"] == "2026-05-28T20:26:41.000Z"
    assert (ended["state"], ended["close_code"], ended["close_reason"]) == (
        "ended",
        4012,
        "no answer to pings",
    )
    assert (await look(api, "connections", user_id="bob")).json == {"connections": []}


async def test_an_inbox_is_the_users_own_list_and_nobody_has_looked(api: Api) -> None:
    await api.publish("ann", "first")
    await api.publish("ann", "second")
    seen = await look(api, "notifications", user_id="ann", limit=1)
    assert [each["data"]["message"] for each in seen.json["notifications"]] == ["second"]
    assert seen.json["unread"] == 2
    older = await look(api, "notifications", user_id="ann", before=seen.json["notifications"][0]["id"])
    assert [each["data"]["message"] for each in older.json["notifications"]] == ["first"]
    assert (await look(api, "notifications", user_id="ann", state="read")).json["notifications"] == []
    await api.call(
        "POST",
        "/v1/notifications",
        as_="pub",
        body={"type": "system-message", "broadcast": True, "data": {"message": "late news"}},
    )
    theirs = await api.call("GET", "/v1/notifications", as_=api.token("newcomer"))
    assert theirs.json["notifications"][0]["state"] == "seen"
    assert len((await look(api, "notifications", user_id="late")).json["notifications"]) == 1
    await api.call(
        "POST",
        "/v1/notifications",
        as_="pub",
        body={"type": "system-message", "broadcast": True, "data": {"message": "more"}},
    )
    late = await api.call("GET", "/v1/notifications", as_=api.token("late"))
    assert late.json["notifications"][0]["state"] == "seen", "the operator's look is no first appearance"


async def test_watches_are_listed_and_explained(api: Api) -> None:
    await api.call("PUT", "/v1/watches/a/b?user_id=ann", as_="pub", body=WATCH)
    await api.call("POST", "/v1/prices", as_="pub", body={"prices": [PRICE]})
    listed = await look(api, "watches", user_id="ann")
    assert [each["watch_id"] for each in listed.json["watches"]] == ["a/b"]
    assert listed.json == (await api.call("GET", "/v1/watches?user_id=ann", as_="pub")).json
    told = await look(api, "watches/a/b", user_id="ann")
    assert told.json == (await api.call("GET", "/v1/watches/a/b/explain?user_id=ann", as_="pub")).json
    assert told.json["stores"][0]["last_price_in_cents"] == 250
    missing = await look(api, "watches/none", user_id="ann")
    assert (missing.status, missing.problem["type"]) == (404, "not-found")


async def test_a_test_is_a_notification_whose_trace_can_be_read(api: Api) -> None:
    api.server.live = {"a/b": 2}
    sent = await api.call("POST", "/v1/users/a%2Fb/test", as_="adm", body={"message": "Can you see this?"})
    assert (sent.status, sent.json["live_connections"]) == (201, 2)
    listed = (await look(api, "notifications", user_id="a/b")).json["notifications"]
    assert [(each["type"], each["data"]["message"]) for each in listed] == [
        ("system-message", "Can you see this?")
    ]
    facts = await api.parts.store.read(lambda tx: tracing.facts(tx, "a/b", sent.json["notification_id"]))
    assert facts is not None
    for body in ({}, {"message": ""}, {"message": "x", "more": 1}, {"message": "x" * 501}):
        assert (await api.call("POST", "/v1/users/a/test", as_="adm", body=body)).status == 422


CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/inspect/users", None),
    ("GET", "/v1/inspect/connections?user_id=a", None),
    ("GET", "/v1/inspect/notifications?user_id=a", None),
    ("GET", "/v1/inspect/watches?user_id=a", None),
    ("GET", "/v1/inspect/watches/w?user_id=a", None),
    ("POST", "/v1/users/a/test", {"message": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_only_operators_may_look(api: Api, method: str, path: str, body: Any) -> None:
    assert (await api.call(method, path, body=body)).status == 401
    assert (await api.call(method, path, as_="pub", body=body)).status == 403
    assert (await api.call(method, path, as_=api.token("a"), body=body)).status == 403
    own = api.operator_api()
    assert (await own.call(method, path, body=body)).status == 401
    assert (await own.call(method, path, as_="adm", body=body)).status in (200, 201, 404)


@pytest.mark.parametrize("path", ["connections", "notifications", "watches", "watches/w"])
async def test_whose_must_be_said(api: Api, path: str) -> None:
    assert (await api.call("GET", f"/v1/inspect/{path}", as_="adm")).status == 422


@pytest.mark.parametrize("path", [path for method, path, _ in CALLS if method == "GET"])
async def test_with_a_bind_of_their_own_it_is_nowhere_else(api: Api, path: str) -> None:
    config = api.parts.config.model_copy(update={"operator_listen": "127.0.0.1:0"})
    assert (await api.with_parts(config=config).call("GET", path, as_="adm")).status == 404
