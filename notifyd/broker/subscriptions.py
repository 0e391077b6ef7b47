"""Subscribers in this process: a bounded memory channel that loses nothing when its reader is slow.

A subscription is a listener like a connection: it has a position, and what the channel does not hold now
is fetched from the window, or from the log, when its reader comes for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from notifyd.broker.window import Slot
from notifyd.messages import Message, decode_server_message

if TYPE_CHECKING:
    from notifyd.broker.memory import Broker
    from notifyd.messages import RecoveryReason
    from notifyd.store.base import LogPage

CAPACITY = 64

ReadPage = Callable[[str, int], Awaitable["LogPage"]]


class Subscription(trio.abc.ReceiveChannel[Message]):
    """The messages of one user and of everyone, in order, each once. One task may receive.

    `recovered` is False, for `reason`, when the place asked for could not be continued from and the
    subscription starts at the head instead.

    Cancellation: a cancelled `receive` has taken nothing.
    """

    framer = None

    def __init__(
        self, broker: Broker, user_id: str, position: int, read_page: ReadPage, capacity: int
    ) -> None:
        self.user_id = user_id
        self.recovered = True
        self.reason: RecoveryReason | None = None
        self._broker = broker
        self._position = position
        self._read_page = read_page
        self._blocked = True  # nothing has been offered yet
        self._send, self._receive = trio.open_memory_channel[Slot | None](capacity)

    def begin(self) -> None:
        """Take what is there already, so that the dispatcher's visits alone bring what comes after."""
        self._offer()

    def visit(self) -> None:
        """Put what the window holds after the position into the channel, as far as there is room."""
        if not self._blocked:
            self._position = max(self._position, self._broker.settled)
            self._offer()

    @staticmethod
    def offer(listeners: Sequence[Subscription], data: bytes, after: int, up_to: int) -> None:
        """They have no wire, so nobody makes bytes for them."""
        for listener in listeners:
            listener.visit()

    def _offer(self) -> None:
        window = self._broker.window
        self._blocked = True
        if not window.covers(self._position):
            with suppress(trio.WouldBlock):
                self._send.send_nowait(None)  # a waiting reader must come and read the log
            return
        for slot in window.after(self.user_id, self._position):
            try:
                self._send.send_nowait(slot)
            except trio.WouldBlock:
                return
            self._position = slot.entry.seq
        # The log's page may have been ahead of the window, which hears of a commit a moment later.
        self._position = max(self._position, window.head)
        self._blocked = False

    async def receive(self) -> Message:
        """The next message.

        Raises trio.ClosedResourceError after `aclose`, and trio.BrokenResourceError when the reader was so
        slow that retention passed it: there is no going on without a gap.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            slot = await self._take()
            if slot is not None:
                return decode_server_message(slot.message)

    async def _take(self) -> Slot | None:
        """A slot, or None when it is time to look again."""
        try:
            slot = self._receive.receive_nowait()
        except trio.WouldBlock:
            if not self._blocked:
                return await self._receive.receive()
            await self._catch_up()
            return None
        await trio.lowlevel.cancel_shielded_checkpoint()
        return slot

    async def _catch_up(self) -> None:
        """The channel is empty and was blocked: read on from the window, or from the log below it."""
        if self._broker.window.covers(self._position):
            self._offer()
            return
        page = await self._read_page(self.user_id, self._position)
        if page.trimmed:
            raise trio.BrokenResourceError("retention has deleted what this subscriber had yet to read")
        free = self._receive.statistics().max_buffer_size
        taken = page.entries[: int(free)]
        for entry in taken:
            self._send.send_nowait(Slot(entry, self._broker.window.epoch))
            self._position = entry.seq
        if page.complete and len(taken) == len(page.entries):
            self._position = max(self._position, page.head)

    async def aclose(self) -> None:
        self._broker.detach(self)
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_subscription(
    broker: Broker,
    user_id: str,
    *,
    position: int,
    read_page: ReadPage,
    capacity: int = CAPACITY,
    hidden: bool = False,
) -> AsyncIterator[Subscription]:
    """Listen as `user_id` from `position` on; `capacity` messages wait in memory, the rest in the log.

    A `hidden` one is not counted among the live listeners.
    """
    subscription = Subscription(broker, user_id, position, read_page, capacity)
    broker.attach(subscription, hidden=hidden)
    try:
        yield subscription
    finally:
        broker.detach(subscription)
