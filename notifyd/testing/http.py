"""HTTP calls that hide nothing, each on a connection of its own, over whatever `dial` opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11
import trio

from notifyd.client.dial import Address
from notifyd.client.http import ask, dialled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Opens a new connection to the server.
    Dial = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]

HOST: Final = "127.0.0.1"
#: What a server is called in requests, wherever it listens.
ADDRESS: Final = Address(HOST, 80, secure=False, path="/ws")


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
    fields = {"Connection": "close", **dict(headers)}
    fields |= {"Content-Type": "application/json"} if data else {}
    fields |= {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    async with dialled(dial) as stream:
        try:
            answer = await ask(stream, ADDRESS, method, path, fields, data)
            parts = []
            while part := await answer.part():
                parts.append(part)
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise Ended(1006, str(error)) from error
    return Answer(answer.status, answer.headers, b"".join(parts))
