"""FastAPI on uvicorn with uvloop and httptools: the connection manager of its documentation."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.peers.servers.triggers import begin
from bench.peers.servers.uvicorn_server import run

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Manager:
    def __init__(self) -> None:
        self._active: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self._active.append(websocket)
        await websocket.send_text("ready")

    def disconnect(self, websocket: WebSocket) -> None:
        self._active.remove(websocket)

    async def broadcast(self, message: str) -> None:
        for websocket in list(self._active):
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await websocket.send_text(message)


async def broadcasts(manager: Manager, message: str, asked: asyncio.Queue[None]) -> None:
    """One after the other, as they are asked for."""
    while True:
        await asked.get()
        await manager.broadcast(message)


def main() -> None:
    message = begin().decode()
    manager = Manager()
    asked: asyncio.Queue[None] = asyncio.Queue()
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await manager.connect(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            manager.disconnect(websocket)

    application: ASGIApp = app
    run(application, lambda: asked.put_nowait(None), background=lambda: broadcasts(manager, message, asked))


main()
