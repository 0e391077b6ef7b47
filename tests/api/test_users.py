from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from notifyd.api import users
from notifyd.api.profiles import is_email, is_zone
from notifyd.errors import DiskFull
from notifyd.store.profiles import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.store.base import Transaction
    from tests.api.conftest import Api

ANN = {"email": "ann@shop.example", "locale": "de-AT", "time_zone": "Europe/Vienna"}
NOTHING = dict.fromkeys(ANN)


async def test_a_user_is_said_and_read_and_replaced(api: Api) -> None:
    assert (await api.call("GET", "/v1/users/ann", as_="pub")).status == 404
    answer = await api.call("PUT", "/v1/users/ann", as_="pub", body=ANN)
    assert (answer.status, answer.json) == (201, {"user_id": "ann", **ANN})
    assert (await api.call("GET", "/v1/users/ann", as_="pub")).json == answer.json
    answer = await api.call("PUT", "/v1/users/ann", as_="pub", body={"locale": "fr"})
    assert (answer.status, answer.json) == (200, {"user_id": "ann", **NOTHING, "locale": "fr"})


async def test_an_id_may_have_any_printable_character(api: Api) -> None:
    assert (await api.call("PUT", "/v1/users/a%2Fb%20%C3%BC", as_="pub", body={})).status == 201
    assert (await api.call("GET", "/v1/users/a/b%20%C3%BC", as_="pub")).json["user_id"] == "a/b ü"
    for name in ("%00", "a%07b", "x" * 129):
        answer = await api.call("PUT", f"/v1/users/{name}", as_="pub", body={})
        assert answer.status == 422, name


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"email": "ann"}, "$.email"),
        ({"email": "ann@shop.example\nBcc: eve@evil.example"}, "$.email"),
        ({"email": 3}, "$.email"),
        ({"locale": "de_AT"}, "$.locale"),
        ({"time_zone": "Mars/Olympus"}, "$.time_zone"),
        ({"time_zone": "../../etc/passwd"}, "$.time_zone"),
        ({"phone": "1"}, "$"),
    ],
)
async def test_what_is_not_acceptable_is_named(api: Api, changes: dict[str, Any], path: str) -> None:
    answer = await api.call("PUT", "/v1/users/ann", as_="pub", body=ANN | changes)
    assert (answer.status, answer.problem.get("path", "$")) == (422, path)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a@b.example", True),
        ("first.last+tag@sub.shop.example", True),
        ("ü@bücher.example", True),
        ("a@b", False),
        ("a..b@c.example", False),
        (".a@c.example", False),
        ("a b@c.example", False),
        ("a@-c.example", False),
        ("@c.example", False),
        ('"a"@c.example', False),
        ("x" * 65 + "@c.example", False),
        ("a@c.example\r", False),
        ("a,b@c.example", False),
    ],
)
def test_addresses(text: str, good: bool) -> None:
    assert is_email(text) is good


def test_time_zones() -> None:
    assert is_zone("UTC")
    assert is_zone("America/Argentina/Buenos_Aires")
    for name in ("", "America", "utc+1 ", "/etc/localtime", "A/../B", "x" * 80):
        assert not is_zone(name)


async def test_many_each_alone(api: Api) -> None:
    rows = [
        {"user_id": "ann", **ANN},
        {"user_id": "bob", "email": "nobody"},
        {"email": "a@b.example"},
        {"user_id": "eve"},
        {"user_id": "ann", "locale": "fr"},
        {"user_id": "e\u0007"},
    ]
    await api.call("PUT", "/v1/users/eve", as_="pub", body=ANN)
    answer = await api.call("POST", "/v1/users", as_="pub", body={"users": rows})
    assert answer.status == 200
    results = answer.json["results"]
    assert [result["status"] for result in results] == [201, 422, 422, 200, 201, 422]
    assert [result.get("path") for result in results] == [
        None,
        "$.users[1].email",
        "$.users[2]",
        None,
        None,
        "$.users[5].user_id",
    ]
    assert (await api.call("GET", "/v1/users/ann", as_="pub")).json["locale"] == "fr"
    assert (await api.call("GET", "/v1/users/eve", as_="pub")).json == {"user_id": "eve", **NOTHING}


async def test_more_than_a_transaction_takes(api: Api) -> None:
    rows = [{"user_id": str(number)} for number in range(2 * BATCH + 1)]
    answer = await api.call("POST", "/v1/users", as_="pub", body={"users": rows})
    assert {result["status"] for result in answer.json["results"]} == {201}
    assert (await api.call("GET", f"/v1/users/{2 * BATCH}", as_="pub")).status == 200


async def test_a_transaction_that_fails_is_told_for_its_users_only(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = api.parts.store.write, []

    async def second_fails(work: Callable[[Transaction], Any]) -> Any:
        calls.append(work)
        if len(calls) == 2:
            raise DiskFull
        return await write(work)

    monkeypatch.setattr(api.parts.store, "write", second_fails)
    rows = [{"user_id": str(number)} for number in range(BATCH + 1)]
    answer = await api.call("POST", "/v1/users", as_="pub", body={"users": rows})
    statuses = [result["status"] for result in answer.json["results"]]
    assert statuses == [201] * BATCH + [507]


async def test_limits(api: Api) -> None:
    too_many = {"users": [{"user_id": "u"}] * (users.MAX_USERS + 1)}
    assert (await api.call("POST", "/v1/users", as_="pub", body=too_many)).status == 422
    assert (await api.call("POST", "/v1/users", as_="pub", body={"users": []})).status == 422
    large = json.dumps({"users": [{"user_id": "u" * 128}] * 30_000}).encode()
    headers = {"Content-Type": "application/json"}
    assert (await api.call("POST", "/v1/users", as_="pub", raw=large, headers=headers)).status == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/users/u"), ("PUT", "/v1/users/u"), ("POST", "/v1/users"), ("DELETE", "/v1/users/u")],
)
async def test_only_publishers(api: Api, method: str, path: str) -> None:
    assert (await api.call(method, path, body={})).status == 401
    assert (await api.call(method, path, as_=api.token(), body={})).status == 403


async def test_erasing(api: Api) -> None:
    await api.publish("ann")
    cursor = (await api.publish("ann"))["id"]
    before = f"/v1/notifications?since={cursor[:-1]}1"
    await api.call("PUT", "/v1/users/ann", as_="pub", body=ANN)
    rule = {"type": "target_price", "price_in_cents": 1}
    await api.call("PUT", "/v1/watches/w?user_id=ann", as_="pub", body={"item_id": "oj", "rule": rule})
    for _ in range(2):
        answer = await api.call("DELETE", "/v1/users/ann", as_="pub")
        assert (answer.status, answer.body) == (204, b"")
        assert api.server.closed[-1] == "ann"
    assert (await api.call("GET", "/v1/users/ann", as_="pub")).status == 404
    assert (await api.call("GET", "/v1/watches?user_id=ann", as_="pub")).json == {"watches": []}
    told = (await api.call("GET", before, as_=api.token())).json
    assert told | {"cursor": 0} == {
        "notifications": [],
        "cursor": 0,
        "unread": 0,
        "recovered": False,
        "reason": "trimmed",
    }
    told = (await api.call("GET", f"/v1/notifications?since={cursor}", as_=api.token())).json
    assert told["recovered"] is True


async def test_erasing_whom_nobody_knows_is_no_error(api: Api) -> None:
    assert (await api.call("DELETE", "/v1/users/nobody", as_="pub")).status == 204
    assert (await api.call("DELETE", "/v1/users/a%00", as_="pub")).status == 422
