"""Where a tab sits: its connection, and whether it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from notifyd.testing import Ended

if TYPE_CHECKING:
    from notifyd.testing import FakeClient
    from tests.simulation.tab import Tab

#: With these a stream may end without anything being wrong; 1013 only of a tab whose next entries are gone.
FINE = {1000, 1001, 1006, 4012, 1013}


class Seat:
    """A tab's connection, and the task that reads from it unless it is stalled."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.client: FakeClient | None = None
        self.awake = trio.Event()
        self.awake.set()

    def stall(self) -> None:
        if self.awake.is_set():
            self.awake = trio.Event()

    async def read(self, client: FakeClient) -> None:
        """Until the stream ends, or the tab has another."""
        try:
            while client is self.client:
                await self.awake.wait()
                self.tab.take(await client.receive())
        except Ended as end:
            assert end.code in FINE, end
        finally:
            await client.aclose()
            if client is self.client:
                self.client = None
