from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from notifyd.api.price_rows import Reader
from notifyd.messages import iso
from notifyd.store import runs
from tests.api.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.api.conftest import Answer, Api

DAY = 86_400_000
#: NOW_MS as text.
NOW = iso(NOW_MS)


def price(**changes: Any) -> dict[str, Any]:
    row = {
        "item_id": "oj",
        "item_name": "Orange juice",
        "store_id": 3,
        "store_name": "Corner shop",
        "price_in_cents": 399,
        "currency": "USD",
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


async def post(api: Api, *prices: object, as_: str = "pub") -> Answer:
    return await api.call("POST", "/v1/prices", as_=as_, body={"prices": list(prices)})


async def history_of(api: Api, item_id: str = "oj", query: str = "") -> Any:
    answer = await api.call("GET", f"/v1/items/{item_id}/prices{query}", as_=api.token())
    assert answer.status == 200, answer
    return answer.json


async def test_prices_are_stored_and_wake_the_checker(api: Api) -> None:
    answer = await post(
        api,
        price(observed_at="2026-01-02T03:04:05Z", valid_until="2026-02-01T00:00:00+01:00"),
        price(store_id="x/1", url="https://shop.example/oj", image_url="http://shop.example/oj.png"),
    )
    assert answer.status == 202
    batch_id = answer.json.pop("batch_id")
    assert len(batch_id) == 32
    assert answer.json | {"batch_id": ""} == {"batch_id": "", "accepted": 2, "rejected": [], "added": 2}
    assert api.server.woken == 1
    told = await history_of(api)
    assert (told["item_id"], told["item_name"]) == ("oj", "Orange juice")
    common = {"store_name": "Corner shop", "currency": "USD", "price_in_cents": 399}
    assert told["prices"] == [
        common
        | {
            "store_id": "x/1",
            "observed_at": NOW,
            "valid_until": None,
            "url": "https://shop.example/oj",
            "image_url": "http://shop.example/oj.png",
        },
        common
        | {
            "store_id": 3,
            "observed_at": "2026-01-02T03:04:05.000Z",
            "valid_until": "2026-01-31T23:00:00.000Z",
            "url": None,
            "image_url": None,
        },
    ]
    run = await api.parts.store.read(runs.next_run)
    assert run is not None
    assert (run.first_price_id, run.last_price_id) == (1, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price_in_cents": "399"}, "Expected `int`, got `str` - at `$.price_in_cents`"),
        ({"price_in_cents": -1}, "Expected `int` >= 0 - at `$.price_in_cents`"),
        ({"price_in_cents": 3.5}, "Expected `int`, got `float` - at `$.price_in_cents`"),
        ({"item_id": ...}, "Object missing required field `item_id`"),
        ({"item_id": ""}, "Expected `str` of length >= 1 - at `$.item_id`"),
        ({"item_id": "a\0b"}, "The character U+0000 is not accepted"),
        ({"store_id": None}, "Expected `int | str`, got `null` - at `$.store_id`"),
        ({"store_id": 1.5}, "Expected `int | str`, got `float` - at `$.store_id`"),
        ({"currency": "usd"}, "Expected `str` matching regex '^[A-Z]{3}$' - at `$.currency`"),
        ({"currency": ...}, "Object missing required field `currency`"),
        ({"url": "javascript:alert(1)"}, "Expected `str` matching regex '^https?://' - at `$.url`"),
        ({"color": "red"}, "Object contains unknown field `color`"),
        (
            {"observed_at": "2026-01-02"},
            "Not an ISO 8601 time with a zone: '2026-01-02' has no time zone; write it with Z or an offset"
            " - at `$.observed_at`",
        ),
        (
            {"observed_at": "yesterday"},
            "Not an ISO 8601 time with a zone: Invalid isoformat string: 'yesterday' - at `$.observed_at`",
        ),
        ({"observed_at": "1969-12-31T23:59:59Z"}, "Expected a time from 1970 to 9999 - at `$.observed_at`"),
        (
            {"valid_until": "9999-12-31T23:59:59-01:00"},
            "Expected a time from 1970 to 9999 - at `$.valid_until`",
        ),
        (
            {"observed_at": iso(NOW_MS + DAY + 1)},
            f"More than a day after now, {NOW} - at `$.observed_at`",
        ),
    ],
)
async def test_a_bad_row_is_named_while_the_good_ones_go_in(
    api: Api, changes: dict[str, Any], reason: str
) -> None:
    answer = await post(api, price(), price(**changes), price(price_in_cents=400))
    assert answer.status == 202
    assert answer.json["rejected"] == [{"index": 1, "reason": reason}]
    assert (answer.json["accepted"], answer.json["added"]) == (2, 2)


