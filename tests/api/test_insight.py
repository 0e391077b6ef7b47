from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notifyd.messages import iso
from tests.api.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.api.conftest import Answer, Api

HOUR = 3_600_000
TARGET = {"type": "target_price", "price_in_cents": 300}


async def post(api: Api, *prices: tuple[int, int], item: str = "oj", name: str = "Orange juice") -> None:
    """(hours ago, cents), each a batch."""
    for hours, cents in prices:
        row = {
            "item_id": item,
            "item_name": name,
            "store_id": 3,
            "store_name": "Shop",
            "price_in_cents": cents,
            "currency": "USD",
            "observed_at": iso(NOW_MS - hours * HOUR),
        }
        answer = await api.call("POST", "/v1/prices", as_="pub", body={"prices": [row]})
        assert answer.json["added"] == 1, answer


async def put(api: Api, rule: Any = TARGET, **what: Any) -> None:
    body = (what or {"item_id": "oj"}) | {"rule": rule}
    assert (await api.call("PUT", "/v1/watches/w?user_id=ann", as_="pub", body=body)).status == 201


async def test_a_watch_explains_itself_to_its_user_and_to_publishers(api: Api) -> None:
    await put(api)
    answer = await api.call("GET", "/v1/watches/w/explain", as_=api.token())
    assert answer.json == {
        "watch_id": "w",
        "stores": [],
        "next": None,
        "reason": "no_price",
        "explanation": "No price of oj has come in so far.",
    }
    assert (await api.call("DELETE", "/v1/watches/w", as_=api.token())).status == 204
    await post(api, (9, 250))
    await put(api)
    answer = await api.call("GET", "/v1/watches/w/explain", as_=api.token())
    assert (answer.json["next"], answer.json["reason"], answer.json["explanation"]) == (None, None, None)
    (told,) = answer.json["stores"]
    assert told == {
        "item_id": "oj",
        "item_name": "Orange juice",
        "store_id": 3,
        "store_name": "Shop",
        "currency": "USD",
        "observed_at": iso(NOW_MS - 9 * HOUR),
        "baseline": "target",
        "baseline_price_in_cents": 300,
        "last_price_in_cents": 250,
        "threshold_in_cents": 300,
        "state": "silent",
        "told_price_in_cents": 250,
        "valid_until": None,
        "fired_at": iso(NOW_MS - 9 * HOUR),
        "cooldown_until": iso(NOW_MS + 15 * HOUR),
        "rearms_at_in_cents": 306,
        "deeper_at_in_cents": 237,
        "reason": "met_when_set",
        "explanation": "USD 2.50 met the rule when the watch was set, and was told in that answer.",
    }
    same = await api.call("GET", "/v1/watches/w/explain?user_id=ann", as_="pub")
    assert same.json == answer.json
    for path, as_ in (("w", api.token("bob")), ("none", api.token())):
        assert (await api.call("GET", f"/v1/watches/{path}/explain", as_=as_)).status == 404
    assert (await api.call("GET", "/v1/watches/w/explain")).status == 401


async def test_a_backtest_tells_and_stores_nothing(api: Api) -> None:
    await post(api, (50, 350), (40, 290), (30, 350), (5, 280))
    await post(api, (50, 100), item="x", name="Apple juice")
    body = {"search": "JUICÉ", "rule": TARGET}
    answer = await api.call("POST", "/v1/watches/backtest", as_=api.token(), body=body)
    told = answer.json
    assert [(each["item_id"], each["price_in_cents"]) for each in told["alerts"]] == [
        ("oj", 290),
        ("oj", 280),
        ("x", 100),
    ]
    assert {name: told[name] for name in ("total", "items", "prices", "complete", "next")} == {
        "total": 3,
        "items": 2,
        "prices": 5,
        "complete": True,
        "next": None,
    }
    assert told["alerts"][0]["old_price_in_cents"] == 350
    assert (await api.call("GET", "/v1/watches", as_=api.token())).json == {"watches": []}
    limited = await api.call("POST", "/v1/watches/backtest?limit=1&after=oj", as_="pub", body=body)
    assert [each["item_id"] for each in limited.json["alerts"]] == ["x"]
    limited = await api.call("POST", "/v1/watches/backtest?limit=1", as_="pub", body=body)
    assert (len(limited.json["alerts"]), limited.json["total"]) == (1, 3)


async def refused(api: Api, body: object) -> Answer:
    return await api.call("POST", "/v1/watches/backtest", as_="pub", body=body)


async def test_what_is_no_watch_is_named(api: Api) -> None:
    answer = await refused(api, {"rule": TARGET})
    assert (answer.status, answer.problem["path"]) == (422, "$")
    assert (await api.call("POST", "/v1/watches/backtest", body={"rule": TARGET})).status == 401
