"""U+0000, which PostgreSQL does not take in texts, is refused in the same words wherever the log is kept."""

from __future__ import annotations

from typing import Any

import pytest

WATCH = {"item_id": "a", "rule": {"type": "new_best"}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/items/a%00b/prices", None),
        ("GET", "/v1/watches/a%00b", None),
        ("PUT", "/v1/watches/a%00b", WATCH),
        ("PUT", "/v1/watches/w", WATCH | {"item_id": "a\0b"}),
        ("PUT", "/v1/watches/w", WATCH | {"stores": ["a\0b"]}),
        ("POST", "/v1/notifications/mark", {"notification_ids": ["a\0b"], "state": "read"}),
    ],
)
async def test_nul_is_refused_before_the_database(http: Any, method: str, path: str, body: object) -> None:
    async with http(user="ann") as client:
        answer = await client.request(method, path, json=body)
    assert answer.status_code in (400, 404, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_nul_in_a_notification_is_kept(http: Any) -> None:
    async with http() as publisher:
        data = {"type": "x-note", "data": {"text": "a\0b"}, "user_id": "ann"}
        assert (await publisher.post("/v1/notifications", json=data)).status_code == 201
    async with http(user="ann") as client:
        (listed,) = (await client.get("/v1/notifications")).json()["notifications"]
    assert listed["data"]["text"] == "a\0b"
