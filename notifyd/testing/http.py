"""HTTP calls that hide nothing, each on a connection of its own, over whatever `dial` opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Opens a new connection to the server.
    Dial = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]

HOST: Final = "127.0.0.1"


class Ended(Exception):
    """The stream is over. `code` and `reason` of the Close frame; 1006 without one, as browsers say it."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


def dial_url(url: str) -> Dial:
    """Connections to a real server at `http://HOST:PORT`."""
    parts = urlsplit(url)
    host, port = parts.hostname or HOST, parts.port or 80

    async def dial() -> trio.abc.HalfCloseableStream:
        return await trio.open_tcp_stream(host, port)

    return dial


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; names of headers are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    dial: Dial,
    method: str,
    path: str,
    *,
    bearer: str | None = None,
    body: Any = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """One HTTP call on a connection of its own; `body` is sent as JSON.

    Raises Ended when the connection breaks first, so that nobody knows what became of the call, and what
    `dial` raises.
    """
    data = b"" if body is None else json.dumps(body).encode()
    fields = [("Host", HOST), ("Connection", "close"), ("Content-Length", str(len(data))), *headers]
    fields += [("Content-Type", "application/json")] if data else []
    fields += [("Authorization", f"Bearer {bearer}")] if bearer is not None else []
    http, stream = h11.Connection(h11.CLIENT), await dial()
    try:
        head = await ask(http, stream, (method, path, fields), data)
        named = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, named, await body_of(http, stream))
    except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        raise Ended(1006, str(error)) from error
    finally:
        await trio.aclose_forcefully(stream)


async def ask(
    http: h11.Connection,
    stream: trio.abc.HalfCloseableStream,
    request: tuple[str, str, list[tuple[str, str]]],
    body: bytes,
) -> h11.Response:
    method, target, headers = request
    parts = [http.send(h11.Request(method=method, target=target, headers=headers))]
    parts += [http.send(h11.Data(data=body))] if body else []
    parts.append(http.send(h11.EndOfMessage()))
    await stream.send_all(b"".join(part for part in parts if part))
    while not isinstance(event := await next_event(http, stream), h11.Response):
        assert isinstance(event, h11.InformationalResponse), event
    return event


async def next_event(http: h11.Connection, stream: trio.abc.HalfCloseableStream) -> Any:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some(65536)))
    return event


async def body_of(http: h11.Connection, stream: trio.abc.HalfCloseableStream) -> bytes:
    body = b""
    while isinstance(event := await next_event(http, stream), h11.Data):
        body += bytes(event.data)
    return body
