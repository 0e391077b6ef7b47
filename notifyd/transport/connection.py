"""A live connection: what WebSocket and SSE have in common besides their feed, and its end."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import structlog
import trio

from notifyd.errors import CloseCode
from notifyd.limits import Limits
from notifyd.messages import ConnectionEstablished, Reconnect, encode, iso
from notifyd.session import Session
from notifyd.transport.actions import perform
from notifyd.transport.feed import PAGE_BYTES, STALL_S, Feed
from notifyd.transport.heartbeat import PROBE_LOOK_S, Probe
from notifyd.transport.network import KERNEL
from notifyd.transport.registry import Connections, ConnectionStatistics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from msgspec import Struct

    from notifyd.auth import Identity
    from notifyd.broker.memory import Broker
    from notifyd.config import Config
    from notifyd.inbox import Inbox
    from notifyd.keys import Keys
    from notifyd.session import Action
    from notifyd.transport.heartbeat import Wheel
    from notifyd.transport.network import Network

__all__ = ["Connection", "ConnectionStatistics", "Connections", "Lane"]

#: Seconds for a closing handshake; with the wheel's tick the socket is closed within 1 s.
CLOSE_S: Final = 0.75
_DEFAULTS: Final = Limits()
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
    network: Network = KERNEL
    draw: Callable[[int], str] = secrets.token_hex  # so many random bytes, as text
    limits: Limits = _DEFAULTS


class Connection(Feed):
    """What WebSocket and SSE have in common; Timed in the wheel.

    Owned by the task that reads from the client, which calls `end` last. Everything else here is
    synchronous, and ends the connection instead of raising.
    """

    __slots__ = (
        "_next_beat",
        "close_code",
        "due",
        "greeting",
        "identity",
        "marks",
        "probe",
        "session",
        "was_refused",
    )

    transport: ClassVar[str]

    def __init__(self, sock: socket.socket, lane: Lane) -> None:
        super().__init__(sock, lane, lane.draw(12))
        now = trio.current_time()
        self.session = Session(now, lane.limits)
        self.due = math.inf
        self.identity: Identity | None = None  # what the client's token proved last
        self.probe: Probe | None = None
        self.close_code: int | None = None  # once we have closed, or the client has
        self.was_refused = False  # by an HTTP answer instead of a stream
        self.marks = 0  # that wait for the database
        self.greeting = b""  # what must stand before anything else
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

    async def heard(self, data: bytes) -> bool:
        """Act on bytes of the client; whether to read on."""
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

    def admit(self, identity: Identity) -> bool:
        """The client is this user; False when the user has too many connections."""
        if not self.lane.connections.admit(self, identity.user_id):
            return False
        self.identity = identity
        self.user_id = identity.user_id
        self.session.accepted(identity.user_id, identity.expires_ms)
        self.reschedule()
        return True

    async def start_stream(self, cursor: str | None) -> None:
        """Send the greeting and `connection-established` in one write, and go on after `cursor`.

        Raises StoreError when the log cannot be asked; nothing was sent then.
        """
        broker = self.lane.broker
        start = await self.lane.inbox.resume(
            self.user_id,
            cursor,
            window_floor=broker.window.floor_of(self.user_id),
            limit_bytes=PAGE_BYTES,
        )
        if self.closing or self.outbox.gone:
            return
        self.position = start.position
        if not broker.window.covers(start.position):  # nor will it be: its floor only rises
            self.first_page = start.page
        self.lane.connections.journal.opened(self)
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
        self.go_live()

    def note_refusal(self, ip: str, status: int, reason: str) -> None:
        """Count that this client is turned away, and tell the log unless that was just told."""
        self.lane.connections.tally.refusals.note(self.lane.wheel, self.transport, ip, status, reason)

    async def read(self) -> None:
        """Read until the client has gone, or our time for closing is over."""
        sock = self.outbox.sock
        wait_readable = self.lane.network.wait_readable
        buffer, turnstile = self.lane.connections.receive_buffer, self.lane.connections.turnstile
        while not self.outbox.gone:
            try:
                await wait_readable(sock)
                if turnstile.is_full():
                    await turnstile.wait()
                size = sock.recv_into(buffer)
            except BlockingIOError:
                continue
            except (OSError, ValueError, trio.ClosedResourceError):
                return
            if size == 0 or not await self.heard(bytes(buffer[:size])):
                return

    # --- our own messages and the end -------------------------------------------------------------------

    def say(self, data: Struct) -> None:
        """Send a message of the server's own, unless a Close was sent."""
        if not self.closing:
            self.put(self.own(data))

    def close(self, code: CloseCode, *last_words: Struct) -> None:
        """Send `last_words` and the farewell; the socket is closed within 1 s."""
        if self.closing or self.outbox.gone:
            return
        self.close_code = int(code)
        words = b"".join(self.own(data) for data in last_words)
        self.finish(words + self.farewell(code))

    def depart(self, after_ms: int) -> None:
        """The server drains: come back after `after_ms`."""
        self.close(CloseCode.GOING_AWAY, Reconnect(after_ms, "the server restarts"))

    def refuse(self, answer: bytes) -> None:
        """Send an HTTP answer instead of a stream."""
        self.was_refused = True
        self.greeting = b""
        self.finish(answer)

    def finish(self, last: bytes) -> None:
        """Send `last` and nothing more; close the socket within 1 s."""
        self.position = self.reached
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

    def refresh(self, identity: Identity) -> list[Action]:
        """A fresh token was shown; another user's changes nothing but what the session does about it."""
        if identity.user_id == self.user_id:
            self.identity = identity
        return self.session.accepted(identity.user_id, identity.expires_ms)

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
        self.position = self.reached
        self.closing = self.busy = True
        self.lane.broker.detach(self)
        self.lane.wheel.forget(self)
        self.lane.connections.remove(self)
        self.lane.connections.tally.ended(self)
        if self._pump_scope is not None:
            self._pump_scope.cancel()
        self._hang_up()

    def fell_behind(self) -> None:
        self.lane.connections.journal.lags(self)

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
            if self.probe is None:  # a new ping would begin the wait for the one on its way anew
                self.beat(now)

    def begin_probe(self, now: float) -> None:
        """A ping has just been put on the socket."""
        self.probe = Probe(now, self.outbox.accepted + self.outbox.queued)
