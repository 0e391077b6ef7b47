"""uvicorn set for speed: uvloop, httptools, no access log, no pings, no compression."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn

from bench.peers.servers.triggers import BACKLOG, announce, client_socket, listen, port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(
    app: Any,
    broadcast: Callable[[], None],
    background: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve `app`; call `broadcast` for each byte on the publish port; run `background` beside."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        backlog=BACKLOG,
        access_log=False,
        log_level="critical",  # a stop with clients still connected is no news
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )

    async def main() -> None:
        sock = client_socket()
        task = asyncio.create_task(background()) if background else None
        announce(sock.getsockname()[1], port_of(await listen(broadcast)))
        await uvicorn.Server(config).serve(sockets=[sock])
        if task:
            task.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
