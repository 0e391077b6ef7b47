from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from notifyd.messages import iso
from tests.api.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.api.conftest import Answer, Api

TARGET = {"type": "target_price", "price_in_cents": 300}
DROP = {"type": "percent_drop", "percent": 15, "baseline": "median_30d"}
TUNING = {"rearm_percent": 2, "cooldown_s": 86_400, "deeper_percent": 5}


async def put(
    api: Api, watch_id: str = "w", rule: object = TARGET, *, user: str = "ann", **fields: Any
) -> Answer:
    body = {"item_id": "oj", "rule": rule} | fields
    return await api.call("PUT", f"/v1/watches/{watch_id}", as_=api.token(user), body=body)


async def post(api: Api, price_in_cents: int, store_id: int | str = 3, **fields: Any) -> None:
    row = {
        "item_id": "oj",
        "item_name": "Orange juice",
        "store_id": store_id,
        "store_name": f"Shop {store_id}",
        "price_in_cents": price_in_cents,
        "currency": "USD",
    }
    answer = await api.call("POST", "/v1/prices", as_="pub", body={"prices": [row | fields]})
    assert answer.json["added"] == 1, answer


@pytest.mark.parametrize("path", ["a/b", "a%2Fb", "a/b/"])
async def test_a_watch_may_have_slashes_in_its_name(api: Api, path: str) -> None:
    name = path.replace("%2F", "/")
    assert (await put(api, path)).json["watch_id"] == name
    token = api.token()
    assert (await api.call("GET", f"/v1/watches/{path}", as_=token)).json["watch_id"] == name
    explained = await api.call("GET", f"/v1/watches/{path}/explain", as_=token)
    assert (explained.status, explained.json["watch_id"]) == (200, name)
    assert (await api.call("DELETE", f"/v1/watches/{path}", as_=token)).status == 204
    assert (await api.call("GET", f"/v1/watches/{path}", as_=token)).status == 404


async def test_a_watch_is_set_read_listed_and_deleted(api: Api) -> None:
    answer = await put(api, "my watch", stores=[3, "3", 3])
    assert answer.status == 201
    told = answer.json
    assert told.pop("stores") == ["3", 3]
    assert told == {
        "watch_id": "my watch",
        "item_id": "oj",
        "item_name": None,
        "search": None,
        "rule": TARGET | TUNING | {"currency": None},
        "created_at": iso(NOW_MS),
        "already_met": False,
        "met_by": [],
        "more_met": 0,
    }
    await put(api, "a", DROP)
    token = api.token()
    one = await api.call("GET", "/v1/watches/a", as_=token)
    assert one.json == {
        "watch_id": "a",
        "item_id": "oj",
        "item_name": None,
        "search": None,
        "stores": None,
        "rule": DROP | TUNING,
        "created_at": iso(NOW_MS),
    }
    listed = (await api.call("GET", "/v1/watches", as_=token)).json["watches"]
    assert [each["watch_id"] for each in listed] == ["a", "my watch"]
    listed = (await api.call("GET", "/v1/watches?after=a&limit=5", as_=token)).json["watches"]
    assert [each["watch_id"] for each in listed] == ["my watch"]
    assert (await api.call("DELETE", "/v1/watches/a", as_=token)).status == 204
    for method in ("GET", "DELETE"):
        gone = await api.call(method, "/v1/watches/a", as_=token)
        assert (gone.status, gone.problem["type"]) == (404, "not-found")


async def test_users_see_and_change_only_their_own(api: Api) -> None:
    await put(api)
    bob = api.token("bob")
    assert (await api.call("GET", "/v1/watches", as_=bob)).json == {"watches": []}
    assert (await api.call("GET", "/v1/watches/w", as_=bob)).status == 404
    assert (await api.call("DELETE", "/v1/watches/w", as_=bob)).status == 404
    assert (await api.call("GET", "/v1/watches?user_id=ann", as_=bob)).status in (401, 403)
    assert (await api.call("DELETE", "/v1/watches/w?user_id=ann", as_=bob)).status in (401, 403)
    assert (await put(api, user="bob")).status == 201
    assert (await api.call("GET", "/v1/watches")).status == 401


async def test_a_publisher_acts_for_a_user(api: Api) -> None:
    body = {"item_id": "oj", "rule": DROP}
    path = "/v1/watches/w?user_id=ann"
    assert (await api.call("PUT", path, as_="pub", body=body)).status == 201
    assert (await api.call("GET", path, as_="pub")).json["watch_id"] == "w"
    assert (await api.call("GET", "/v1/watches/w", as_=api.token())).status == 200
    assert (await api.call("DELETE", path, as_="pub")).status == 204
    assert (await api.call("PUT", "/v1/watches/w", as_="pub", body=body)).status in (401, 403)


async def test_a_watch_that_is_met_already_says_by_what(api: Api) -> None:
    await post(api, 250, observed_at=iso(NOW_MS - 1000))
    await post(api, 300, "4")
    await post(api, 301, 5)
    await post(api, 100, 5, observed_at=iso(NOW_MS - 1000))  # not its newest
    answer = await put(api)
    assert answer.json["already_met"] is True
    assert answer.json["item_name"] == "Orange juice"
    assert answer.json["met_by"] == [
        {
            "item_id": "oj",
            "item_name": "Orange juice",
            "store_id": 3,
            "store_name": "Shop 3",
            "currency": "USD",
            "price_in_cents": 250,
            "observed_at": iso(NOW_MS - 1000),
            "valid_until": None,
        },
        {
            "item_id": "oj",
            "item_name": "Orange juice",
            "store_id": "4",
            "store_name": "Shop 4",
            "currency": "USD",
            "price_in_cents": 300,
            "observed_at": iso(NOW_MS),
            "valid_until": None,
        },
    ]
    again = await put(api)
    assert again.status == 200
    assert again.json == answer.json
    assert (await put(api, stores=[5])).json["already_met"] is False
    assert (await put(api, "eur", TARGET | {"currency": "EUR"})).json["already_met"] is False


