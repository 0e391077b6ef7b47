"""Messages and errors in words."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from notifyd.checker.money import money
from notifyd.cli.options import Once
from notifyd.cli.wording import advice, line_of, printable, status_line
from notifyd.client import ServerRefused, Status
from notifyd.errors import Forbidden, NotFound, Unauthorized, Unavailable
from notifyd.messages import decode_server_message, encode_json


def line(type_: str, data: dict[str, Any]) -> str:
    message = {"type": type_, "data": data, "timestamp": "2026-01-31T12:00:00.000Z", "id": "e-1"}
    text = line_of(decode_server_message(encode_json(message)), UTC)
    prefix = f"2026-01-31 12:00:00  {type_}  "
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


def test_a_deal_with_its_prices() -> None:
    deal = {
        "item_name": "Milk",
        "best_price_in_cents": 99,
        "store_name": "Store 2",
        "store_id": 2,
        "currency": "USD",
        "old_price_in_cents": 1290,
    }
    bare = {"item_name": "Bread", "best_price_in_cents": 250, "store_name": "Mill", "store_id": "m"}
    data = {
        "notification_id": "n",
        "deals": [deal, bare],
        "user_id": "a",
        "message": "2 deals!",
        "more_deals": 3,
    }
    expected = "2 deals! Milk USD 0.99 (was USD 12.90) at Store 2; Bread 2.50 at Mill, and 3 more"
    assert line("deal-notification", data) == expected


@pytest.mark.parametrize(
    ("type_", "data", "text"),
    [
        ("system-message", {"message": "hi", "severity": "info", "critical": False}, "info: hi"),
        ("system-message", {"message": "hi", "severity": "error", "critical": True}, "error, critical: hi"),
        ("job-completed", {"job_id": 7, "job_name": "Export", "status": "ok"}, "Export (7): ok"),
        (
            "job-completed",
            {"job_id": 7, "job_name": "E", "status": "ok", "message": "3 s"},
            "E (7): ok - 3 s",
        ),
        ("x-own", {"a": 1}, '{"notification_id":"n","a":1}'),
    ],
)
def test_notifications(type_: str, data: dict[str, Any], text: str) -> None:
    assert line(type_, {"notification_id": "n"} | data) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"state": "read", "notification_ids": ["a"]}, "a is now read"),
        ({"state": "seen", "notification_ids": ["a", "b"]}, "a, b are now seen"),
        ({"state": "archived", "up_to": "e-9"}, "all up to e-9 are now archived"),
    ],
)
def test_updates(data: dict[str, Any], text: str) -> None:
    assert line("notification-updated", data) == text


def test_other_messages() -> None:
    assert line("error", {"code": "not_found", "message": "no such"}) == "not_found: no such"
    hello = {"user_id": "a", "connection_id": "c", "cursor": "e-5", "recovered": True, "reason": None}
    hello |= {"heartbeat_interval_ms": 1, "token_expires_at": None}
    assert line("connection-established", hello) == "from e-5"


def test_time_is_told_in_the_readers_zone() -> None:
    message = decode_server_message(b'{"type":"x-a","data":{},"timestamp":"2026-01-31T23:30:00.000Z"}')
    assert line_of(message, timezone(timedelta(hours=1))).startswith("2026-02-01 00:30:00")
    assert "x-a" in line_of(message)


def test_nothing_that_arrives_can_rewrite_the_terminal() -> None:
    text = line("system-message", {"notification_id": "n", "message": "a\x1b[2Jb\nc\u202ed"})
    assert text == "info: a [2Jb c d"
    assert printable("ä 1") == "ä 1"


@pytest.mark.parametrize(
    ("units", "currency", "text"),
    [
        (5, "USD", "USD 0.05"),
        (387, "JPY", "JPY 387"),
        (1234, "KWD", "KWD 1.234"),
        (100, "", "1.00"),
        (0, "EUR", "EUR 0.00"),
    ],
)
def test_money(units: int, currency: str, text: str) -> None:
    assert money(units, currency) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status("connecting"), None),
        (Status("closed"), None),
        (Status("waiting", "lost\x1b", 1.25), "lost ; trying again in 1.2 s"),
        (Status("connected", recovered=True, cursor="e-5"), "connected, resumed from e-5"),
        (
            Status("connected", recovered=True, cursor="e-5", transport="sse"),
            "connected over SSE, resumed from e-5",
        ),
        (Status("connected", recovered=False, reason="no-cursor", cursor="e-5"), "connected, live from e-5"),
    ],
)
def test_what_listen_says_about_its_connection(status: Status, text: str | None) -> None:
    assert status_line(status) == text


def test_listen_says_what_was_lost() -> None:
    text = status_line(Status("connected", recovered=False, reason="trimmed", cursor="e-5")) or ""
    assert "not recovered (trimmed)" in text
    assert "GET /v1/notifications" in text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ServerRefused(4501, "closed with 4501: bad token"), "notifyd token --user USER"),
        (ServerRefused(4504, "closed"), "close another connection"),
        (ServerRefused(404, "refused"), "--url"),
        (ServerRefused(1002, "closed with 1002"), "closed with 1002"),
        (Unauthorized("no"), "--key"),
        (Forbidden("no"), "--key"),
        (Unavailable("cannot reach x"), "notifyd serve"),
        (Unavailable("queue is full"), "queue is full"),
        (NotFound("gone"), "gone"),
        (FileNotFoundError(2, "No such file", "f"), "f: No such file"),
        (OSError("text"), "text"),
    ],
)
def test_advice(error: Exception, text: str) -> None:
    assert text in advice(error)
    assert "\n" not in advice(error)


def test_the_same_thing_is_told_once_in_a_row() -> None:
    told: list[str] = []
    tell = Once(told.append)
    for text in ("a", "a", "b", "a"):
        tell(text)
    assert told == ["a", "b", "a"]
