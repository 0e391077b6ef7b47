"""Who is connected: by connection, by user, how many; and sending everyone away when the server drains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

import trio

from notifyd.errors import CloseCode
from notifyd.transport.journal import Journal
from notifyd.transport.strangers import Strangers
from notifyd.transport.tally import Tally
from notifyd.transport.turnstile import Turnstile

if TYPE_CHECKING:
    from notifyd.auth import Identity
    from notifyd.limits import Limits
    from notifyd.revocations import Revocations
    from notifyd.transport.connection import Connection

#: What one `recv` takes at most. Every connection reads into the same buffer, for none waits while it is
#: in use.
RECEIVE_BYTES: Final = 32 * 1024
#: Clients a second that are asked to come back at once after a drain.
RETURNS_PER_S: Final = 50
#: Milliseconds between the end of a drain and the first client's return.
RETURN_DELAY_MS: Final = 250
#: Seconds for the last closing handshakes of a drain.
LAST_CLOSE_S: Final = 1.0


@dataclass(frozen=True)
class ConnectionStatistics:
    """Live connections of both transports now."""

    total: int
    websocket: int
    sse: int
    users: int
    unauthenticated: int
    catching_up: int  # their client or their position lags behind the window
    queued_bytes: int


@dataclass(frozen=True)
class LiveConnection:
    """One live connection now."""

    connection_id: str
    transport: str
    position: int  # the seq up to which everything has been put on its socket
    catching_up: bool
    queued_bytes: int
    expires_ms: int


class Connections:
    """Every fast-lane connection, with at most `limit_per_user` of one user."""

    def __init__(self, limit_per_user: int, limits: Limits | None = None) -> None:
        self.receive_buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.turnstile = Turnstile()
        self.journal = Journal()
        self.tally = Tally()
        self.strangers = Strangers(limits)
        self._limit = limit_per_user
        self._by_id: dict[str, Connection] = {}
        self._by_user: dict[str, tuple[Connection, ...]] = {}
        self._count = 0
        self._empty: trio.Event | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    # --- coming and going -------------------------------------------------------------------------------

    def add(self, connection: Connection) -> int:
        """A connection begins, its user still unknown; gives its number."""
        self._by_id[connection.id] = connection
        self._count += 1
        return self._count

    def admit(self, connection: Connection, user_id: str) -> bool:
        """The connection is this user's; False when they have as many as they may have."""
        own = self._by_user.get(user_id, ())
        if len(own) >= self._limit:
            self.journal.refused(connection, user_id)
            return False
        self._by_user[user_id] = (*own, connection)
        self.strangers.known(connection.id)
        return True

    def release(self, connection: Connection) -> None:
        """A closing connection no longer counts as its user's; harmless when it never did."""
        self.strangers.left(connection.id)
        own = self._by_user.get(connection.user_id, ())
        left = tuple(other for other in own if other is not connection)
        if left:
            self._by_user[connection.user_id] = left
        elif own:
            del self._by_user[connection.user_id]

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        self.journal.closed(connection)
        self.release(connection)
        self._by_id.pop(connection.id, None)
        if not self._by_id and self._empty is not None:
            self._empty.set()

    # --- what others ask --------------------------------------------------------------------------------

    def close_user(self, user_id: str, code: CloseCode) -> int:
        """Close a user's live connections and say how many they were."""
        own = self._by_user.get(user_id, ())
        for connection in own:
            connection.close(code)
        return len(own)

    def close_revoked(self, revocations: Revocations, user_id: str | None = None) -> int:
        """Close live connections, of one user if given, whose token is revoked; how many they were."""
        revoked = [
            connection
            for connection in (self._by_id.values() if user_id is None else self._by_user.get(user_id, ()))
            if connection.identity is not None and revocations.refuses(connection.identity)
        ]
        for connection in revoked:
            connection.close(CloseCode.REVOKED)
        return len(revoked)

    def refresh(self, connection_id: str, identity: Identity) -> bool:
        """Let a live connection live as long as a fresh token; False when the user has no such connection."""
        connection = self._by_id.get(connection_id)
        if connection is None or connection not in self._by_user.get(identity.user_id, ()):
            return False
        connection.refresh(identity)
        return True

    def users_like(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` users who are connected and whose ids begin so."""
        return nsmallest(limit, (user_id for user_id in self._by_user if user_id.startswith(prefix)))

    def connections_of(self, user_id: str) -> list[LiveConnection]:
        """A user's live connections whose stream has begun, the oldest first."""
        return [
            LiveConnection(
                connection_id=each.id,
                transport=each.transport,
                position=each.reached,
                catching_up=each.busy,
                queued_bytes=each.outbox.queued,
                expires_ms=each.session.expires_ms,
            )
            for each in self._by_user.get(user_id, ())
            if each.position >= 0
        ]

    def statistics(self) -> ConnectionStatistics:
        every = self._by_id.values()
        kinds = Counter(connection.transport for connection in every)
        return ConnectionStatistics(
            total=len(every),
            websocket=kinds["websocket"],
            sse=kinds["sse"],
            users=len(self._by_user),
            unauthenticated=sum(not connection.user_id for connection in every),
            catching_up=sum(connection.busy and connection.position >= 0 for connection in every),
            queued_bytes=sum(connection.outbox.queued for connection in every),
        )

    def sent_bytes(self) -> dict[str, int]:
        """Bytes given to the kernel since the start, by transport."""
        sent = Counter(self.tally.sent_bytes)
        for connection in self._by_id.values():
            sent[connection.transport] += connection.outbox.accepted
        return dict(sent)

    # --- the end of the server --------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Close every connection, spread over at most `seconds`, each told when to come back. A few clients
        are spread over less: what has to be bounded is how many come back in one second. New ones may no
        longer come in. Returns when the last has ended, at the latest 1 s after its farewell.

        Cancellation: the rest stay as they are.
        """
        leaving = list(self._by_id.values())
        seconds = min(seconds, len(leaving) / RETURNS_PER_S)
        start = trio.current_time()
        for index, connection in enumerate(leaving):
            at = start + seconds * index / len(leaving)
            await trio.sleep_until(at)
            connection.depart(_return_ms(index, len(leaving), seconds))
        if self._by_id:
            self._empty = trio.Event()
            with trio.move_on_after(LAST_CLOSE_S):
                await self._empty.wait()


def _return_ms(index: int, count: int, seconds: float) -> int:
    """Milliseconds after its own farewell when client `index` comes back: once the drain is over, at a rate
    that the server bears, in the order in which they left."""
    left_s = seconds * (count - 1 - index) / count
    slot_s = min(index / RETURNS_PER_S, seconds * index / count)
    return RETURN_DELAY_MS + round((left_s + slot_s) * 1000)
