"""Deals from the price to the page and back: found, told in every tab, explained, withdrawn when they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifyd.service import Service

WATCH = {"search": "jus d'orange", "rule": {"type": "target_price", "price_in_cents": 300}}


async def test_a_deal_that_ends_leaves_every_tab(service: Service, openers: Any, http: Any) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=1)
    row: dict[str, Any] = {
        "item_id": "oj",
        "item_name": "Pur jus d’ORANGE 1 l",
        "store_id": 3,
        "store_name": "Épicerie",
        "price_in_cents": 250,
        "currency": "EUR",
        "valid_until": ends.isoformat(timespec="milliseconds"),
    }
    async with (
        openers["websocket"](service.url, "ann") as tab,
        openers["sse"](service.url, "ann") as other,
        http() as publisher,
        http(user="ann") as ann,
    ):
        set_ = await ann.put("/v1/watches/juice", json=WATCH)
        assert (set_.status_code, set_.json()["already_met"]) == (201, False)
        assert (await publisher.post("/v1/prices", json={"prices": [row]})).status_code == 202
        for stream in (tab, other):
            entry = await stream.next_entry()
            assert entry["type"] == "deal-notification"
            (deal,) = entry["data"]["deals"]
            assert (deal["best_price_in_cents"], deal["currency"], deal["watch_id"]) == (250, "EUR", "juice")
        why = (await ann.get("/v1/watches/juice/explain")).json()
        assert [each["reason"] for each in why["stores"]] == ["fired"]
        for stream in (tab, other):
            update = await stream.next_entry()
            assert update["type"] == "notification-updated"
            assert update["data"]["state"] == "withdrawn"
            assert update["data"]["notification_ids"] == [entry["data"]["notification_id"]]
            assert datetime.fromisoformat(update["timestamp"]) >= datetime.fromisoformat(row["valid_until"])
        listed = (await ann.get("/v1/notifications")).json()
        assert (listed["notifications"], listed["unread"]) == ([], 0)
