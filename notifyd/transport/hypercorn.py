"""The HTTP lane: one request at a time through Hypercorn and the ASGI app.

This is the only file that imports Hypercorn's semi-private names. Hypercorn here neither accepts, nor keeps
connections alive, nor reads a second head: each request gets a fresh protocol object on a DoorStream, and
what Hypercorn cannot take, ends that request only.
"""

from __future__ import annotations

import contextlib
import logging
import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.config import Config
from hypercorn.protocol.events import StreamClosed
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from notifyd.errors import HttpError
from notifyd.transport.door import IDLE_S
from notifyd.transport.head import MAX_HEAD_BYTES
from notifyd.transport.http2 import EventsApp, Http2Stream
from notifyd.transport.refusal import answer_problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    from notifyd.transport.door import Http2
    from notifyd.transport.http2 import StreamLane, StreamRoom
    from notifyd.transport.stream import DoorStream
    from notifyd.transport.wire import Wire

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    # The frameworks' own types of these differ, so an app is taken as it is.
    AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]

#: Seconds for the last part of an answer, which the application's own cancellation must not cut.
FINAL_SEND_S = 5.0
#: Seconds for the application to start, and to end.
LIFESPAN_S = 10.0

log = structlog.get_logger("notifyd.transport")


class HttpLane:
    """Serves single requests. Made by open_http."""

    def __init__(self, app: AsgiApp, config: Config, state: dict[str, Any]) -> None:
        self._app = app
        self._config = config
        self._http2_config = _settings()
        self._http2_config.keep_alive_timeout = IDLE_S
        self._http2_config.h2_max_header_list_size = MAX_HEAD_BYTES
        self._state = state

    async def serve(self, stream: DoorStream) -> None:
        """Run one request; returns when it is over and never raises for what the client or the app did.

        Cancellation: the connection is reset, also while the client does not read.
        """
        app = _wrapped(_OneAnswer(self._app, stream), self._config)
        state = ConnectionState(self._state.copy())
        server = TCPServer(app, self._config, WorkerContext(None), state, cast("Any", stream))
        server.idle_task = _NoIdleTask()
        try:
            with stream.turn:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_abort_when_cancelled, stream, stream.turn)
                    await server.run()
                    stream.turn.cancel()
        except* Exception as faults:
            if trio.current_effective_deadline() > -math.inf:  # else the server is ending, and that is all
                log.warning("http.fault", peer_left=stream.turn.cancel_called, exc_info=faults)
            stream.abort()

    def over_http2(self, events: StreamLane, hops: int, room: StreamRoom) -> Http2:
        """What serves an HTTP/2 connection until it is over; its event asks for no more requests.

        `GET /events` goes to `events` while there is `room`; `hops` proxies of ours stand in front of the
        clients. It never raises for what the client or the app did. Cancellation: the connection is reset.
        """
        app = _wrapped(_Whole(EventsApp(self._app, events, hops, room)), self._http2_config)
        return partial(self._serve_http2, app)

    async def _serve_http2(self, app: Any, wire: Wire, ending: trio.Event) -> None:
        context = WorkerContext(None)
        server = _Http2Server(
            app,
            self._http2_config,
            context,
            ConnectionState(self._state.copy()),
            cast("Any", Http2Stream(wire)),
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_terminate, context, ending)
                nursery.start_soon(_abort_when_cancelled, wire, nursery.cancel_scope)
                await server.run()
                nursery.cancel_scope.cancel()
        except* Exception as faults:
            log.warning("http.fault", peer=wire.peer, exc_info=faults)
            wire.abort()


async def _terminate(context: WorkerContext, ending: trio.Event) -> None:
    await ending.wait()
    await context.terminated.set()


async def _abort_when_cancelled(connection: DoorStream | Wire, turn: trio.CancelScope) -> None:
    """Hypercorn shields its writes; a cancellation from outside the turn has to end them by the socket."""
    try:
        await trio.sleep_forever()
    finally:
        if not turn.cancel_called:
            connection.abort()


class _Http2Server(TCPServer):
    """Without WebSockets over HTTP/2 (RFC 8441): browsers open theirs by HTTP/1.1 then, on the fast lane."""

    @property
    def protocol(self) -> Any:
        return self._protocol

    @protocol.setter
    def protocol(self, wrapper: Any) -> None:
        # Set once, before the settings are sent.
        wrapper.protocol.streams = _Streams()
        del wrapper.protocol.connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        wrapper.protocol.stream_send = partial(_send_on, wrapper.protocol, wrapper.protocol.stream_send)
        self._protocol = wrapper


