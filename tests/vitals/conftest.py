"""A real database without threads, the inbox and the broker over it, all in virtual time."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
from sqlalchemy import select

from notifyd.broker.memory import Broker
from notifyd.broker.window import Window
from notifyd.inbox import Inbox, open_inbox
from notifyd.store.schema import notifications
from notifyd.store.sql import Call, Database, open_database, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from notifyd.store.base import Transaction

T = TypeVar("T")


@dataclass
class WeakStore:
    """`store.base.Store` in the calling task. The next writes raise `faults`, or take `slow_s` seconds."""

    database: Database
    epoch: str = ""
    faults: deque[Exception] = field(default_factory=deque)
    slow_s: float = 0.0
    failed: trio.Event = field(default_factory=trio.Event)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        return self.database.read(work, Call(0))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        await trio.sleep(self.slow_s)
        if self.faults:
            raise self.faults.popleft()
        return self.database.write(work, Call(0))


@dataclass
class Log:
    """The parts that a notification passes before it reaches a transport."""

    store: WeakStore
    inbox: Inbox
    broker: Broker
    nursery: trio.Nursery

    def rows(self) -> list[str | None]:
        """The users of all rows of the log, in order."""
        statement = select(notifications.c.user_id).order_by(notifications.c.seq)
        return self.database_read(lambda tx: list(tx.execute(statement).scalars()))

    def database_read(self, work: Callable[[Transaction], T]) -> T:
        return self.store.database.read(work, Call(0))


@pytest.fixture
def open_log(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Log]]:
    """Opens the log; with `dispatcher=False` nobody is visited."""

    @asynccontextmanager
    async def opened(*, dispatcher: bool = True) -> AsyncIterator[Log]:
        with open_database(f"sqlite:///{tmp_path}/log.db", busy_s=1) as database:
            store = WeakStore(database, prepare(database, 0))
            settings: dict[str, Any] = {"retention_ms": 10**12, "max_rows_per_user": 100}
            async with open_inbox(store, clock=lambda: 0, **settings) as inbox:
                broker = Broker(Window(inbox.epoch, inbox.head), lambda: 0)
                inbox.on_commit = broker.publish
                async with trio.open_nursery() as nursery:
                    if dispatcher:
                        nursery.start_soon(broker.run_dispatcher)
                    try:
                        yield Log(store, inbox, broker, nursery)
                    finally:
                        nursery.cancel_scope.cancel()

    return opened
