"""Publishing: one, many, to whom, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.errors import Unavailable
from notifyd.limits import Rates
from notifyd.messages import parse_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Api

PATH = "/v1/notifications"
ONE: dict[str, Any] = {"type": "system-message", "data": {"message": "hello"}, "user_id": "ann"}


def one(**fields: object) -> dict[str, object]:
    return {name: value for name, value in (ONE | fields).items() if value is not None}


async def publish(api: Api, body: object, key: str | None = None, as_: str = "pub") -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.call("POST", PATH, as_=as_, body=body, headers=headers)


async def listed(api: Api, user_id: str = "ann") -> Any:
    answer = await api.call("GET", PATH, as_=api.token(user_id))
    assert answer.status == 200
    return answer.json["notifications"]


# --- one ------------------------------------------------------------------------------------------------


async def test_a_notification_is_stored_and_says_where(api: Api) -> None:
    api.server.live = {"ann": 2, "bob": 1}
    answer = await publish(api, one())
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"id", "notification_id", "live_connections"}
    assert answer.json["live_connections"] == 2
    (message,) = await listed(api)
    assert (message["id"], message["data"]["message"]) == (answer.json["id"], "hello")
    assert message["data"]["notification_id"] == answer.json["notification_id"]
    assert await listed(api, "bob") == []


async def test_several_users_share_one_notification_id(api: Api) -> None:
    api.server.live = {"ann": 2, "bob": 1, "cid": 5}
    answer = await publish(api, one(user_id=None, user_ids=["ann", "bob", "ann"]))
    assert (answer.status, answer.json["live_connections"]) == (201, 3)
    (to_ann,), (to_bob,) = await listed(api), await listed(api, "bob")
    assert to_ann["data"]["notification_id"] == to_bob["data"]["notification_id"]
    assert answer.json["id"] == max(to_ann["id"], to_bob["id"], key=lambda text: str(parse_cursor(text)))


async def test_a_broadcast_is_for_everyone(api: Api) -> None:
    api.server.live = {"ann": 2, "bob": 1}
    answer = await publish(api, one(user_id=None, broadcast=True))
    assert (answer.status, answer.json["live_connections"]) == (201, 3)
    assert len(await listed(api)) == len(await listed(api, "bob")) == 1


async def test_an_expired_one_is_not_listed(api: Api) -> None:
    assert (await publish(api, one(expires_in_s=1.5))).status == 201
    assert len(await listed(api)) == 1
    api.server.now_ms += 1500
    assert await listed(api) == []


async def test_broadcast_false_says_nothing(api: Api) -> None:
    assert (await publish(api, one(broadcast=False))).status == 201


@pytest.fixture
def offline(failing_api: Callable[[Exception], Api]) -> Api:
    return failing_api(Unavailable("not to be reached"))


WHOM = "Say exactly one of user_id, user_ids and broadcast: true"


@pytest.mark.parametrize(
    ("body", "detail", "path"),
    [
        (one(user_id=None), WHOM, "$"),
        (one(user_ids=["bob"]), WHOM, "$"),
        (one(broadcast=True), WHOM, "$"),
        (one(user_id=None, broadcast=False), WHOM, "$"),
        (one(user_id=5), "Expected `str`, got `int`", "$.user_id"),
        (one(user_id=""), "Expected `str` of length >= 1", "$.user_id"),
        (one(user_id="a" * 129), "Expected `str` of length <= 128", "$.user_id"),
        (one(user_id=None, user_ids=[]), "Expected `array` of length >= 1", "$.user_ids"),
        (one(user_id=None, user_ids=["a", 1]), "Expected `str`, got `int`", "$.user_ids[1]"),
        (one(type=None), "Object missing required field `type`", "$"),
        (one(data=None), "Object missing required field `data`", "$"),
        (one(data=[]), "Expected `object`, got `array`", "$.data"),
        (one(extra=1), "Object contains unknown field `extra`", "$"),
        (one(expires_in_s=0), "Expected `float` > 0.0", "$.expires_in_s"),
        (one(expires_in_s=1e12), "Expected `float` <= 316224000.0", "$.expires_in_s"),
        (one(idempotency_key=""), "Expected `str` of length >= 1", "$.idempotency_key"),
    ],
)
async def test_a_publication_that_is_not_acceptable(
    offline: Api, body: object, detail: str, path: str
) -> None:
    answer = await publish(offline, body)
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


@pytest.mark.parametrize(
    ("fields", "detail", "path"),
    [
        ({"data": {}}, "Object missing required field `message`", "$.data"),
        ({"data": {"message": 5}}, "Expected `str`, got `int`", "$.data.message"),
        ({"data": {"message": "x", "severity": "bad"}}, "Invalid enum value 'bad'", "$.data.severity"),
        (
            {"type": "unheard-of"},
            "Unknown type 'unheard-of', expected one of deal-notification, system-message, "
            "job-completed, or x-…",
            "$.type",
        ),
        (
            {"type": "x-mine", "data": {"notification_id": "n"}},
            "Set by the server alone",
            "$.data.notification_id",
        ),
    ],
)
async def test_data_must_fit_its_type(api: Api, fields: dict[str, object], detail: str, path: str) -> None:
    answer = await publish(api, one(**fields))
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


def nested(levels: int) -> object:
    return [] if levels == 1 else {"a": nested(levels - 1)} if levels % 2 else [nested(levels - 1)]


async def test_data_has_at_most_32_levels(api: Api) -> None:
    assert (await publish(api, one(type="x-deep", data={"a": nested(31)}))).status == 201
    answer = await publish(api, one(type="x-deep", data={"a": nested(32)}))
    assert answer.status == 422
    assert answer.problem["detail"] == "At most 32 levels of objects and lists"
    assert answer.problem["path"] == "$.data"
    flat = [[n] for n in range(100)]
    assert (await publish(api, one(type="x-deep", data={"a": flat}))).status == 201


@pytest.mark.parametrize("depth", [500, 900, 960, 990, 1100])
async def test_no_depth_is_a_bug(offline: Api, depth: int) -> None:
    raw = b'{"type":"x-a","user_id":"a","data":%s1%s}' % (b'{"a":' * depth, b"}" * depth)
    answer = await offline.call(
        "POST", PATH, as_="pub", raw=raw, headers={"Content-Type": "application/json"}
    )
    assert answer.status in (400, 422)
    assert answer.problem["type"] in ("bad-request", "unprocessable")


async def test_one_is_at_most_64_kib(api: Api) -> None:
    answer = await publish(api, one(type="x-big", data={"a": "x" * 65_536}))
    assert answer.status == 413
    assert answer.problem == {
        "type": "too-large",
        "detail": "At most 65536 bytes are accepted for one notification",
    }


async def test_more_than_4_mib_is_not_read(offline: Api) -> None:
    answer = await offline.call(
        "POST", PATH, as_="pub", raw=b" " * 4_194_305, headers={"Content-Type": "application/json"}
    )
    assert answer.status == 413
    assert answer.problem == {"type": "too-large", "detail": "At most 4194304 bytes are accepted here"}


# --- once -----------------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_same_answer(api: Api) -> None:
    first = await publish(api, one(), key="k-1")
    again = await publish(api, dict(reversed(list(one().items()))), key="k-1")
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert len(await listed(api)) == 1


async def test_the_same_key_with_another_body_is_a_conflict(api: Api) -> None:
    await publish(api, one(), key="k-1")
    answer = await publish(api, one(data={"message": "other"}), key="k-1")
    assert answer.status == 422
    assert answer.problem["type"] == "idempotency-conflict"


async def test_keys_belong_to_their_publisher(api: Api) -> None:
    for publisher in ("pub", "pub-2", api.token("shop", scopes=["notifications:write"])):
        assert (await publish(api, one(), key="k-1", as_=publisher)).status == 201
    assert len(await listed(api)) == 3


async def test_the_key_may_stand_in_the_body(api: Api) -> None:
    first = await publish(api, one(idempotency_key="k-1"))
    again = await publish(api, one(), key="k-1")
    assert (first.status, again.status) == (201, 200)


@pytest.mark.parametrize("key", ["k" * 256, "é", "\x7f"])
async def test_a_key_that_is_not_acceptable(offline: Api, key: str) -> None:
    answer = await publish(offline, one(), key=key)
    assert answer.status == 422
    assert answer.problem == {
        "type": "unprocessable",
        "detail": "Idempotency-Key: 1 to 255 printable ASCII characters",
    }


async def test_two_keys_are_one_too_many(offline: Api) -> None:
    answer = await publish(offline, one(idempotency_key="a"), key="a")
    assert answer.status == 422
    assert answer.problem["path"] == "$.idempotency_key"


# --- many -----------------------------------------------------------------------------------------------


async def test_each_of_many_succeeds_or_fails_alone(api: Api) -> None:
    api.server.live = {"ann": 1}
    body = {
        "notifications": [
            one(),
            one(type="unheard-of"),
            one(user_id="bob"),
            one(extra=1),
            5,
            one(user_id=None),
        ]
    }
    answer = await publish(api, body)
    assert answer.status == 201
    results = answer.json["results"]
    assert [result["status"] for result in results] == [201, 422, 201, 422, 422, 422]
    assert [result.get("live_connections") for result in results] == [1, None, 0, None, None, None]
    assert results[1]["path"] == "$.notifications[1].type"
    assert results[3] == {
        "type": "urn:notifyd:problem:unprocessable",
        "title": "The request is readable but not acceptable",
        "status": 422,
        "detail": "Object contains unknown field `extra`",
        "path": "$.notifications[3]",
    }
    assert [results[4]["path"], results[5]["path"]] == ["$.notifications[4]", "$.notifications[5]"]
    assert [message["id"] for message in await listed(api)] == [results[0]["id"]]
    assert [message["id"] for message in await listed(api, "bob")] == [results[2]["id"]]


async def test_each_of_many_has_its_own_key(api: Api) -> None:
    first = await publish(api, one(), key="k-1")
    body = {"notifications": [one(idempotency_key="k-1"), one(idempotency_key="k-2")]}
    results = (await publish(api, body)).json["results"]
    assert [result["status"] for result in results] == [200, 201]
    assert results[0]["notification_id"] == first.json["notification_id"]
    again = (await publish(api, body)).json["results"]
    assert [result["status"] for result in again] == [200, 200]
    assert len(await listed(api)) == 2


async def test_a_thousand_at_once(api: Api) -> None:
    body = {"notifications": [one(user_id=f"u{n}") for n in range(1000)]}
    answer = await publish(api, body)
    assert answer.status == 201
    seqs = [parse_cursor(result["id"]) for result in answer.json["results"]]
    assert len(set(seqs)) == 1000


async def test_many_that_are_all_wrong_reach_no_inbox(offline: Api) -> None:
    answer = await publish(offline, {"notifications": [1, 2]})
    assert [result["status"] for result in answer.json["results"]] == [422, 422]


async def test_an_inbox_that_fails_each_alone(offline: Api) -> None:
    answer = await publish(offline, {"notifications": [one(), one()]})
    assert answer.status == 201
    assert [result["type"] for result in answer.json["results"]] == ["urn:notifyd:problem:unavailable"] * 2


async def test_an_inbox_that_takes_nothing(offline: Api) -> None:
    answer = await publish(offline, {"notifications": [one()]})
    assert answer.status == 503
    assert answer.problem == {"type": "unavailable", "detail": "not to be reached"}


@pytest.mark.parametrize(
    ("body", "detail", "path"),
    [
        ({"notifications": []}, "Expected `array` of length >= 1", "$.notifications"),
        ({"notifications": [1] * 1001}, "Expected `array` of length <= 1000", "$.notifications"),
        ({"notifications": {}}, "Expected `array`, got `object`", "$.notifications"),
        ({"notifications": [1], "x": 1}, "Object contains unknown field `x`", "$"),
        (
            {"notifications": [one(user_id=None, user_ids=[f"u{n}" for n in range(6000)])] * 2},
            "At most 10000 addressees in one request",
            "$.notifications",
        ),
    ],
)
async def test_many_that_are_not_acceptable(offline: Api, body: object, detail: str, path: str) -> None:
    answer = await publish(offline, body)
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


async def test_many_share_no_key(offline: Api) -> None:
    answer = await publish(offline, {"notifications": [one()]}, key="k")
    assert answer.status == 422
    assert answer.problem["detail"] == "Give each notification its own idempotency_key"


async def test_many_may_be_large(api: Api) -> None:
    body = {"notifications": [one(type="x-big", data={"a": "x" * 40_000})] * 20}
    assert len(json.dumps(body)) > 65_536
    results = (await publish(api, body)).json["results"]
    assert [result["status"] for result in results] == [201] * 20


# --- who ------------------------------------------------------------------------------------------------


async def test_only_publishers_publish(offline: Api) -> None:
    refused = [
        ((await offline.call("POST", PATH, as_=as_, body=one())).status, as_)
        for as_ in (None, "nothing", offline.token(), "adm", offline.token(scopes=["admin"]))
    ]
    assert [status for status, _ in refused] == [401, 401, 403, 403, 403]


# --- limits of what one request may cost ----------------------------------------------------------------


@pytest.mark.parametrize("user_id", ["a\0b", "a\nb", "\u2028"])
async def test_whom_no_token_can_name_is_no_user(api: Api, user_id: str) -> None:
    for whom in ({"user_id": user_id}, {"user_id": None, "user_ids": ["ann", user_id]}):
        answer = await publish(api, one(**whom))
        assert (answer.status, answer.problem["path"]) == (422, "$")
    assert await listed(api) == []


async def test_a_long_notification_for_very_many_is_too_large(api: Api) -> None:
    long = one(type="x-long", data={"text": "x" * 30_000}, user_id=None)
    assert (await publish(api, long | {"user_ids": [f"u{n}" for n in range(600)]})).status == 413
    assert (await publish(api, long | {"user_ids": [f"u{n}" for n in range(100)]})).status == 201


async def test_others_run_while_many_are_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifyd.clock.SLICE_S", 0.0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        # All of them are refused, so that nothing else takes turns.
        assert (await publish(api, {"notifications": [{"no": "way"}] * 1000})).status == 201
        nursery.cancel_scope.cancel()
    assert turns > 1000


async def test_one_publisher_may_publish_so_many_a_second_and_is_told_to_wait(api: Api) -> None:
    limited = api.with_parts(publish_rates=Rates(rate=0.001, burst=3))
    body = {"type": "system-message", "user_id": "ann", "data": {"message": "m"}}
    many = {"notifications": [body, body]}
    assert (await limited.call("POST", PATH, as_="pub", body=body)).status == 201
    assert (await limited.call("POST", PATH, as_="pub", body=many)).status == 201
    for again in (body, many):
        refused = await limited.call("POST", PATH, as_="pub", body=again)
        assert (refused.status, refused.problem["type"]) == (429, "too-many-requests")
        assert refused.headers["retry-after"] == "1"
    assert (await limited.call("POST", PATH, as_="pub-2", body=body)).status == 201
