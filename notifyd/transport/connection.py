"""A live connection: its one number `position`, `visit`, the pump, and what the client says carried out.

The window is the queue. `position` is the last entry put on the socket; only `_look` and `_read_log` send
entries, everything after `position`, and move it. While the kernel takes all that is offered a connection
is *live* and costs one task, its reader. When it does not, or when `position` lies below the window, the
connection is *busy*: a pump drains the outbox, reads on from the log or the window, and ends by making the
connection live again, without a checkpoint between its last look and that.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import structlog
import trio

from notifyd.errors import CloseCode, StoreError
from notifyd.messages import ConnectionEstablished, Cursor, Reconnect, encode, encode_entry, iso
from notifyd.session import Session
from notifyd.transport.actions import perform
from notifyd.transport.heartbeat import PROBE_LOOK_S, Probe
from notifyd.transport.outbox import Outbox
from notifyd.transport.registry import Connections, ConnectionStatistics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from msgspec import Struct

    from notifyd.broker.memory import Broker
    from notifyd.broker.window import Framer
    from notifyd.config import Config
    from notifyd.inbox import Inbox
    from notifyd.keys import Keys
    from notifyd.transport.heartbeat import Wheel

__all__ = ["Connection", "ConnectionStatistics", "Connections", "Lane"]

#: Seconds without a byte accepted by a peer that has messages waiting, before it is reset.
STALL_S: Final = 20.0
#: Seconds for a closing handshake; with the wheel's tick the socket is closed within 1 s.
CLOSE_S: Final = 0.75
#: Bytes of one page of the log: what a slow client holds of our memory while it catches up.
PAGE_BYTES: Final = 64 * 1024
#: Bytes that wait for a peer which goes on asking without reading, before it is reset.
MAX_UNREAD_BYTES: Final = 256 * 1024
#: Spreads connections that came together over the whole of a heartbeat's interval.
_GOLDEN: Final = (math.sqrt(5) - 1) / 2

log = structlog.get_logger("notifyd.transport")


@dataclass(frozen=True, slots=True)
class Lane:
    """All that a fast-lane connection may use. `nursery` is where pumps and marks run."""

    inbox: Inbox
    broker: Broker
    keys: Keys
    connections: Connections
    wheel: Wheel
    nursery: trio.Nursery
    clock: Callable[[], int]
    config: Config


class Connection:
    """What WebSocket and SSE have in common; a Listener of the broker and Timed in the wheel.

    Owned by the task that reads from the client, which calls `end` last. Everything else here is
    synchronous, and ends the connection instead of raising.
    """

    __slots__ = (
        "_next_beat",
        "_pump_scope",
        "busy",
        "closing",
        "due",
        "greeting",
        "id",
        "lane",
        "marks",
        "outbox",
        "position",
        "probe",
        "session",
        "user_id",
    )

    transport: ClassVar[str]
    framer: Framer

    def __init__(self, sock: socket.socket, lane: Lane) -> None:
        now = trio.current_time()
        self.lane = lane
        self.outbox = Outbox(sock)
        self.session = Session(now)
        self.id = secrets.token_urlsafe(12)
        self.user_id = ""
        self.position = -1  # no stream yet
        self.busy = True  # `visit` has nothing to do here: no stream yet, a pump at work, or closing
        self.due = math.inf
        self.probe: Probe | None = None
        self.closing = False
        self.marks = 0  # that wait for the database
        self.greeting = b""  # what must stand before anything else
        self._pump_scope: trio.CancelScope | None = None
        number = lane.connections.add(self)
        self._next_beat = now + self.beat_s * (1 + number * _GOLDEN % 1) / 2

    # --- what the two transports do differently ---------------------------------------------------------

    @property
    def beat_s(self) -> float:
        """Seconds between two calls of `beat`."""
        raise NotImplementedError

    def frame(self, cursor: str | None, message: bytes) -> bytes:
        """A message of the server's own on the wire; `cursor` only where a client may resume from it."""
        raise NotImplementedError

    def farewell(self, code: CloseCode) -> bytes:
        """The last bytes of the stream."""
        raise NotImplementedError

    def beat(self, now: float) -> None:
        """Show that we live, and ask the same of the peer."""
        raise NotImplementedError

    def is_answered(self, probe: Probe, now: float) -> bool:
        """Whether the peer has shown that it lives since `probe` began."""
        raise NotImplementedError

    def acknowledge_pinged(self) -> None:
        """The last ping was answered by a client that sends no acknowledgements."""

    def written(self) -> None:
        """The farewell has been given to the kernel."""
        self.outbox.end_writing()

    # --- beginning --------------------------------------------------------------------------------------

    def admit(self, user_id: str, expires_ms: int) -> bool:
        """The client is this user; False when the user has too many connections."""
        if not self.lane.connections.admit(self, user_id):
            return False
        self.user_id = user_id
        self.session.accepted(user_id, expires_ms)
        self.reschedule()
        return True

    async def start_stream(self, cursor: str | None) -> None:
        """Send the greeting and `connection-established` in one write, and go on after `cursor`.

        Raises StoreError when the log cannot be asked; nothing was sent then.
        """
        broker = self.lane.broker
        start = await self.lane.inbox.resume(self.user_id, cursor, window_floor=broker.window.floor)
        if self.closing or self.outbox.gone:
            return
        self.position = start.position
        established = ConnectionEstablished(
            user_id=self.user_id,
            connection_id=self.id,
            cursor=self.cursor,
            recovered=start.recovered,
            reason=start.reason,
            heartbeat_interval_ms=round(self.lane.wheel.heartbeat_s * 1000),
            token_expires_at=iso(self.session.expires_ms),
        )
        self.put(self.greeting + self.own(established, self.cursor))
        self.greeting = b""
        broker.attach(self)
        if self._pump_scope is None:  # else the pump sees to it
            self.busy = not self._look()
            if self.busy:
                self._start_pump()

    # --- entries ----------------------------------------------------------------------------------------

    def visit(self) -> None:
        """Send what the window holds after `position`. Never waits, never raises."""
        if self.busy:
            return
        settled = self.lane.broker.settled
        if settled > self.position:  # what lies between concerned others
            self.position = settled
        if not self._look():
            self._start_pump()

    @property
    def reached(self) -> int:
        """The seq up to which everything has been put on the socket."""
        return self.position if self.busy else max(self.position, self.lane.broker.settled)

    @property
    def cursor(self) -> str:
        """`reached` as a client sees it."""
        return str(Cursor(self.lane.broker.window.epoch, self.reached))

    def _look(self) -> bool:
        """Send what the window holds; whether the kernel took it all and nothing is left."""
        window = self.lane.broker.window
        position = self.position
        if position < window.floor:
            return False
        data, after, more = window.join(self.user_id, position, self.framer)
        if after > position:
            self.position = after
        return (not data or self.outbox.send(data)) and not more

    def put(self, data: bytes) -> None:
        """Send something small of our own behind what waits."""
        if self.outbox.queued > MAX_UNREAD_BYTES:
            log.info("connection.never_reads", connection=self.id, user=self.user_id)
            self.outbox.reset()
        elif not self.outbox.send(data):
            self._start_pump()

    def _start_pump(self) -> None:
        self.busy = True
        if self._pump_scope is None:
            self._pump_scope = trio.CancelScope()
            self.lane.nursery.start_soon(self._pump, self._pump_scope)
            self.lane.wheel.schedule(self, trio.current_time() + STALL_S)

    async def _pump(self, scope: trio.CancelScope) -> None:
        """Whatever is raised in here ends this connection only; a cancelled pump has ended it too."""
        try:
            with scope:
                await self._work_off()
            self._pump_scope = None
            if scope.cancelled_caught:
                self.outbox.reset()
        except Exception as fault:
            self._pump_scope = None
            self.fail(fault)
        except BaseException:
            self._pump_scope = None
            self.outbox.reset()
            raise

    async def _work_off(self) -> None:
        while True:
            await self.outbox.drain()
            if self.outbox.gone:
                return
            if self.closing:
                self.written()
                return
            if self.position < 0:  # the stream has not begun
                return
            if not self.lane.broker.window.covers(self.position):
                await self._read_log()
            elif self._look():
                self.busy = False
                return

    async def _read_log(self) -> None:
        """Send one page of the log; the position lies below the window."""
        try:
            page = await self.lane.inbox.page(self.user_id, self.position, limit_bytes=PAGE_BYTES)
        except StoreError:
            self.close(CloseCode.TRY_AGAIN_LATER)
            return
        if self.closing:
            return
        if page.trimmed:  # continuity is lost: the client comes back and is told so
            self.close(CloseCode.TRY_AGAIN_LATER)
            return
        cursors = [Cursor(self.lane.broker.window.epoch, entry.seq) for entry in page.entries]
        data = b"".join(
            self.framer(str(cursor), encode_entry(entry.type, entry.data, entry.created_ms, cursor))
            for cursor, entry in zip(cursors, page.entries, strict=True)
        )
        self.position = max(self.position, page.head if page.complete else page.entries[-1].seq)
        if data:
            self.outbox.send(data)

    # --- our own messages and the end -------------------------------------------------------------------

    def say(self, data: Struct) -> None:
        """Send a message of the server's own, unless a Close was sent."""
        if not self.closing:
            self.put(self.own(data))

    def close(self, code: CloseCode, *last_words: Struct) -> None:
        """Send `last_words` and the farewell; the socket is closed within 1 s."""
        if self.closing or self.outbox.gone:
            return
        words = b"".join(self.own(data) for data in last_words)
        self.finish(words + self.farewell(code))
        log.debug("connection.close", connection=self.id, user=self.user_id, code=int(code))

    def depart(self, after_ms: int) -> None:
        """The server drains: come back after `after_ms`."""
        self.close(CloseCode.GOING_AWAY, Reconnect(after_ms, "the server restarts"))

    def refuse(self, answer: bytes) -> None:
        """Send an HTTP answer instead of a stream."""
        self.greeting = b""
        self.finish(answer)

    def finish(self, last: bytes) -> None:
        """Send `last` and nothing more; close the socket within 1 s."""
        self.closing = self.busy = True
        self.session.close()
        self.lane.broker.detach(self)
        self.lane.connections.release(self)
        self._next_beat = trio.current_time() + CLOSE_S
        self.lane.wheel.schedule(self, self._next_beat)
        if self.outbox.send(self.greeting + last):
            self.written()
        else:
            self._start_pump()

    def refresh(self, expires_ms: int) -> None:
        """The user has shown a fresh token elsewhere."""
        self.session.accepted(self.user_id, expires_ms)

    def fail(self, fault: Exception) -> None:
        """A defect of ours showed on this connection: one line in the log, and it ends."""
        log.error("connection.fault", connection=self.id, user=self.user_id, exc_info=fault)
        if self.closing:
            self.outbox.reset()
        else:
            self.close(CloseCode.INTERNAL_ERROR)

    def end(self) -> None:
        """Let go of everything. What waits is lost; the kernel still delivers what it has taken."""
        self.session.gone()
        self.closing = self.busy = True
        self.lane.broker.detach(self)
        self.lane.connections.remove(self)
        if self._pump_scope is not None:
            self._pump_scope.cancel()
        self._hang_up()

    def _hang_up(self) -> None:
        if self.outbox.queued:
            self.outbox.reset()
        else:
            self.outbox.close()

    def own(self, data: Struct, cursor: str | None = None) -> bytes:
        """A message of the server's own on the wire."""
        return self.frame(cursor, encode(data, self.lane.clock()))

    # --- time -------------------------------------------------------------------------------------------

    def tick(self, now: float, now_ms: int, resumed_at: float) -> float | None:
        """Do what is due: the wheel calls this. The moment of the next tick, or None when it is over."""
        if not (self.closing or self.outbox.gone):
            perform(self, self.session.tick(now, now_ms, resumed_at))
            self._check_stall(now, resumed_at)
        if self.position >= 0 and not (self.closing or self.outbox.gone):
            self._check_peer(now, resumed_at)
        if self.outbox.gone:
            return None
        if not self.closing:
            return self._next_due(now, now_ms)
        if now < self._next_beat:
            return self._next_beat
        self._hang_up()
        return None

    def _next_due(self, now: float, now_ms: int) -> float:
        due = min(self.session.due(now, now_ms), max(self._next_beat, now))
        if self.outbox.queued:
            due = min(due, max(self.outbox.progress_at + STALL_S, now))
        return due if self.probe is None else min(due, now + PROBE_LOOK_S)

    def reschedule(self) -> None:
        """Have the wheel look here when something is due."""
        now = trio.current_time()
        self.lane.wheel.schedule(self, self._next_due(now, self.lane.clock()))

    def _check_stall(self, now: float, resumed_at: float) -> None:
        if self.outbox.queued and now - max(self.outbox.progress_at, resumed_at) >= STALL_S:
            log.info("connection.stalled", connection=self.id, user=self.user_id, queued=self.outbox.queued)
            self.outbox.reset()

    def _check_peer(self, now: float, resumed_at: float) -> None:
        """Ping when it is time; close when a ping was not answered, but ask again after a pause of ours."""
        probe = self.probe
        if probe is not None:
            if self.is_answered(probe, now):
                self.probe = None
            elif probe.sent_at < resumed_at:
                self.beat(now)
            elif probe.is_lost(now, self.lane.wheel.pong_s):
                log.info("connection.dead", connection=self.id, user=self.user_id)
                self.close(CloseCode.NO_PONG)
                return
        if now >= self._next_beat:
            self._next_beat += self.beat_s
            if self._next_beat <= now:  # beats were missed; there is no need to make up for them
                self._next_beat = now + self.beat_s
            self.beat(now)

    def begin_probe(self, now: float) -> None:
        """A ping has just been put on the socket."""
        self.probe = Probe(now, self.outbox.accepted + self.outbox.queued)
