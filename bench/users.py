"""Opening requests of notifyd's clients, each a user of its own with a token of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import LoadFailed

if TYPE_CHECKING:
    from bench.load import Load, Opened
    from bench.server import Notifyd

#: What begins every stream: the client is known by then.
ESTABLISHED = b"connection-established"


def user_id(number: int) -> str:
    """All equally long, as the load wants its requests."""
    return f"user-{number:06d}"


def request(server: Notifyd, number: int, *, sse: bool = False, cursor: str = "") -> bytes:
    """What user `number` opens a stream with."""
    path = "/events" if sse else "/ws"
    lines = [f"GET {path}?cursor={cursor} HTTP/1.1" if cursor else f"GET {path} HTTP/1.1"]
    lines += ["Host: {}:{}".format(*server.address), f"Authorization: Bearer {server.token(user_id(number))}"]
    if sse:
        lines.append("Accept: text/event-stream")
    else:
        lines += [
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 section 1.3
            "Sec-WebSocket-Version: 13",
        ]
    return "\r\n".join([*lines, "", ""]).encode()


def open_users(
    load: Load,
    server: Notifyd,
    numbers: range,
    *,
    sse: bool = False,
    cursor: str = "",
    in_flight: int = 256,
) -> Opened:
    """Connect these users. Raises LoadFailed when one is refused."""
    requests = [request(server, number, sse=sse, cursor=cursor) for number in numbers]
    opened = load.open(len(requests), server.address[1], [(requests, ESTABLISHED)], in_flight=in_flight)
    if opened.refused:
        raise LoadFailed(f"{opened.refused} of {len(requests)} clients were refused")
    return opened
