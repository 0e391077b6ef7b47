"""What a server to be measured against is. Nothing here needs more than the standard library, as the servers
themselves, which run in another environment, import it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: A byte that a payload holds exactly once, and nothing else on the wire does: a client may count deliveries
#: by looking for it alone. (`~` would not do: it is 126, the length byte of every WebSocket frame whose
#: payload is longer than 125 bytes.)
MARK = b"^"
#: What a broadcast is asked for with, where it is not an HTTP request.
TRIGGER = b"x"


class Peer(NamedTuple):
    """One server and how to speak to it. None of them looks at what clients send beyond `steps`."""

    name: str
    kind: Literal["websocket", "sse"]
    #: (an empty folder of its own, payload bytes) -> the program. SIGTERM ends it.
    command: Callable[[Path, int], list[str]]
    #: What a client does before it counts as connected: (bytes to send, substring to wait for) each.
    steps: tuple[tuple[bytes, bytes], ...]
    #: (payload bytes) -> what to send to the publish port, on a kept connection, for one broadcast.
    #: Several may be sent in one go.
    publish: Callable[[int], bytes]
    #: Each publish is an HTTP request, answered on the same connection.
    answered: bool
    #: (payload bytes) -> the message that a client gets, framing taken off.
    message: Callable[[int], bytes]
    version: Callable[[], str]
    #: Why it cannot run here, or None.
    missing: Callable[[], str | None]


def payload(size: int) -> bytes:
    """`size` bytes of text, the mark last. Raises ValueError where its length would look like the mark."""
    if size < 2 or MARK[0] in size.to_bytes(2, "big"):
        raise ValueError(f"no payload of {size} bytes: its length would look like the mark")
    return b"x" * (size - 1) + MARK
