"""HTTP/1.1 over a byte stream that is there already, by h11: one request, its answer read at leisure."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from notifyd.client.dial import Address

#: A refusal's body is read up to here, and a head up to here.
MAX_BODY_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024


class Answer:
    """The head of an answer; its body comes by `part` or `body`."""

    def __init__(self, connection: h11.Connection, stream: trio.abc.Stream, head: h11.Response) -> None:
        self._connection = connection
        self._stream = stream
        self.status = head.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}

    async def part(self) -> bytes:
        """More of the body as it comes; nothing at its end.

        Raises what the stream raises, and h11.RemoteProtocolError.
        """
        event = await _next_event(self._connection, self._stream)
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def body(self) -> bytes:
        """All of it, or its first 64 KiB."""
        body = b""
        while len(body) < MAX_BODY_BYTES and (part := await self.part()):
            body += part
        return body[:MAX_BODY_BYTES]


async def ask(
    stream: trio.abc.Stream,
    address: Address,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Answer:
    """Send a request and read the head of its answer.

    Raises what the stream raises, and h11.RemoteProtocolError for what is no answer.
    Cancellation: the stream is of no more use.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_BODY_BYTES)
    fields = [("Host", address.host_header), *headers.items()]
    if body or method == "POST":
        fields.append(("Content-Length", str(len(body))))
    request = h11.Request(method=method, target=address.at(path), headers=fields)
    data = [connection.send(request), connection.send(h11.Data(body)) if body else b""]
    data.append(connection.send(h11.EndOfMessage()))
    await stream.send_all(b"".join(part for part in data if part))
    while True:
        event = await _next_event(connection, stream)
        if isinstance(event, h11.Response):
            return Answer(connection, stream, event)
        if isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed without an answer")


async def _next_event(connection: h11.Connection, stream: trio.abc.Stream) -> h11.Event:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
    if not isinstance(event, h11.Event):  # PAUSED: something follows the answer to our only request
        raise h11.RemoteProtocolError("more than one answer")
    return event


@asynccontextmanager
async def dialled(dial: Callable[[], Awaitable[trio.abc.Stream]]) -> AsyncGenerator[trio.abc.Stream, None]:
    """A stream of its own for one request, closed forcefully afterwards. Raises OSError."""
    stream = await dial()
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)
