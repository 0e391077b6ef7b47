"""sse-starlette on uvicorn with uvloop and httptools: a queue for each client, each event encoded once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.routing import Route

from bench.peers.servers.triggers import begin
from bench.peers.servers.uvicorn_server import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


def main() -> None:
    event = ServerSentEvent(data=begin().decode()).encode()
    queues: set[asyncio.Queue[bytes]] = set()

    async def stream() -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queues.add(queue)
        try:
            yield ServerSentEvent(comment="ready").encode()
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    async def events(request: Request) -> EventSourceResponse:
        return EventSourceResponse(stream(), ping=0)

    def broadcast() -> None:
        for queue in queues:
            queue.put_nowait(event)

    run(Starlette(routes=[Route("/events", events)]), broadcast)


main()
