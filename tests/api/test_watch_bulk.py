from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.test_prices import post, price

if TYPE_CHECKING:
    from tests.api.conftest import Answer, Api

TARGET = {"type": "target_price", "price_in_cents": 400}


def watch(**changes: Any) -> dict[str, Any]:
    return {"user_id": "ann", "watch_id": "w", "item_id": "oj", "rule": TARGET} | changes


async def send(api: Api, *watches: object, as_: str = "pub") -> Answer:
    return await api.call("POST", "/v1/watches/bulk", as_=as_, body={"watches": list(watches)})


async def test_each_is_set_or_refused_alone(api: Api) -> None:
    await post(api, price())
    answer = await send(
        api,
        watch(),
        watch(watch_id="best", rule={"type": "new_best"}),
        {"user_id": "ann", "watch_id": "n", "rule": TARGET},
        watch(user_id="bob", rule={"type": "percent_drop", "percent": 0.001, "baseline": "previous"}),
        watch(user_id="a\u0007"),
        watch(user_id="eve", item_id="other"),
        watch(color="red"),
        7,
    )
    assert answer.status == 200
    results = answer.json["results"]
    assert [each["status"] for each in results] == [201, 201, 422, 422, 422, 201, 422, 422]
    assert results[0] == {"status": 201, "user_id": "ann", "watch_id": "w", "already_met": True}
    assert [each["already_met"] for each in results if each["status"] == 201] == [True, False, False]
    assert [each.get("path") for each in results] == [
        None,
        None,
        "$.watches[2]",
        "$.watches[3].rule.percent",
        "$.watches[4].user_id",
        None,
        "$.watches[6]",
        "$.watches[7]",
    ]
    told = (await api.call("GET", "/v1/watches?user_id=ann", as_="pub")).json["watches"]
    assert [each["watch_id"] for each in told] == ["best", "w"]


async def test_the_last_of_a_name_counts_and_again_is_not_new(api: Api) -> None:
    rule = TARGET | {"price_in_cents": 5}
    answer = await send(api, watch(), watch(rule=rule))
    assert [each["status"] for each in answer.json["results"]] == [201, 201]
    (told,) = (await api.call("GET", "/v1/watches?user_id=ann", as_="pub")).json["watches"]
    assert told["rule"]["price_in_cents"] == 5
    assert [each["status"] for each in (await send(api, watch(rule=rule))).json["results"]] == [200]


async def test_limits(api: Api) -> None:
    assert (await send(api)).status == 422
    assert (await send(api, *[1] * 10_001)).status == 422
    large = [watch(item_id="x" * 100, watch_id="y" * 128)] * 15_000
    assert (await send(api, *large)).status == 413


@pytest.mark.parametrize(("as_", "status"), [("adm", 403), ("nobody", 401)])
async def test_only_publishers(api: Api, as_: str, status: int) -> None:
    assert (await send(api, watch(), as_=as_)).status == status
    assert (await send(api, watch(), as_=api.token())).status == 403
