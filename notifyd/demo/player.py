"""Plays the demo's feed into a server, by the same HTTP calls that anybody's feed would make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import trio

from notifyd.demo.feed import CURRENCY, PricePoint, changes, due_ticks, history, tick_due_ms
from notifyd.demo.folder import HEAD_START_TICKS
from notifyd.demo.people import PEOPLE
from notifyd.messages import Severity, iso, system_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.demo.folder import DemoFolder

#: Seconds before a call that failed is made again.
RETRY_S = 1.0


class Player:
    """One feed and its server. `clock` gives milliseconds since 1970."""

    def __init__(self, client: httpx2.AsyncClient, folder: DemoFolder, clock: Callable[[], int]) -> None:
        self._client = client
        self._folder = folder
        self._clock = clock

    async def prepare(self) -> None:
        """On the first start: history, so that medians exist, and then the users' watches.

        In this order, or the history itself would fire. Killed in between, it is simply done again.
        """
        if self._folder.state.begun_ms is not None:
            return
        begun_ms = tick_due_ms(self._clock(), -HEAD_START_TICKS)
        await self._post(history(self._folder.state.seed, begun_ms))
        for who in PEOPLE:
            await self._call("PUT", f"/v1/users/{who.user_id}", who.profile)
            for item_id, rule in who.watches.items():
                path, query = f"/v1/watches/demo-{item_id}", {"user_id": who.user_id}
                await self._call("PUT", path, {"item_id": item_id, "rule": rule}, query)
        self._folder.update(begun_ms=begun_ms)

    async def catch_up(self) -> int:
        """Play the ticks that are due now and give their number."""
        state = self._folder.state
        ticks = due_ticks(state.begun_ms or 0, state.played, self._clock())
        for tick in ticks:
            await self._post(changes(state.seed, tick, tick_due_ms(state.begun_ms or 0, tick)))
            self._folder.update(played=tick)
        return len(ticks)

    async def run(self) -> None:
        """Play each tick when it is due, for ever."""
        while True:
            state = self._folder.state
            next_ms = tick_due_ms(state.begun_ms or 0, state.played + 1)
            await trio.sleep(max(0, next_ms - self._clock()) / 1000)
            await self.catch_up()

    async def announce(self, message: str, severity: Severity) -> None:
        """Tell everyone. Raises httpx2.HTTPError when the server refuses."""
        type_, data = system_message(message, severity=severity)
        body = {"type": type_, "data": data, "broadcast": True}
        (await self._client.post("/v1/notifications", json=body)).raise_for_status()

    async def _post(self, points: list[PricePoint]) -> None:
        if points:
            await self._call("POST", "/v1/prices", {"prices": [_price(point) for point in points]})

    async def _call(
        self, method: str, path: str, body: dict[str, Any], query: dict[str, str] | None = None
    ) -> None:
        """Until it succeeds: prices and watches can be said twice and count once."""
        while True:
            try:
                response = await self._client.request(method, path, json=body, params=query)
            except httpx2.TransportError:
                await trio.sleep(RETRY_S)
                continue
            if response.status_code < 500:
                response.raise_for_status()
                return
            await trio.sleep(RETRY_S)


def _price(point: PricePoint) -> dict[str, Any]:
    return {
        "item_id": point.item.item_id,
        "item_name": point.item.name,
        "store_id": point.shop.store_id,
        "store_name": point.shop.name,
        "price_in_cents": point.cents,
        "currency": CURRENCY,
        "observed_at": iso(point.observed_ms),
    }
