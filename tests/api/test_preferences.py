"""Preferences, the link that ends mail, the outbox, and webhooks, over HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from notifyd.messages import iso
from notifyd.store import deliveries, outbox, preferences, profiles
from notifyd.store.deliveries import NewMessage
from notifyd.store.profiles import Profile
from notifyd.unsubscribe import Subscription, make_token

if TYPE_CHECKING:
    from tests.api.conftest import Api

USUAL: dict[str, Any] = {"policy": "offline", "types": {}, "quiet_hours": None, "daily_at": "08:00"}
KNOWN: dict[str, Any] = {"mail": False, "email": None, "bounced": False, "time_zone": None}


async def test_preferences_are_said_and_read(api: Api) -> None:
    ann = api.token("ann")
    assert (await api.call("GET", "/v1/preferences", as_=ann)).json == USUAL | KNOWN
    wanted: dict[str, Any] = {
        "policy": "daily",
        "types": {"x-a": "never"},
        "quiet_hours": {"start": "22:00", "end": "07:30"},
        "daily_at": "18:15",
    }
    answer = await api.call("PUT", "/v1/preferences", as_=ann, body=wanted)
    assert (answer.status, answer.json) == (200, wanted | KNOWN)
    assert (await api.call("GET", "/v1/preferences", as_=ann)).json == wanted | KNOWN
    assert (await api.call("GET", "/v1/preferences", as_=api.token("ben"))).json == USUAL | KNOWN
    assert api.server.woken == 1


async def test_what_is_known_of_the_user_is_shown(api: Api) -> None:
    ann = Profile("ann", "ann@shop.example", None, "Europe/Vienna")
    await api.parts.store.write(partial(profiles.put, profiles=[ann]))
    await api.parts.store.write(partial(outbox.bounced, user_id="ann", address="ann@shop.example"))
    found = (await api.call("GET", "/v1/preferences", as_=api.token("ann"))).json
    assert (found["email"], found["bounced"], found["time_zone"]) == (
        "ann@shop.example",
        True,
        "Europe/Vienna",
    )
    elsewhere = ann._replace(email="ann@other.example")
    await api.parts.store.write(partial(profiles.put, profiles=[elsewhere]))
    assert not (await api.call("GET", "/v1/preferences", as_=api.token("ann"))).json["bounced"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"policy": "sometimes"}, "$.policy"),
        ({"daily_at": "24:00"}, "$.daily_at"),
        ({"daily_at": "8:00"}, "$.daily_at"),
        ({"quiet_hours": {"start": "22:00"}}, "$.quiet_hours"),
        ({"types": {"ping": "never"}}, "key` in `$.types"),
        ({"colour": "red"}, "$"),
    ],
)
async def test_what_is_not_acceptable_is_named(api: Api, changes: dict[str, Any], path: str) -> None:
    answer = await api.call("PUT", "/v1/preferences", as_=api.token("ann"), body=changes)
    assert answer.status == 422
    assert path in str(answer.problem)


# --- unsubscribing ----------------------------------------------------------------------------------


async def link(api: Api, list_: str = "deal-notification") -> str:
    key = await api.parts.store.write(preferences.draw_unsubscribe_key)
    return f"/unsubscribe/{make_token(key, Subscription('ann', list_))}"


async def policy(api: Api, type_: str) -> str:
    found = await api.parts.store.read(partial(preferences.find, user_id="ann"))
    return found.policy_of(type_)


async def test_looking_at_the_link_a_thousand_times_changes_nothing(api: Api) -> None:
    path = await link(api)
    for _ in range(1000):
        answer = await api.call("GET", path)
    assert answer.status == 200
    assert b"<form method" in answer.body
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert await policy(api, "deal-notification") == "offline"


async def test_one_post_without_a_login_ends_it_at_once(api: Api) -> None:
    path = await link(api)
    sent = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(2):
        answer = await api.call("POST", path, raw=b"List-Unsubscribe=One-Click", headers=sent)
        assert answer.status == 200
        assert await policy(api, "deal-notification") == "never"
    assert await policy(api, "system-message") == "offline"
    await api.call("POST", await link(api, "all"))
    assert await policy(api, "system-message") == "never"
    assert api.server.woken == 3


async def test_unsubscribing_holds_however_many_types_were_named(api: Api) -> None:
    types = {f"x-{number}": "always" for number in range(50)}
    wanted = {"policy": "always", "types": types}
    ann = api.token("ann")
    assert (await api.call("PUT", "/v1/preferences", as_=ann, body=wanted)).status == 200
    more = wanted | {"types": types | {"x-50": "always"}}
    assert (await api.call("PUT", "/v1/preferences", as_=ann, body=more)).status == 422
    assert (await api.call("POST", await link(api))).status == 200
    assert await policy(api, "deal-notification") == "never"
    assert await policy(api, "x-0") == "always"
    assert len((await api.call("GET", "/v1/preferences", as_=ann)).json["types"]) == 51


@pytest.mark.parametrize("token", ["x", "a" * 5000, "..%2f..", "%00"])
async def test_a_link_that_is_not_ours_is_not_found(api: Api, token: str) -> None:
    await link(api)
    for method in ("GET", "POST"):
        assert (await api.call(method, f"/unsubscribe/{token}")).status == 404


async def test_without_a_key_no_link_is_ours(api: Api) -> None:
    assert (await api.call("POST", "/unsubscribe/abc")).status == 404


async def test_a_list_with_markup_in_its_name_is_escaped(api: Api) -> None:
    answer = await api.call("GET", await link(api, "x-<script>"))
    assert b"<script>" not in answer.body


# --- the outbox ---------------------------------------------------------------------------------------


async def dead(api: Api, *names: str) -> None:
    """Messages of these ids that were given up."""
    now = api.server.now_ms
    made = [NewMessage(name, "mail", "ann") for name in names]
    await api.parts.store.write(lambda tx: deliveries.settle(tx, [], made, now))
    for claimed in await api.parts.store.write(lambda tx: outbox.claim(tx, 100, now, now + 1000)):
        await api.parts.store.write(
            partial(outbox.end, message=claimed, status="dead", error="554", now_ms=now)
        )


async def test_dead_letters_are_listed_in_pages(api: Api) -> None:
    await dead(api, "m1", "m2", "m3")
    answer = (await api.call("GET", "/v1/outbox?limit=2", as_="adm")).json
    assert [each["message_id"] for each in answer["messages"]] == ["m1", "m2"]
    assert answer["messages"][0] == {
        "message_id": "m1",
        "channel": "mail",
        "user_id": "ann",
        "status": "dead",
        "created_at": iso(api.server.now_ms),
        "due_at": None,
        "tries": 1,
        "error": "554",
        "ended_at": iso(api.server.now_ms),
    }
    rest = (await api.call("GET", f"/v1/outbox?limit=2&after={answer['next']}", as_="adm")).json
    assert ([each["message_id"] for each in rest["messages"]], rest["next"]) == (["m3"], None)
    assert (await api.call("GET", "/v1/outbox?status=waiting", as_="adm")).json["messages"] == []


async def test_a_dead_letter_is_retried_or_dropped(api: Api) -> None:
    await dead(api, "m1", "m2")
    assert (await api.call("POST", "/v1/outbox/m1/retry", as_="adm")).status == 204
    assert (await api.call("POST", "/v1/outbox/m1/retry", as_="adm")).status == 404
    assert (await api.call("DELETE", "/v1/outbox/m2", as_="adm")).status == 204
    assert (await api.call("DELETE", "/v1/outbox/m2", as_="adm")).status == 404
    assert await api.parts.store.read(outbox.counts) == {("waiting", "mail"): 1}
    assert api.server.woken == 1


async def test_only_operators_see_the_outbox(api: Api) -> None:
    for method, path in (("GET", "/v1/outbox"), ("POST", "/v1/outbox/m/retry"), ("DELETE", "/v1/outbox/m")):
        for key in ("pub", api.token("ann")):
            assert (await api.call(method, path, as_=key)).status == 403


# --- webhooks -----------------------------------------------------------------------------------------


async def test_each_publisher_has_a_webhook_of_its_own(api: Api) -> None:
    assert (await api.call("GET", "/v1/webhook", as_="pub")).status == 404
    body = {"url": "https://shop.example/hook?a=1"}
    answer = await api.call("PUT", "/v1/webhook", as_="pub", body=body)
    assert answer.status == 200
    assert answer.json["every"] is False
    assert len(answer.json["secret"]) >= 16
    assert (await api.call("GET", "/v1/webhook", as_="pub")).json == answer.json
    assert (await api.call("GET", "/v1/webhook", as_="pub-2")).status == 404
    assert (await api.call("DELETE", "/v1/webhook", as_="pub")).status == 204
    assert (await api.call("DELETE", "/v1/webhook", as_="pub")).status == 404


@pytest.mark.parametrize("url", ["ftp://a.example", "https://", "https://u:p@a.example", "/x", "https://a b"])
async def test_a_webhook_needs_an_address(api: Api, url: str) -> None:
    assert (await api.call("PUT", "/v1/webhook", as_="pub", body={"url": url})).status == 422
