"""Opening a client: the nursery that owns its task, and the way out of it."""

from __future__ import annotations

import inspect
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from notifyd.client.core import Client, Options, Status
from notifyd.client.dial import open_stream, parse_url
from notifyd.client.talk import Means
from notifyd.messages import parse_cursor

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from notifyd.client.policy import TransportChoice

    Token = str | Callable[[], str | Awaitable[str]]

#: Messages kept for an application that is slower than the server.
BUFFER_MESSAGES = 1000


@asynccontextmanager
async def open_client(
    url: str,
    token: Token,
    *,
    cursor: str | None = None,
    transport: TransportChoice = "auto",
    established: bool = False,
    on_state: Callable[[Status], None] | None = None,
    buffer_size: int = BUFFER_MESSAGES,
    close_timeout_s: float = 5.0,
    ssl_context: ssl.SSLContext | None = None,
    dial: Callable[[], Awaitable[trio.abc.Stream]] | None = None,
    draw: Callable[[], float] = random.random,
) -> AsyncGenerator[Client, None]:
    """A client of the server at `url` (`http://HOST:PORT` or `unix:PATH`) that stays connected.

    Args:
        token: the user's token, or a function (async or not) that gives a fresh one for each connection; it
            raises OSError or Unavailable to be asked again later. A function is also asked before the token
            of a live connection expires.
        cursor: go on after this one, from `client.cursor` of another time; without it, live entries only.
        transport: "websocket", "sse", or "auto": WebSocket first, and SSE by itself where a proxy refuses,
            swallows or holds back the WebSocket, which is noticed within 3 s and remembered.
        established: give `connection-established` messages to the application as well.
        on_state: called synchronously with each new `Status`.
        buffer_size: messages read ahead; beyond it the server waits, then lets go, and the rest is replayed.
        close_timeout_s: seconds that leaving the block may take.
        dial: opens the byte stream instead of `url`, for tunnels and tests.
        draw: a number in [0, 1) for every random wait.

    Entries come once each and in order; `error` messages come too. The iteration raises ServerRefused when
    the server says to stay away. Raises ValueError for a `url`, `token` or `cursor` that is none.

    Closes: everything, when the block is left; a cancelled block closes at once and without a goodbye.
    """
    address = parse_url(url)
    if isinstance(token, str):
        _check(token)
    start = None if cursor is None else parse_cursor(cursor)
    if cursor is not None and start is None:
        raise ValueError(f"{cursor!r} is not a cursor")
    options = Options(
        Means(partial(_fresh, token), dial or partial(open_stream, address, ssl_context), address, draw),
        established,
        on_state,
        transport,
    )
    client = Client(options, start, buffer_size)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        except Exception as error:  # raised below, bare: a nursery would wrap it in a group
            failure = error
        await client.leave(close_timeout_s)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _fresh(token: Token) -> str:
    if isinstance(token, str):
        return token
    value = token()
    return _check(await value if inspect.isawaitable(value) else value)


def _check(token: str) -> str:
    """`token`, if it can stand in a header field. Raises ValueError."""
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("the token is not one: it has characters that no token has, or none at all")
    return token
