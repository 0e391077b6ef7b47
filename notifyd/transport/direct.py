"""The direct lane: for a call so frequent that a turn through the HTTP server would be most of its cost.

Only a plain request comes here, whose body's length is given and small; everything else about HTTP is left
to the HTTP lane, which answers the same call too.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio

from notifyd.transport.refusal import RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from notifyd.transport.head import RequestHead
    from notifyd.transport.wire import Wire

    #: Status, header fields and body.
    Reply = tuple[int, Iterable[tuple[str, str]], bytes]
    #: Gets the field of a lower-case name, the body's length, and a way to read it, which raises
    #: RequestTimeout or trio.BrokenResourceError and is used once or not at all.
    Call = Callable[[Callable[[str], str | None], int, Callable[[], Awaitable[bytes]]], Awaitable[Reply]]

#: Seconds in which a whole body must arrive.
BODY_S: Final = 10.0


def is_plain(head: RequestHead) -> bool:
    """Whether the request is one that the direct lane understands in full."""
    return (
        head.method == "POST"
        and head.http_version >= (1, 1)
        and head.content_length is not None
        and head.header("expect") is None
    )


async def serve_direct(wire: Wire, head: RequestHead, call: Call, is_last: Callable[[], bool]) -> bool:
    """Answer one request; whether another may follow on the connection.

    Raises trio.BrokenResourceError when the client is gone, RequestTimeout when its body did not come.
    Cancellation: the connection is reset when a part of the answer may have left.
    """
    length = head.content_length or 0
    unread = length

    async def read_body() -> bytes:
        nonlocal unread
        body = await _read_body(wire, length)
        unread = 0
        return body

    status, fields, body = await call(head.header, length, read_body)
    if unread and len(wire.buffer) >= unread:  # refused unseen, but all of it is here
        del wire.buffer[:unread]
        unread = 0
    reusable = not (unread or is_last() or head.has_token("connection", "close"))
    await wire.send_all(_answer(status, fields, body, reusable=reusable))
    return reusable


async def _read_body(wire: Wire, length: int) -> bytes:
    with trio.move_on_after(BODY_S) as patience:
        while len(wire.buffer) < length:
            if not await wire.receive():
                raise trio.BrokenResourceError("the client left in the middle of its body")
    if patience.cancelled_caught:
        raise RequestTimeout("the body did not arrive in time")
    body = bytes(wire.buffer[:length])
    del wire.buffer[:length]
    return body


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _answer(status: int, fields: Iterable[tuple[str, str]], body: bytes, *, reusable: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines += [f"Content-Length: {len(body)}", f"Date: {_http_date(int(time.time()))}"]
    if not reusable:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
