"""The publish port of the Trio servers: a broadcast for each byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bench.peers.servers.triggers import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def serve_triggers(
    broadcast: Callable[[], Awaitable[None]], *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run until cancelled; `task_status` gets the port."""

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            async for data in stream:
                for _ in data:
                    await broadcast()

    listeners = await trio.open_tcp_listeners(0, host=HOST)
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(handler, listeners)
