"""A simulated server with its tabs and publishers, driven step by step and compared with the model."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from notifyd.testing import Answer, Ended, FakeWebSocket, Refused, Simulation, call, connect_fake
from tests.simulation.model import RANKS, Model, Row
from tests.simulation.seat import Seat
from tests.simulation.tab import Tab, seq_of

if TYPE_CHECKING:
    from collections.abc import Sequence

USERS = ("ann", "bob")
#: Settings under which windows overflow, rows are too many and old ones expire within a few steps.
SETTINGS: dict[str, Any] = {
    "window_entries": 6,
    "max_rows_per_user": 12,
    "retention_days": 0.001,
    "heartbeat_seconds": 10,
    "pong_seconds": 4,
}
KEEP = SETTINGS["max_rows_per_user"]
RETENTION_MS = round(SETTINGS["retention_days"] * 86_400_000)
#: Virtual seconds within which everything that was published must have been shown.
PATIENCE_S = 120.0
COLUMNS = "seq, notification_id, user_id, created_ms, expires_ms, data"
GONE = (Ended, OSError)


class World:
    """Every public coroutine is a step. A violated promise raises AssertionError."""

    def __init__(self, sim: Simulation, nursery: trio.Nursery) -> None:
        self.sim, self._nursery = sim, nursery
        self.model = Model(USERS, KEEP)
        self.seats = [
            Seat(Tab(name, name[:3], self.model, self._look, sim.clock)) for name in ("ann1", "ann2", "bob1")
        ]
        self.published: list[tuple[str, dict[str, Any]]] = []  # value and body
        self.receipts: dict[str, str] = {}  # value → notification_id, of what was acknowledged
        self.acked = 0  # highest seq that a publisher was told
        self.kills = 0
        self._log: sqlite3.Connection
        self._killing = False

    @property
    def shown(self) -> int:
        return sum(seat.tab.shown for seat in self.seats)

    async def begin(self) -> None:
        await self.sim.start()
        path = self.sim.config.database_url.removeprefix("sqlite:///")
        self._log = sqlite3.connect(path)
        for number, seat in enumerate(self.seats):
            await self._connect(seat, ("websocket", "sse")[number % 2], None)
        await trio.sleep(2)  # until it is written that they have appeared

    # --- steps ----------------------------------------------------------------------------------------------

    async def publish(self, to: str | None, size: int = 5, lifetime_s: float | None = None) -> None:
        value = f"v{len(self.published)}"
        body: dict[str, Any] = {"type": "x-step", "data": {"value": value, "pad": "x" * size}}
        body |= {"broadcast": True} if to is None else {"user_id": to}
        body |= {} if lifetime_s is None else {"expires_in_s": lifetime_s}
        self.published.append((value, body))
        self.model.asked[value] = to
        await self._post(value, body)

    async def repeat(self, back: int) -> None:
        """Publish something again, with its key."""
        if self.published:
            await self._post(*self.published[-1 - back % len(self.published)])

    async def connect(self, tab: int, transport: str, where: str) -> None:
        seat = self.seats[tab]
        epoch = self.sim.service.inbox.epoch
        cursors = {
            "on": seat.tab.cursor,
            "nowhere": None,
            "before": f"{epoch}-{max(seat.tab.position - 4, 0)}",
            "beginning": f"{epoch}-0",
            "future": f"{epoch}-{self.model.head + 100}",
            "other": f"0123456789abcdef-{seat.tab.position}",
            "garbage": "x-y",
        }
        await self._leave(seat)
        await self._connect(seat, transport, cursors[where])

    async def leave(self, tab: int) -> None:
        await self._leave(self.seats[tab])

    async def stall(self, tab: int) -> None:
        self.seats[tab].stall()

    async def wake(self, tab: int) -> None:
        self.seats[tab].awake.set()

    async def overflow(self, tab: int, count: int) -> None:
        """More than the sockets and the window hold, for a tab that does not read."""
        self.seats[tab].stall()
        for _ in range(count):
            await self.publish(self.seats[tab].tab.user, size=9_000)

    async def ack(self, tab: int) -> None:
        seat = self.seats[tab]
        if seat.tab.cursor is None:
            return
        if isinstance(seat.client, FakeWebSocket):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await seat.client.say("ack", up_to=seat.tab.cursor)
        else:
            await self._as_user(seat.tab.user, "ack", {"up_to": seat.tab.cursor})

    async def mark(self, tab: int, state: str, wanted: int | None) -> None:
        """`wanted`: so many of the newest; None: all up to where the tab is."""
        seat = self.seats[tab]
        user = seat.tab.user
        body: dict[str, Any] = {"state": state}
        if wanted is None:
            body["up_to"] = f"{self.sim.service.inbox.epoch}-{seat.tab.position}"
            self.model.changes.append((user, state, seat.tab.position))
        else:
            body["notification_ids"] = [
                name for name, _ in self.model.inbox(user, self.sim.clock())[-wanted:]
            ]
            if not body["notification_ids"]:
                return
            self.model.changes.append((user, state, set(body["notification_ids"])))
        if isinstance(seat.client, FakeWebSocket):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await seat.client.say("mark", **body)
        else:
            await self._marked(user, body)

    async def withdraw(self, back: int) -> None:
        if not self.receipts:
            return
        name = list(self.receipts.values())[-1 - back % len(self.receipts)]
        self.model.changes.append((None, "withdrawn", {name}))
        answer = await self._try("DELETE", f"/v1/notifications/{name}", self.sim.publish_key)
        if answer is not None and answer.status == 204:
            self._look()
            (row,) = [row for row in self.model.rows if row.notification_id == name]
            readers = USERS if row.user is None else (row.user,)
            assert all(row.ranks.get(user) == RANKS["withdrawn"] for user in readers), f"{row} was withdrawn"

    async def trim(self) -> None:
        await self.sim.service.inbox.trim()
        self._look()
        for user in USERS:
            own = [row for row in self.model.rows if row.user == user and not row.trimmed]
            assert len(own) <= KEEP, f"{len(own)} rows of {user}"

    async def wait(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def weather(self, latency_s: float, cut_chance: float) -> None:
        self.sim.network.weather.latency_s = latency_s
        self.sim.network.weather.cut_chance = cut_chance

    async def at_once(self, steps: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Several steps, beside each other."""
        async with trio.open_nursery() as nursery:
            for name, given in steps:
                nursery.start_soon(self._later, name, given)

    async def kill(
        self, point: str, count: int, of: str, steps: Sequence[tuple[str, dict[str, Any]]]
    ) -> None:
        """Kill the server while it is asked for these things, or right after; and start it again."""
        self._killing = True
        if point != "now":
            self.sim.kill_at(point, count, of)  # type: ignore[arg-type]
        await self.at_once(steps)
        await self.sim.kill()
        self.kills += 1
        self._killing = False
        await self.sim.start()
        self._look()

    async def restart(self) -> None:
        """Stop it as a deployment does, and start it again."""
        self._killing = True
        await self.sim.stop()
        self._killing = False
        await self.sim.start()
        self._look()

    async def settle(self) -> None:
        """Everybody comes back and reads to the end; then tabs, inbox and model must agree."""
        await self.weather(0.002, 0.1)
        for number, seat in enumerate(self.seats):
            seat.awake.set()
            if seat.client is None:
                await self._connect(seat, ("sse", "websocket")[number % 2], seat.tab.cursor)
        await self.publish(None)
        self._look()
        fence = self.model.head
        with trio.move_on_after(PATIENCE_S):
            while any(seat.tab.position < fence for seat in self.seats):
                await trio.sleep(0.1)
                await self._return(fence)
        late = [f"{seat.tab.name} at {seat.tab.position}" for seat in self.seats if seat.tab.position < fence]
        assert not late, f"{late} of {fence} after {PATIENCE_S:g} s"
        for seat in self.seats:
            await self._compare(seat.tab)

    # --- inside ---------------------------------------------------------------------------------------------

    async def _later(self, name: str, given: dict[str, Any]) -> None:
        await trio.sleep(self.sim.rng.random() * 0.03)
        await getattr(self, name)(**given)

    async def _return(self, fence: int) -> None:
        """Tabs that were sent away meanwhile, as those are who find a part of the log trimmed."""
        for seat in self.seats:
            if seat.client is None and seat.tab.position < fence:
                await self._connect(seat, "websocket", seat.tab.cursor)

    async def _connect(self, seat: Seat, transport: str, cursor: str | None) -> None:
        tab, acked = seat.tab, self.acked
        try:
            client = await connect_fake(transport, self.sim.dial, self.sim.token(tab.user), cursor)
        except (*GONE, Refused) as error:
            assert self._killing, f"{tab.name} was not let in: {error!r}"
            return
        seat.client = client
        if not tab.begin(cursor, client.hello, self.sim.service.inbox.epoch, acked):
            try:
                tab.start_over(await self._listed(tab.user))
            except GONE:
                assert self._killing
                tab.cursor = None
        self._nursery.start_soon(seat.read, client)

    async def _leave(self, seat: Seat) -> None:
        client, seat.client = seat.client, None
        if client is not None:
            await client.aclose()

    async def _post(self, value: str, body: dict[str, Any]) -> None:
        headers = (("Idempotency-Key", value),)
        answer = await self._try("POST", "/v1/notifications", self.sim.publish_key, body, headers)
        if answer is None or answer.status == 503:
            assert answer is None or self._killing, answer
            return
        assert answer.status in (200, 201), answer
        receipt = answer.json()
        name = self.receipts.setdefault(value, receipt["notification_id"])
        assert name == receipt["notification_id"], f"{value} became {name} and {receipt}"
        self._look()
        row = self.model.stored.get(value)
        assert row is not None, f"{value} was acknowledged and is not stored"
        assert (row.notification_id, row.seq) == (name, seq_of(receipt["id"])), receipt
        self.acked = max(self.acked, row.seq)

    async def _marked(self, user: str, body: dict[str, Any]) -> None:
        if await self._as_user(user, "mark", body):
            limit = int(body.get("up_to", "-0").rpartition("-")[2])
            low = [
                name
                for name, rank in self.model.inbox(user, self.sim.clock())
                if rank < RANKS[body["state"]]
                and (name in body.get("notification_ids", ()) or self._place(name) <= limit)
            ]
            assert not low, f"{low} were marked {body}"

    def _place(self, name: str) -> int:
        return next(row.seq for row in self.model.rows if row.notification_id == name)

    async def _as_user(self, user: str, what: str, body: dict[str, Any]) -> bool:
        answer = await self._try("POST", f"/v1/notifications/{what}", self.sim.token(user), body)
        self._look()
        assert answer is None or answer.status in (204, 404) or self._killing, answer
        return answer is not None and answer.status == 204

    async def _try(
        self, method: str, path: str, bearer: str, body: Any = None, headers: Any = ()
    ) -> Answer | None:
        """One call; None when the server died first."""
        try:
            return await call(self.sim.dial, method, path, bearer=bearer, body=body, headers=headers)
        except GONE as error:
            assert self._killing, f"{method} {path}: {error!r}"
            return None

    async def _listed(self, user: str) -> list[dict[str, Any]]:
        """All that GET lists, newest first."""
        items: list[dict[str, Any]] = []
        before = ""
        while True:
            path = f"/v1/notifications?limit=20{before}"
            answer = await call(self.sim.dial, "GET", path, bearer=self.sim.token(user))
            if answer.status != 200:
                assert self._killing, answer
                raise Ended(1006)
            page = answer.json()["notifications"]
            items += page
            if len(page) < 20:
                return items
            before = f"&before={page[-1]['id']}"

    async def _compare(self, tab: Tab) -> None:
        for tries_left in (3, 2, 1):  # something may expire, or a mark be written, between the two looks
            listed = [
                (item["data"]["notification_id"], RANKS[item["state"]])
                for item in await self._listed(tab.user)
            ]
            self._look()
            wanted = self.model.inbox(tab.user, self.sim.clock())
            assert listed[::-1] == wanted or tries_left > 1, f"{tab.user} has {listed[::-1]}, not {wanted}"
            if listed[::-1] == wanted:
                break
            await trio.sleep(1)
        names = dict(wanted)
        kept = [(name, rank) for name, rank in tab.ranks.items() if name in names]
        assert kept == wanted, f"{tab.name} against the inbox"

    def _look(self) -> None:
        """Bring the model up to what is committed, and to what was trimmed."""
        rows = self._log.execute(
            f"SELECT {COLUMNS} FROM notifications WHERE seq > ? ORDER BY seq", [self.model.head]
        )
        for seq, name, user, created, expires, data in rows.fetchall():
            self.model.take(Row(seq, name, user, created, expires, json.loads(data)))
        left = {seq for (seq,) in self._log.execute("SELECT seq FROM notifications")}
        self.model.trim(left, self.sim.clock() - RETENTION_MS)