async def test_a_price_that_has_ended_meets_nothing(api: Api) -> None:
    end = iso(NOW_MS + 60_000)
    await post(api, 250, observed_at=iso(NOW_MS - 2000), valid_until=iso(NOW_MS - 1000))
    await post(api, 260, 4, valid_until=end)
    answer = await put(api)
    told = [(met["price_in_cents"], met["valid_until"]) for met in answer.json["met_by"]]
    assert told == [(260, end)]


@pytest.mark.parametrize(
    ("baseline", "met"), [("previous", True), ("lowest", False), ("median_30d", True), ("median", None)]
)
async def test_a_drop_is_met_by_the_newest_price_against_what_came_before(
    api: Api, baseline: str, met: bool | None
) -> None:
    for age, cents in reversed(list(enumerate([85, 100, 100, 100, 50]))):
        await post(api, cents, observed_at=iso(NOW_MS - age * 1000))
    answer = await put(api, rule=DROP | {"baseline": baseline})
    if met is None:
        assert answer.problem["path"] == "$.rule.baseline"
    else:
        assert answer.json["already_met"] is met


async def test_another_rule_takes_the_place_of_the_first(api: Api) -> None:
    first = (await put(api)).json
    api.server.now_ms += 5
    assert (await put(api)).json == first
    assert (await put(api, rule=TARGET | TUNING)).json == first  # the same, said in full
    changed = await put(api, rule=TARGET | {"deeper_percent": 7.5})
    assert changed.status == 200
    assert changed.json["created_at"] == iso(NOW_MS + 5)
    assert changed.json["rule"]["deeper_percent"] == 7.5


@pytest.mark.parametrize(
    ("body", "detail", "path"),
    [
        ({"rule": TARGET}, "Expected exactly one of `item_id` and `search`", "$"),
        (
            {"rule": TARGET, "item_id": "oj", "search": "juice"},
            "Expected exactly one of `item_id` and `search`",
            "$",
        ),
        ({"item_id": "oj"}, "Object missing required field `rule`", "$"),
        ({"search": "& – %", "rule": TARGET}, "Expected 1 to 10 words", "$.search"),
        ({"search": "a b c d e f g h i j k", "rule": TARGET}, "Expected 1 to 10 words", "$.search"),
        ({"search": "juice\0", "rule": TARGET}, "The character U+0000 is not accepted", "$.search"),
        ({"item_id": "oj", "rule": {"type": "best"}}, "Invalid value 'best'", "$.rule.type"),
        ({"item_id": "oj", "rule": 3}, "Expected `object`, got `int`", "$.rule"),
        ({"item_id": "oj", "rule": TARGET, "x": 1}, "Object contains unknown field `x`", "$"),
        (
            {"item_id": "oj", "rule": TARGET | {"percent": 3}},
            "Object contains unknown field `percent`",
            "$.rule",
        ),
        ({"item_id": "oj", "rule": DROP | {"percent": 0}}, "Expected `int` >= 1", "$.rule.percent"),
        ({"item_id": "oj", "rule": DROP | {"percent": 101}}, "Expected `int` <= 100", "$.rule.percent"),
        (
            {"item_id": "oj", "rule": DROP | {"percent": 1.234}},
            "Expected at most two decimals",
            "$.rule.percent",
        ),
        ({"item_id": "oj", "rule": TARGET | {"cooldown_s": -1}}, "Expected `int` >= 0", "$.rule.cooldown_s"),
        ({"item_id": "oj", "rule": TARGET, "stores": []}, "Expected `array` of length >= 1", "$.stores"),
        (
            {"item_id": "oj", "rule": TARGET, "stores": [1.5]},
            "Expected `int | str`, got `float`",
            "$.stores[0]",
        ),
        ({"item_id": 3, "rule": TARGET}, "Expected `str | null`, got `int`", "$.item_id"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, body: object, detail: str, path: str) -> None:
    answer = await api.call("PUT", "/v1/watches/w", as_=api.token(), body=body)
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


async def test_bodies_and_ids_that_cannot_be(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    token = api.token()
    answer = await api.call("PUT", "/v1/watches/w", as_=token, raw=b"{", headers=headers)
    assert (answer.status, answer.problem["type"]) == (400, "bad-request")
    for watch_id in ("x" * 129, "a%00b"):
        assert (await put(api, watch_id)).status == 422
    assert (await api.call("GET", "/v1/watches?user_id=", as_="pub")).status == 422


async def test_a_user_may_be_called_null(api: Api) -> None:
    body = {"item_id": "i-1", "rule": {"type": "target_price", "price_in_cents": 100}}
    assert (await api.call("PUT", "/v1/watches/w?user_id=null", as_="pub", body=body)).status == 201
    assert (await api.call("GET", "/v1/watches/w", as_=api.token("null"))).status == 200
