"""Quart-Trio on Hypercorn as its tutorial builds a chat: a broker with a queue for each connection."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import websocket
from quart_trio import QuartTrio

from bench.peers.servers.triggers import BACKLOG, HOST, announce, begin
from bench.peers.servers.triggers_trio import serve_triggers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Broker:
    def __init__(self) -> None:
        self._queues: set[trio.MemorySendChannel[str]] = set()

    async def publish(self, message: str) -> None:
        for queue in self._queues:
            await queue.send(message)

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[trio.MemoryReceiveChannel[str]]:
        send, receive = trio.open_memory_channel[str](math.inf)
        self._queues.add(send)
        try:
            yield receive
        finally:
            self._queues.discard(send)


def create_app(broker: Broker) -> QuartTrio:
    app = QuartTrio(__name__)

    @app.websocket("/ws")
    async def ws() -> None:
        with broker.subscribe() as messages:
            await websocket.accept()
            async for message in messages:
                await websocket.send(message)

    return app


async def main() -> None:
    payload = begin().decode()
    broker = Broker()
    config = Config()
    config.bind = [f"{HOST}:0"]
    config.backlog = BACKLOG
    config.loglevel = "ERROR"

    async def publish() -> None:
        await broker.publish(payload)

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, create_app(broker), config)
        publish_port = await nursery.start(serve_triggers, publish)
        announce(int(address.rpartition(":")[2]), publish_port)


trio.run(main)
