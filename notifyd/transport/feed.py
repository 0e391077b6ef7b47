"""The way of the log's entries to one client: its one number `position`, `visit`, and the pump.

The window is the queue. `position` is the last entry put on the socket; only `_look` and `_read_log` send
entries, everything after `position`, and move it. While the kernel takes all that is offered a connection
is *live* and costs one task, its reader. When it does not, or when `position` lies below the window, the
connection is *busy*: a pump drains the outbox, reads on from the log or the window, and ends by making the
connection live again, without a checkpoint between its last look and that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from notifyd.errors import CloseCode, StoreError
from notifyd.messages import Cursor, encode_entry
from notifyd.transport.outbox import Outbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from notifyd.broker.window import Framer
    from notifyd.store.base import LogPage
    from notifyd.transport.connection import Lane

#: Seconds without a byte accepted by a peer that has messages waiting, before it is reset.
STALL_S: Final = 20.0
#: Bytes of one page of the log: what a slow client holds of our memory while it catches up.
PAGE_BYTES: Final = 64 * 1024
#: Bytes that wait for a peer which goes on asking without reading, before it is reset.
MAX_UNREAD_BYTES: Final = 256 * 1024

log = structlog.get_logger("notifyd.transport")


class Feed:
    """A Listener of the broker. Nothing here waits but the pump; what would raise ends the connection."""

    __slots__ = (
        "_pump_scope",
        "_taken",
        "busy",
        "closing",
        "first_page",
        "id",
        "lane",
        "outbox",
        "position",
        "user_id",
    )

    framer: Framer

    def __init__(self, sock: socket.socket, lane: Lane, id_: str) -> None:
        self.lane = lane
        self.outbox = Outbox(sock, lane.network)
        self.id = id_
        self.user_id = ""
        self.position = -1  # no stream yet
        self.busy = True  # `visit` has nothing to do here: no stream yet, a pump at work, or closing
        self.closing = False
        self.first_page: LogPage | None = None  # of the log after `position`, when it has been read already
        self._taken = -1  # while something waits in the outbox: all up to here does not
        self._pump_scope: trio.CancelScope | None = None

    # --- what the rest of a connection does -------------------------------------------------------------

    def close(self, code: CloseCode) -> None:
        """Say goodbye; nothing is sent after it."""
        raise NotImplementedError

    def fail(self, fault: Exception) -> None:
        """A defect of ours showed on this connection."""
        raise NotImplementedError

    def written(self) -> None:
        """The farewell has been given to the kernel."""
        raise NotImplementedError

    def reschedule(self) -> None:
        """Have the wheel look here when something is due."""
        raise NotImplementedError

    def fell_behind(self) -> None:
        """A pump begins, or goes on, to work off what waits."""
        raise NotImplementedError

    # --- live -------------------------------------------------------------------------------------------

    def visit(self) -> None:
        """Send what the window holds after `position`. Never waits, never raises."""
        if self.busy:
            self.lane.broker.put_off(self.user_id, self.lane.broker.settled)
            return
        settled = self.lane.broker.settled
        if settled > self.position:  # what lies between concerned others
            self.position = settled
        if not self._look():
            self._start_pump()
            self.lane.broker.put_off(self.user_id, self.position)

    @staticmethod
    def offer(feeds: Sequence[Feed], data: bytes, after: int, up_to: int) -> None:
        """`visit` of many, with what each would find after `after`, the broker's `settled`, in hand.

        A system call and as little else as can be for each: this is what a broadcast costs.
        """
        size = len(data)
        for feed in feeds:
            if feed.busy or feed.position > after:
                feed.visit()
                continue
            outbox = feed.outbox
            try:
                taken = outbox.sock.send(data) if size else 0
            except OSError:
                taken = 0
            feed.position = up_to
            outbox.accepted += taken
            if taken < size:
                feed._keep(data[taken:], after)

    def _keep(self, rest: bytes, after: int) -> None:
        """The kernel did not take `rest` of what lies after `after`."""
        if not self.outbox.send(rest):
            self._taken = after
            self._start_pump()

    @property
    def reached(self) -> int:
        """The seq up to which everything has been put on the socket."""
        return self.position if self.busy else max(self.position, self.lane.broker.settled)

    @property
    def taken(self) -> int:
        """The seq up to which the kernel is known to have taken everything."""
        return self._taken if self.outbox.queued else self.reached

    @property
    def cursor(self) -> str:
        """`reached` as a client sees it."""
        return str(Cursor(self.lane.broker.window.epoch, self.reached))

    def go_live(self) -> None:
        """Join the live stream, or have a pump see to it."""
        self.lane.broker.attach(self)
        if self._pump_scope is None:
            self.busy = not self._look_apart()
            if self.busy:
                self._start_pump()

    def _look(self) -> bool:
        """Send what the window holds; whether the kernel took it all and nothing is left."""
        window = self.lane.broker.window
        position = self.position
        if position < window.floor:
            return False
        data, after, more = window.join(self.user_id, position, self.framer)
        if after > position:
            self.position = after
        if data and not self.outbox.send(data):
            self._taken = position
            return False
        return not more

    def _look_apart(self) -> bool:
        """Look outside of the dispatcher's visits, which count what they offer themselves."""
        broker, before = self.lane.broker, self.position
        is_live = self._look()
        up_to = min(self.position, broker.settled) if is_live else self.position
        broker.replayed(broker.window.count(self.user_id, before, up_to))
        return is_live

    def put(self, data: bytes) -> None:
        """Send something small of our own behind what waits."""
        if self.outbox.queued > MAX_UNREAD_BYTES:
            log.info("connection.never_reads", connection=self.id, user=self.user_id)
            self.outbox.reset()
            return
        taken = self.taken
        if not self.outbox.send(data):
            self._taken = taken
            self._start_pump()

    # --- busy -------------------------------------------------------------------------------------------

    def _start_pump(self) -> None:
        self.position = self.reached
        self.busy = True
        self.fell_behind()
        if self._pump_scope is None:
            self._pump_scope = trio.CancelScope()
            self.lane.nursery.start_soon(self._pump, self._pump_scope)
            self.reschedule()

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
            elif self._look_apart():
                self.busy = False
                return

    async def _read_log(self) -> None:
        """Send one page of the log; the position lies below the window."""
        page, self.first_page = self.first_page, None
        try:
            if page is None:
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
        before = self.position
        self.position = max(before, page.head if page.complete else page.entries[-1].seq)
        self.lane.broker.replayed(len(page.entries))
        if data and not self.outbox.send(data):
            self._taken = before
