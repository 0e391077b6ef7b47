"""Once a day, old prices are thinned to what rules need; `store/thinning.py` says what that is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Never

import structlog
import trio

from notifyd.errors import StoreError
from notifyd.store import thinning
from notifyd.store.thinning import BATCH, DAY_MS, SERIES, old_of

if TYPE_CHECKING:
    from notifyd.store.base import Store
    from notifyd.store.thinning import Old

log = structlog.get_logger("notifyd.checker")

#: Seconds from the start of the server to the first time, and from one time to the next.
FIRST_S: Final = 600.0
EVERY_S: Final = 86_400.0
#: Seconds between two reads or transactions.
PAUSE_S: Final = 0.05


class Thinner:
    """Deletes prices older than `detail_days` before the newest of their series that no rule needs."""

    def __init__(self, store: Store, detail_days: float) -> None:
        self.dropped = 0
        self._store = store
        self._detail_ms = round(detail_days * DAY_MS)

    async def run(self) -> Never:
        """Thin all series once a day, until cancelled. What the store refuses waits for the next day."""
        await trio.sleep(FIRST_S)
        while True:
            before = self.dropped
            try:
                await self.thin()
            except StoreError as fault:
                log.warning("thinning broke off", error=fault.detail)
            if self.dropped > before:
                log.info("old prices thinned", dropped=self.dropped - before)
            await trio.sleep(EVERY_S)

    async def thin(self) -> None:
        """Thin all series now, in small transactions. Raises StoreError; what is gone stays gone."""
        after = 0
        while True:
            found = await self._store.read(partial(thinning.series_after, after=after))
            old = [asked for each in found if (asked := old_of(each, self._detail_ms)) is not None]
            if old:
                await self._drop(old)
            if len(found) < SERIES:
                return
            after = found[-1].series_id
            await trio.sleep(PAUSE_S)

    async def _drop(self, old: list[Old]) -> None:
        while ids := await self._store.read(partial(thinning.superfluous, keys=old)):
            self.dropped += await self._store.write(partial(thinning.drop, price_ids=ids))
            if len(ids) < BATCH:
                return
            await trio.sleep(PAUSE_S)
