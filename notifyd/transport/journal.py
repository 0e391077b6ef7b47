"""What the ledger is told of connections: noted in memory, written once a second, awaited by none.

Nothing is noted when an entry is sent. A connection that keeps up needs a line when it begins and one when
it ends. Only those that lag behind at the moment of writing are looked at one by one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Never

import trio

from notifyd.errors import CloseCode, StoreError
from notifyd.store import ledger
from notifyd.store.ledger import Closed, Mark, Opened
from notifyd.store.retention import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.broker.memory import Broker
    from notifyd.inbox import Inbox
    from notifyd.store.base import NewEntry, Transaction
    from notifyd.transport.connection import Connection

#: Seconds between two writes; what the ledger says of times is as exact as this.
EVERY_S: Final = 1.0
#: Lines that wait while the database does not take them; what comes on top is left out.
MAX_WAITING: Final = 50_000


class Journal:
    """Lines about connections that wait to be written."""

    def __init__(self) -> None:
        self.left_out = 0
        self._opened: dict[str, Opened] = {}
        self._refused: dict[str, Opened] = {}  # one a user
        self._marks: dict[tuple[str, int], Mark] = {}
        self._closed: dict[str, Closed] = {}
        self._lagging: dict[Connection, Mark | None] = {}  # with the mark made last
        self._settled = -1
        self._clean = False

    def __len__(self) -> int:
        return len(self._opened) + len(self._refused) + len(self._marks) + len(self._closed)

    # --- noting -----------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The stream of a connection begins."""
        self._put(self._opened, connection.id, _opened(connection, connection.user_id, connection.position))

    def refused(self, connection: Connection, user_id: str) -> None:
        """The user has too many connections for this one."""
        self._put(self._refused, user_id, _opened(connection, user_id, None))

    def lags(self, connection: Connection) -> None:
        """The connection's socket, or its position, has fallen behind."""
        self._lagging.setdefault(connection)

    def closed(self, connection: Connection) -> None:
        """A connection that had a stream has ended."""
        last = self._lagging.pop(connection, None)
        if connection.position < 0:
            return
        end = connection.taken if last is None else max(connection.taken, last.seq)
        code = int(CloseCode.ABNORMAL) if connection.close_code is None else connection.close_code
        self._put(self._closed, connection.id, Closed(connection.id, connection.lane.clock(), code, end))

    def forget(self, user_id: str) -> None:
        """The user is being erased."""
        for lines in (self._opened, self._refused):
            for key in [key for key, line in lines.items() if line.user_id == user_id]:
                del lines[key]

    def _put(self, lines: dict[Any, Any], key: object, line: object) -> None:
        if len(self) < MAX_WAITING:
            lines[key] = line
        else:
            self.left_out += 1

    # --- writing ----------------------------------------------------------------------------------------

    async def run(self, inbox: Inbox, broker: Broker, clock: Callable[[], int]) -> Never:
        """Write once a second, until cancelled. What the store refuses waits."""
        while True:
            await trio.sleep(EVERY_S)
            await self.flush(inbox, broker, clock)

    async def flush(self, inbox: Inbox, broker: Broker, clock: Callable[[], int]) -> None:
        """Write all that waits now."""
        settled, now_ms = broker.settled, clock()
        self._look_at_laggards(now_ms)
        try:
            await self._clean_up(inbox)
            while len(self):
                await self._write_some(inbox)
            if settled > self._settled:
                await inbox.work(_Dispatched(settled, now_ms))
                self._settled = settled
        except StoreError:
            return

    def _look_at_laggards(self, now_ms: int) -> None:
        for connection, last in list(self._lagging.items()):
            behind = connection.busy
            mark = Mark(connection.id, now_ms, max(connection.taken, last.seq if last else 0), behind)
            if connection.position < 0 or (last is None and not behind):
                pass  # it has not begun, or was behind for less than a second
            elif last is None or not behind or mark.seq > last.seq:
                self._put(self._marks, (connection.id, now_ms), mark)
                self._lagging[connection] = mark
            if not behind:
                del self._lagging[connection]

    async def _clean_up(self, inbox: Inbox) -> None:
        """Once, before anything of our own is there: end what another process has left open."""
        while not self._clean:
            ended = await inbox.work(lambda tx: ((), ledger.end_left_open(tx)))
            self._clean = ended < BATCH

    async def _write_some(self, inbox: Inbox) -> None:
        # In this order: a mark or an end is of a connection that is there.
        parts: list[dict[Any, Any]] = [self._opened, self._refused, self._marks, self._closed]
        room, taken = BATCH, []
        for lines in parts:
            some = dict(islice(lines.items(), room))
            room -= len(some)
            taken.append(some)
        await inbox.work(_Write(*([*some.values()] for some in taken)))
        for lines, some in zip(parts, taken, strict=True):
            for key, line in some.items():
                if lines.get(key) is line:
                    del lines[key]


class _Write:
    """One transaction's lines."""

    def __init__(
        self, opened: list[Opened], refused: list[Opened], marks: list[Mark], closed: list[Closed]
    ) -> None:
        ends = [
            Closed(line.connection_id, line.connected_ms, CloseCode.CONNECTION_LIMIT, None)
            for line in refused
        ]
        self._opened, self._marks, self._closed = opened + refused, marks, ends + closed

    def __call__(self, tx: Transaction) -> tuple[Sequence[NewEntry], None]:
        ledger.note(tx, self._opened, self._marks, self._closed)
        return (), None


class _Dispatched:
    """One transaction's line about everybody."""

    def __init__(self, seq: int, at_ms: int) -> None:
        self._seq, self._at_ms = seq, at_ms

    def __call__(self, tx: Transaction) -> tuple[Sequence[NewEntry], None]:
        ledger.dispatched(tx, self._seq, self._at_ms)
        return (), None


def _opened(connection: Connection, user_id: str, start_seq: int | None) -> Opened:
    return Opened(connection.id, user_id, connection.transport, connection.lane.clock(), start_seq)
