from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from notifyd.api import items
from notifyd.errors import Unavailable
from notifyd.messages import iso
from tests.api.conftest import NOW_MS
from tests.api.test_prices import post, price

if TYPE_CHECKING:
    from tests.api.conftest import Answer, Api

PRICES = "/v1/items/oj/prices"


async def get(api: Api, path: str, **headers: str) -> Answer:
    return await api.call("GET", path, as_=api.token(), headers=headers)


async def found(api: Api, query: str) -> list[str]:
    answer = await get(api, f"/v1/items{query}")
    assert answer.status == 200, answer
    return [each["item_id"] for each in answer.json["items"]]


async def test_items_are_found_by_beginnings_of_words(api: Api) -> None:
    names = {"1": "Crème Brûlée", "2": "100% juice", "3": "1000 juices", "4": "Apple_pie"}
    await post(api, *(price(item_id=item_id, item_name=name) for item_id, name in names.items()))
    assert await found(api, "") == ["2", "3", "4", "1"]
    assert await found(api, "?search=BRULEE") == ["1"]
    assert await found(api, "?search=br%C3%BBl%20cr") == ["1"]
    assert await found(api, "?search=100") == ["2", "3"]
    assert await found(api, "?search=pie") == ["4"]
    assert await found(api, "?search=uice") == []
    assert await found(api, "?search=%25") == []  # there is no word in it
    assert (await api.call("GET", "/v1/items", as_="pub")).status == 200
    assert (await api.call("GET", "/v1/items")).status == 401
    assert (await get(api, "/v1/items?limit=51")).status == 422


async def test_items_come_in_pages(api: Api) -> None:
    await post(api, *(price(item_id=str(n), item_name=f"Name {n % 3}") for n in range(7)))
    pages: list[list[str]] = []
    after = ""
    while True:
        told = (await get(api, f"/v1/items?limit=3&search=name{after}")).json
        pages.append([each["item_id"] for each in told["items"]])
        if told["next"] is None:
            break
        after = f"&after={told['next']}"
    assert pages == [["0", "3", "6"], ["1", "4", "2"], ["5"]]
    for bad in ("x", "W10", "%00", "%C3%A9"):
        assert (await get(api, f"/v1/items?after={bad}")).problem["path"] == "$.after"


async def many(api: Api, count: int = 7) -> None:
    """Prices of which some were observed at the same time, in two stores."""
    rows = [
        price(price_in_cents=n, store_id=[3, "3"][n % 2], observed_at=iso(NOW_MS - 1000 * (n // 3)))
        for n in range(count)
    ]
    await post(api, *rows)


async def cents(api: Api, query: str) -> list[int]:
    answer = await get(api, PRICES + query)
    assert answer.status == 200, answer
    return [each["price_in_cents"] for each in answer.json["prices"]]


async def test_prices_come_in_pages_newest_first(api: Api) -> None:
    await many(api)
    whole = await cents(api, "")
    assert whole == [2, 1, 0, 5, 4, 3, 6]
    for limit in (1, 2, 3, 6):
        seen: list[int] = []
        before = ""
        while True:
            answer = await get(api, f"{PRICES}?limit={limit}{before}")
            seen += [each["price_in_cents"] for each in answer.json["prices"]]
            if answer.json["next"] is None:
                assert "link" not in answer.headers
                break
            before = f"&before={answer.json['next']}"
            assert answer.headers["link"] == f'<?limit={limit}{before}>; rel="next"'
        assert seen == whole


async def test_prices_are_filtered(api: Api) -> None:
    await many(api)
    await post(api, price(price_in_cents=9, currency="EUR", store_id="x/y"))
    assert sorted(await cents(api, "?store_id=3")) == list(range(7))  # 3 and "3" look alike here
    assert await cents(api, "?store_id=x/y") == [9]
    assert await cents(api, "?currency=EUR") == [9]
    assert sorted(await cents(api, f"?since={iso(NOW_MS - 1000)}&currency=USD")) == [0, 1, 2, 3, 4, 5]
    assert sorted(await cents(api, f"?until={iso(NOW_MS - 1000)}")) == [3, 4, 5, 6]
    assert await cents(api, "?store_id=nowhere") == []


@pytest.mark.parametrize(
    "query", ["since=yesterday", "until=2026-01-01", "before=x", "currency=usd", "limit=1001"]
)
async def test_what_cannot_be_asked_is_named(api: Api, query: str) -> None:
    await many(api, 1)
    answer = await get(api, f"{PRICES}?{query}")
    assert (answer.status, answer.problem["path"]) == (422, f"$.{query.split('=')[0]}")


async def test_an_unknown_item_is_not_found(api: Api) -> None:
    for query in ("", "?format=csv"):
        answer = await get(api, f"/v1/items/none/prices{query}")
        assert (answer.status, answer.problem["type"]) == (404, "not-found")
        assert (await api.call("GET", f"/v1/items/a/prices{query}")).status == 401


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == items.CSV_TYPE
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


async def test_csv_says_the_same(api: Api) -> None:
    name = 'Juice, "fresh"\nü'
    await post(
        api,
        price(item_name=name, url="https://shop.example/oj", valid_until=iso(NOW_MS + 1), store_id="a,b"),
    )
    (row,) = rows_of(await get(api, f"{PRICES}?format=csv"))
    assert row == {
        "item_id": "oj",
        "item_name": name,
        "store_id": "a,b",
        "store_name": "Corner shop",
        "price_in_cents": "399",
        "currency": "USD",
        "observed_at": iso(NOW_MS),
        "valid_until": iso(NOW_MS + 1),
        "url": "https://shop.example/oj",
        "image_url": "",
    }
    assert (await get(api, f"{PRICES}?format=csv")).body.startswith(b"item_id,item_name,")


@pytest.mark.parametrize(
    ("accept", "query", "is_csv"),
    [
        ("text/csv", "", True),
        ("application/json, text/csv;q=0.5", "", False),
        ("text/csv, application/json;q=0.9", "", True),
        ("*/*", "", False),
        ("text/csv", "?format=json", False),
        ("application/json", "?format=csv", True),
    ],
)
async def test_how_csv_is_asked_for(api: Api, accept: str, query: str, is_csv: bool) -> None:
    await many(api, 1)
    answer = await get(api, PRICES + query, Accept=accept)
    assert answer.headers["content-type"].startswith("text/csv") is is_csv


async def test_csv_in_pages_that_are_read_in_pages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "CSV_PAGE", 2)
    await many(api)
    whole = await cents(api, "")
    for limit in (1, 2, 3, 4, 7, 100):
        seen: list[int] = []
        query = f"?format=csv&limit={limit}"
        while query:
            answer = await get(api, PRICES + query)
            page = [int(row["price_in_cents"]) for row in rows_of(answer)]
            assert len(page) <= limit
            seen += page
            query = answer.headers.get("link", "").removeprefix("<").partition(">")[0]
        assert seen == whole


async def test_a_failing_database_breaks_the_csv_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await many(api, 3)
    read, reads = api.parts.store.read, []

    async def second_fails(work: Any) -> Any:
        reads.append(work)
        if len(reads) == 2:
            raise Unavailable
        return await read(work)

    monkeypatch.setattr(api.parts.store, "read", second_fails)
    with pytest.RaisesGroup(Unavailable, allow_unwrapped=True, flatten_subgroups=True):
        await get(api, f"{PRICES}?format=csv")
