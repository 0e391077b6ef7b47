"""Every head has one lane, or is refused with a reason."""

from __future__ import annotations

import pytest

from notifyd.errors import BadRequest, UpgradeRequired
from notifyd.transport.head import parse_head
from notifyd.transport.refusal import UnknownUpgrade
from notifyd.transport.route import Route, route_of

UPGRADE = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"


def route(line: str, fields: str = "") -> Route:
    return route_of(parse_head(f"{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode(), "p"))


def test_the_fast_lanes() -> None:
    assert route("GET /ws", UPGRADE) is Route.WEBSOCKET
    assert route("GET /ws?token=a", UPGRADE) is Route.WEBSOCKET
    assert route("GET /events") is Route.SSE
    assert route("GET /events?last_event_id=a-1", "Content-Length: 0\r\n") is Route.SSE


@pytest.mark.parametrize(
    "line",
    ["GET /", "POST /ws", "HEAD /ws", "POST /events", "OPTIONS /events", "GET /ws/", "GET /WS", "GET /%77s"],
)
def test_everything_else_is_http(line: str) -> None:
    assert route(line) is Route.HTTP


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("GET /", UPGRADE),
        ("POST /ws", UPGRADE),
        ("GET /ws", "Upgrade: websocket\r\n"),
        ("GET /ws", "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n"),
        ("GET /ws", "Upgrade:\r\nConnection: Upgrade\r\n"),
        ("GET /events", "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    ],
)
def test_no_other_upgrade_is_offered(line: str, fields: str) -> None:
    with pytest.raises(UnknownUpgrade):
        route(line, fields)


def test_ws_needs_an_upgrade() -> None:
    with pytest.raises(UpgradeRequired):
        route("GET /ws", "Connection: Upgrade\r\n")


@pytest.mark.parametrize("body", ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n"])
def test_fast_lanes_take_no_body(body: str) -> None:
    for line, fields in (("GET /ws", UPGRADE), ("GET /events", "")):
        with pytest.raises(BadRequest):
            route(line, fields + body)