async def test_rows_that_are_no_objects_are_bad_rows(api: Api) -> None:
    answer = await post(api, 3, None, [price()])
    assert (answer.json["accepted"], answer.json["added"]) == (0, 0)
    assert [each["index"] for each in answer.json["rejected"]] == [0, 1, 2]
    assert api.server.woken == 0
    assert await api.parts.store.read(runs.next_run) is None


async def test_known_rows_add_nothing_and_make_no_run(api: Api) -> None:
    row = price(observed_at="2026-01-02T03:04:05Z")
    assert (await post(api, row, row)).json["added"] == 1
    again = await post(api, row | {"observed_at": "2026-01-02T04:04:05+01:00"})
    assert (again.json["accepted"], again.json["added"]) == (1, 0)
    assert api.server.woken == 1
    for changes in ({"store_id": "3"}, {"currency": "EUR"}, {"price_in_cents": 1}, {"item_id": "b"}):
        assert (await post(api, row | changes)).json["added"] == 1


async def test_a_batch_sent_again_within_ten_minutes_gets_its_first_answer(api: Api) -> None:
    first = await post(api, price(), {"bad": 1})
    api.server.now_ms += 599_999
    again = await post(api, price(), {"bad": 1})
    assert again == first
    assert first.json["added"] == 1
    assert len((await history_of(api))["prices"]) == 1
    api.server.now_ms += 2
    assert (await post(api, price(), {"bad": 1})).json["added"] == 1  # a new look at the same price
    assert api.server.woken == 2


async def test_only_a_publishers_own_last_batch_counts_as_sent_again(api: Api) -> None:
    assert (await post(api, price())).json["added"] == 1
    api.server.now_ms += 1
    assert (await post(api, price(), as_="pub-2")).json["added"] == 1
    assert (await post(api, price(price_in_cents=1))).json["added"] == 1
    api.server.now_ms += 1
    assert (await post(api, price())).json["added"] == 1  # its last one was another


async def test_the_newest_name_wins(api: Api) -> None:
    await post(api, price(observed_at="2026-01-05T00:00:00Z"))
    newer = price(observed_at="2026-01-06T00:00:00Z", item_name="OJ", store_name="Corner")
    older = price(observed_at="2026-01-04T00:00:00Z", item_name="Old", store_name="Older")
    await post(api, newer, older)
    await post(api, older | {"price_in_cents": 1})
    told = await history_of(api)
    assert told["item_name"] == "OJ"
    assert {each["store_name"] for each in told["prices"]} == {"Corner"}


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        (b"{", 400, None),
        (b"[]", 422, "$"),
        (b"{}", 422, "$"),
        (b'{"prices":[]}', 422, "$.prices"),
        (json.dumps({"prices": [0] * 10_001}).encode(), 422, "$.prices"),
        (b'{"prices":[1],"x":2}', 422, "$"),
        (b'{"prices":["' + b"x" * 4 * 1024 * 1024 + b'"]}', 413, None),
    ],
)
async def test_a_body_that_is_no_batch(api: Api, body: bytes, status: int, path: str | None) -> None:
    answer = await api.call(
        "POST", "/v1/prices", as_="pub", raw=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status == status
    assert answer.problem.get("path") == path


async def test_only_publishers_send_prices(api: Api) -> None:
    assert (await api.call("POST", "/v1/prices", body={"prices": [price()]})).status == 401
    assert (await post(api, price(), as_=api.token())).status in (401, 403)


async def test_ten_thousand_rows_go_in_at_once(api: Api) -> None:
    rows = [price(item_id=f"item {n % 5000}", store_id=n // 5000) for n in range(10_000)]
    assert (await post(api, *rows)).json["added"] == 10_000


def test_a_reader_says_each_row_and_name_once() -> None:
    reader = Reader(5)
    assert (reader.prices(), reader.items(), reader.stores()) == ([], [], [])
