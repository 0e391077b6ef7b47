"""The front door: accepts every connection, reads every request head on it, and sends it to its lane.

`GET /ws` with an upgrade and `GET /events` leave for good with their socket; any other request is one turn
of the HTTP lane, after which the door reads the next head itself. An idle connection costs one task.
"""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
import trio

from notifyd.errors import HttpError, NotFound, Unavailable
from notifyd.transport.direct import is_plain, serve_direct
from notifyd.transport.head import from_behind, parse_head, skip_blank_lines, take_head
from notifyd.transport.listeners import close_listener, connection_limit, open_listeners, peer_of, url_of
from notifyd.transport.network import KERNEL
from notifyd.transport.refusal import NoRoom, RequestTimeout, refusal
from notifyd.transport.route import Route, route_of
from notifyd.transport.stream import DoorStream
from notifyd.transport.tls import HTTP2
from notifyd.transport.turnstile import Turnstile
from notifyd.transport.wire import Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from notifyd.transport.direct import Call
    from notifyd.transport.head import RequestHead
    from notifyd.transport.network import Network
    from notifyd.transport.tls import Tls, TlsSocket

    FastLane = Callable[[socket.socket, RequestHead, bytes], Coroutine[Any, Any, None]]
    Http2 = Callable[[Wire, trio.Event], Awaitable[None]]
    HttpTurn = Callable[[DoorStream], Awaitable[None]]

__all__ = ["Door", "DoorStatistics", "open_listeners", "url_of"]

#: Seconds for a whole request head, counted from the connection or from the head's first byte.
HEAD_S = 5.0
#: Seconds that a used connection may wait for its next request.
IDLE_S = 75.0
#: Connections accepted before anything else gets a turn.
ACCEPTS_A_TURN = 64
#: Seconds to wait for a free file descriptor.
STARVED_PAUSE_S = 0.1
#: Connections above the limit that are told so at once; any more are just closed.
MAX_REFUSING = 64

_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LISTENER_GONE = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})

log = structlog.get_logger("notifyd.transport")


@dataclass(frozen=True)
class DoorStatistics:
    """What the door holds now, and has done since its start."""

    open: int
    http_idle: int
    http_busy: int
    accepted: int
    refused: int
    faults: int


