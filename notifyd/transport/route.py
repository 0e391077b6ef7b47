"""Which lane serves a request; the door asks this for every head. Pure: no I/O, no Trio."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from notifyd.errors import BadRequest, UpgradeRequired
from notifyd.transport.refusal import UnknownUpgrade

if TYPE_CHECKING:
    from notifyd.transport.head import RequestHead


class Route(Enum):
    """The lane of one request."""

    WEBSOCKET = auto()
    SSE = auto()
    HTTP = auto()


def route_of(head: RequestHead) -> Route:
    """Which lane serves `head`. Raises BadRequest or UpgradeRequired."""
    if head.header("upgrade") is not None:
        if not _is_websocket(head):
            raise UnknownUpgrade("only GET /ws can be upgraded, to websocket")
        route = Route.WEBSOCKET
    elif head.method == "GET" and head.path == "/ws":
        raise UpgradeRequired
    elif head.method == "GET" and head.path == "/events":
        route = Route.SSE
    else:
        return Route.HTTP
    if head.has_body:
        raise BadRequest("this request has no body")
    return route


def _is_websocket(head: RequestHead) -> bool:
    return (
        head.method == "GET"
        and head.path == "/ws"
        and head.http_version >= (1, 1)
        and head.tokens("upgrade") == ["websocket"]
        and head.has_token("connection", "upgrade")
    )