async def _send_on(protocol: Any, send: Callable[[Any], Awaitable[None]], event: Any) -> None:
    """Hypercorn just forgets a stream whose app broke off in its answer; its client would wait for ever."""
    if isinstance(event, StreamClosed):
        buffer = protocol.stream_buffers.get(event.stream_id)
        if buffer is not None and not buffer._complete:
            await _reset(protocol, event.stream_id)
    await send(event)


async def _reset(protocol: Any, stream_id: int) -> None:
    with contextlib.suppress(ProtocolError):  # the client was faster
        protocol.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        await protocol._window_updated(stream_id)  # what still waits to be sent is thrown away
        await protocol._flush()


class _Streams(dict[int, Any]):
    """The streams of a connection. Hypercorn looks up one that it has answered early, when the rest of its
    body comes, and the whole connection would end by that."""

    def __missing__(self, stream_id: int) -> _Answered:
        return _Answered()


class _Answered:
    """A stream that is over."""

    async def handle(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()


class _Whole:
    """The app for one HTTP/2 request: its last bytes are sent even when it cancels itself, and what it raises
    is told and ends its own stream."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started = False

        async def relay(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(FINAL_SEND_S if last else math.inf, shield=last):
                await send(message)

        try:
            await self._app(scope, receive, relay)
        except* Exception as faults:
            log.error("http.app_fault", exc_info=faults)
        if not started and scope["type"] == "http":
            await answer_problem(relay, HttpError())


@asynccontextmanager
async def open_http(app: AsgiApp) -> AsyncIterator[HttpLane]:
    """Run the app's lifespan around the lane: started when this yields, ended when the block is left.

    Raises (in a group) hypercorn.utils.LifespanFailureError when the app does not start.
    """
    config, state = _settings(), dict[str, Any]()
    startup = _Startup(app)
    lifespan = Lifespan(_wrapped(startup, config), config, state)
    # Shielded, because a cancelled server has to tell the app too; this block's end limits it to LIFESPAN_S.
    running = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run_lifespan, lifespan, running)
        try:
            await lifespan.wait_for_startup()
            if startup.failed:  # the lifespan task is about to raise and end this nursery
                await trio.sleep_forever()
            try:
                yield HttpLane(app, config, state)
            finally:
                with trio.move_on_after(LIFESPAN_S, shield=True):
                    await lifespan.wait_for_shutdown()
        finally:
            running.cancel()


async def _run_lifespan(lifespan: Lifespan, scope: trio.CancelScope) -> None:
    with scope:
        await lifespan.handle_lifespan()


def _wrapped(app: AsgiApp, config: Config) -> Any:
    return wrap_app(cast("Any", app), config.wsgi_max_body_size, "asgi")


def _settings() -> Config:
    config = Config()
    config.h11_max_incomplete_size = 4 * MAX_HEAD_BYTES  # the door has measured the head
    config.startup_timeout = config.shutdown_timeout = LIFESPAN_S
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


class _NoIdleTask(TrioSingleTask):
    """Hypercorn's keep-alive timer, which the door's own replaces; starting it twice a request costs."""

    async def restart(self, task_group: Any, action: Any) -> None:
        """Nothing is idle here."""

    async def stop(self) -> None:
        """Nothing runs."""


class _Startup:
    """Notes that the app said it cannot start."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self.failed = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.failed = True
            await send(message)

        await self._app(scope, receive, watch)


class _OneAnswer:
    """The app for one request: sees to it that exactly one complete answer is given, and tells the stream."""

    def __init__(self, app: AsgiApp, stream: DoorStream) -> None:
        self._app = app
        self._stream = stream
        self._complete = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        async def relay(message: Message) -> None:
            await self._relay(message, send)

        try:
            await self._app(scope, receive, relay)
        except* Exception as faults:
            log.error("http.app_fault", exc_info=faults)
        if not self._complete:
            await self._give_up(relay)
        self._stream.answered()

    async def _relay(self, message: Message, send: Send) -> None:
        if message["type"] == "http.response.start":
            self._stream.started = True
            if self._stream.is_last():
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send_last(message, send)
        else:
            await send(message)

    async def _send_last(self, message: Message, send: Send) -> None:
        """Hypercorn tells the app that the request is over while this is being sent, and Quart cancels
        itself then; without the shield the end of the answer would be lost."""
        self._stream.finishing()
        with trio.move_on_after(FINAL_SEND_S, shield=True) as patience:
            await send(message)
            self._complete = True
        if patience.cancelled_caught:
            self._stream.abort()

    async def _give_up(self, relay: Send) -> None:
        if self._stream.started:
            self._stream.abort()
            return
        await answer_problem(relay, HttpError())