class Door:
    """Owns the listeners and reads every request head.

    `websocket` and `sse` get a non-blocking socket, the head and the bytes read after it; they return when
    the connection has ended and close the socket; with None there are no streams here. `http` serves the
    one request of a DoorStream. `direct` has what answers a plain POST to a path without the HTTP server.
    `trusted_hops` proxies of ours stand in front of the clients. New clients pass the `turnstile`.
    With `tls` every connection begins with its handshake, and those that chose HTTP/2 by it are served by
    `http2`, which gets the wire and an event that asks it to end.
    `on_refused` hears of each client that is turned away: its address, the status and the problem's slug.
    `network` is where the listeners come from.
    """

    def __init__(
        self,
        *,
        websocket: FastLane | None,
        sse: FastLane | None,
        http: HttpTurn,
        direct: Mapping[str, Call] = MappingProxyType({}),
        on_refused: Callable[[str, int, str], None] = lambda ip, status, reason: None,
        limit: Callable[[], int] = connection_limit,
        trusted_hops: int = 0,
        turnstile: Turnstile | None = None,
        network: Network = KERNEL,
        tls: Tls | None = None,
        http2: Http2 | None = None,
        head_s: float = HEAD_S,
    ) -> None:
        self._websocket = websocket
        self._sse = sse
        self._http = http
        self._direct = direct
        self._on_refused = on_refused
        self._limit = limit
        self._trusted_hops = trusted_hops
        self._tls = tls
        self._http2 = http2
        self._head_s = head_s
        self._turnstile = turnstile or Turnstile()
        self._network = network
        self._accepting = trio.CancelScope()
        self._draining = trio.Event()
        self._turn_over = trio.lowlevel.ParkingLot()
        self._idle: set[trio.CancelScope] = set()
        self._open = self._busy = self._refusing = 0
        self._accepted = self._refused = self._faults = 0
        self._starved = False

    # --- life ---------------------------------------------------------------------------------------------

    async def serve(
        self,
        listeners: Sequence[socket.socket],
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until `stop_accepting`; each connection is a task of `connections`.

        Closes: the listeners. Raises OSError when a listener breaks.
        """
        try:
            with self._accepting:
                async with trio.open_nursery() as nursery:
                    for listener in listeners:
                        nursery.start_soon(self._accept_from, listener, connections)
                    task_status.started()
        finally:
            for listener in listeners:
                close_listener(listener)

    def stop_accepting(self) -> None:
        """End `serve`; connections that are open go on."""
        self._accepting.cancel()

    def drain(self) -> None:
        """Close HTTP connections that wait for a request now, and busy ones after their answer."""
        self._draining.set()
        for scope in tuple(self._idle):
            scope.cancel()

    async def drained(self) -> None:
        """Wait until no request is being answered; the caller sets the limit."""
        while self._busy:
            await self._turn_over.park()

    @property
    def is_secure(self) -> bool:
        """Whether clients speak TLS with this door."""
        return self._tls is not None

    def is_draining(self) -> bool:
        return self._draining.is_set()

    def statistics(self) -> DoorStatistics:
        return DoorStatistics(
            open=self._open,
            http_idle=len(self._idle),
            http_busy=self._busy,
            accepted=self._accepted,
            refused=self._refused,
            faults=self._faults,
        )

    # --- accepting ----------------------------------------------------------------------------------------

    async def _accept_from(self, listener: socket.socket, connections: trio.Nursery) -> None:
        while True:
            await self._network.wait_readable(listener)
            if self._accept_some(listener, connections):
                self._starved = False
                continue
            if not self._starved:
                self._starved = True
                log.warning("door.no_descriptors", open=self._open)
            await trio.sleep(STARVED_PAUSE_S)

    def _accept_some(self, listener: socket.socket, connections: trio.Nursery) -> bool:
        """Accept what waits, at most a turn's worth; False when the system has no descriptor left."""
        limit = self._limit()
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _LISTENER_GONE:
                    raise
                if error.errno in _STARVED:
                    return False
                continue  # this client left before it was accepted
            self._admit(sock, peer_of(address), limit, connections)
        return True

    def _admit(self, sock: socket.socket, peer: str, limit: int, connections: trio.Nursery) -> None:
        sock.setblocking(False)
        self._accepted += 1
        if self._open < limit:
            self._open += 1
            connections.start_soon(self._serve_connection, sock, peer)
            return
        self._refused += 1
        if self._refusing < MAX_REFUSING and not self.is_secure:  # who waits for TLS cannot read it
            self._refusing += 1
            connections.start_soon(self._turn_away, sock, peer)
        else:
            self._on_refused(peer, NoRoom.status, NoRoom.slug)
            sock.close()

    async def _turn_away(self, sock: socket.socket, peer: str) -> None:
        try:
            await self._refuse(Wire(sock, peer, self._network), NoRoom())
        finally:
            self._refusing -= 1
            self._close(sock)

    # --- one connection -----------------------------------------------------------------------------------

    async def _serve_connection(self, sock: socket.socket, peer: str) -> None:
        """Whatever a connection raises ends here and is one line in the log."""
        try:
            if self._tls is not None:
                secured = await self._shake_hands(self._tls, sock)
                if secured is None:
                    return
                sock = secured
                if self._http2 is not None and secured.selected_alpn_protocol() == HTTP2:
                    await self._http2_turn(self._http2, Wire(sock, peer, self._network))
                    return
            # Only the coroutine is kept: a head or buffer in this frame would live as long as the connection.
            fast_lane = await self._receive_requests(Wire(sock, peer, self._network))
            if fast_lane is not None:
                await fast_lane
        except* Exception as faults:
            self._faults += 1
            log.error("connection.fault", peer=peer, exc_info=faults)
        finally:
            self._open -= 1
            self._close(sock)

    async def _shake_hands(self, tls: Tls, sock: socket.socket) -> TlsSocket | None:
        """None for a client that speaks no TLS, or too slowly."""
        if self._turnstile.is_full():
            await self._turnstile.wait()
        with trio.move_on_after(self._head_s), contextlib.suppress(trio.BrokenResourceError):
            return await tls.shake_hands(sock)
        return None

    async def _http2_turn(self, http2: Http2, wire: Wire) -> None:
        self._busy += 1
        try:
            await http2(wire, self._draining)
        finally:
            self._busy -= 1
            self._turn_over.unpark_all()

    async def _receive_requests(self, wire: Wire) -> Coroutine[Any, Any, None] | None:
        """Serve HTTP requests until one is for a fast lane, whose coroutine is returned, or none follows."""
        try:
            head = await self._first_head(wire)
            while head is not None:
                route = route_of(head)
                if route is not Route.HTTP:
                    return self._fast_lane(route)(wire.sock, head, bytes(wire.buffer))
                if not await self._http_turn(wire, head):
                    await wire.finish()
                    break
                head = await self._next_head(wire)
        except HttpError as error:
            await self._refuse(wire, error)
        except trio.BrokenResourceError:
            wire.abort()
        return None

    def _fast_lane(self, route: Route) -> FastLane:
        lane = self._websocket if route is Route.WEBSOCKET else self._sse
        if lane is None:
            raise NotFound("There are no streams on this bind")
        if self.is_draining():  # nobody would send it away in a slot of its own
            raise Unavailable("The server is stopping")
        return lane

    async def _http_turn(self, wire: Wire, head: RequestHead) -> bool:
        """Whether another request may follow. Raises HttpError for a request that turned out malformed."""
        call = self._direct.get(head.path)
        self._busy += 1
        try:
            if call is not None and is_plain(head):
                return await serve_direct(wire, head, call, self.is_draining)
            return await self._serve_http(wire, head)
        finally:
            self._busy -= 1
            self._turn_over.unpark_all()

    async def _serve_http(self, wire: Wire, head: RequestHead) -> bool:
        stream = DoorStream(wire, head, is_last=self.is_draining)
        await self._http(stream)
        if stream.fault is not None and not stream.started:
            raise stream.fault
        return stream.reusable

    async def _first_head(self, wire: Wire) -> RequestHead | None:
        deadline = trio.current_time() + self._head_s
        if not await self._first_byte(wire, self._head_s):
            return None
        if self._turnstile.is_full():
            await self._turnstile.wait()
        return await self._read_head(wire, deadline)

    async def _next_head(self, wire: Wire) -> RequestHead | None:
        if not await self._first_byte(wire, IDLE_S):
            return None
        return await self._read_head(wire, trio.current_time() + self._head_s)

    async def _first_byte(self, wire: Wire, seconds: float) -> bool:
        """Wait for the beginning of a request; False when none comes in time or the server drains."""
        skip_blank_lines(wire.buffer)
        if self.is_draining() or wire.buffer:
            return not self.is_draining()
        received = wire.receive_nowait()  # nearly always: no deadline needs to be set up
        if received is not None:
            return received
        with trio.move_on_after(seconds) as scope:
            self._idle.add(scope)
            try:
                await wire.wait_readable()
                return await wire.receive()
            finally:
                self._idle.discard(scope)
        return False

    async def _read_head(self, wire: Wire, deadline: float) -> RequestHead | None:
        """The next head; None when the client leaves in the middle of it."""
        if (raw := take_head(wire.buffer)) is not None:  # nearly always: no deadline needs to be set up
            return self._parsed(raw, wire)
        with trio.move_on_at(deadline):
            while (raw := take_head(wire.buffer)) is None:
                if not await wire.receive():
                    return None
            return self._parsed(raw, wire)
        raise RequestTimeout

    def _parsed(self, raw: bytes, wire: Wire) -> RequestHead:
        return from_behind(parse_head(raw, wire.peer), self._trusted_hops)

    async def _refuse(self, wire: Wire, error: HttpError) -> None:
        self._on_refused(wire.peer, error.status, error.slug)
        with contextlib.suppress(trio.BrokenResourceError):
            await wire.send_all(refusal(error))
        await wire.finish()

    def _close(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._network.notify_closing(sock)
            sock.close()
