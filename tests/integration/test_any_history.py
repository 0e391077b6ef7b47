"""Whatever happens, in whatever order, over either transport: what a client has is what the inbox has."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifyd import messages
from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from notifyd.messages import STATE_RANK, Cursor, parse_cursor
from notifyd.service import Service, open_service

USERS = ("ann", "bob")
TRANSPORTS = ("websocket", "sse")
RANKS: dict[str, int] = {str(state): rank for state, rank in STATE_RANK.items()}
#: So small that nearly every history overflows it, and so do pages and the kernel's buffers.
WINDOW_ENTRIES = 6
SIZES = (5, 5, 60_000)
MAX_ROWS = 30

Publish = tuple[str, str | None, int, int]
_publish = st.tuples(
    st.just("publish"), st.sampled_from([*USERS, None]), st.integers(1, 20), st.sampled_from(SIZES)
)
_client = st.sampled_from([0, 1, 2])
_steps = st.lists(
    st.one_of(
        _publish,
        st.tuples(st.just("connect"), _client, st.sampled_from(TRANSPORTS)),
        st.tuples(st.just("disconnect"), _client),
        st.tuples(st.just("read"), _client, st.integers(1, 5)),
        st.tuples(st.just("mark"), _client, st.sampled_from(["seen", "read", "archived"]), st.booleans()),
        st.tuples(st.just("withdraw")),
        st.tuples(st.just("trim")),
        st.tuples(st.just("restart")),
    ),
    min_size=4,
    max_size=25,
)


@dataclass
class Tab:
    """A client application: what it was shown, by the rules of docs/protocol.md."""

    user_id: str
    cursor: str | None = None
    states: dict[str, str] = field(default_factory=dict)  # notification_id → state, in order of arrival
    seqs: dict[str, int] = field(default_factory=dict)
    stream: Any = None

    async def connect(self, service: Service, connect: Any, nursery: trio.Nursery) -> None:
        await self.disconnect()
        self.stream = await connect(nursery, service.url, self.user_id, self.cursor)
        if not self.stream.hello["recovered"]:
            await self._start_over(service)

    async def _start_over(self, service: Service) -> None:
        """No continuity: take the truth from the inbox, up to where this stream begins."""
        begin = parse_cursor(self.stream.hello["cursor"])
        assert begin is not None
        self.cursor = self.stream.hello["cursor"]
        self.states, self.seqs = {}, {}
        for item in reversed(await inbox_of(service, self.user_id)):
            cursor = parse_cursor(item["id"])
            assert cursor is not None
            if cursor.seq <= begin.seq:
                self.states[item["data"]["notification_id"]] = item["state"]
                self.seqs[item["data"]["notification_id"]] = cursor.seq

    async def disconnect(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()
        self.stream = None

    async def read(self) -> None:
        entry = await self.stream.next_entry()
        cursor, last = parse_cursor(entry["id"]), parse_cursor(self.cursor or "")
        assert cursor is not None
        assert last is None or cursor.seq > last.seq, f"{entry['id']} came after {self.cursor}"
        self.cursor = entry["id"]
        self.apply(entry, cursor)

    def apply(self, entry: dict[str, Any], cursor: Cursor) -> None:
        data = entry["data"]
        if entry["type"] != "notification-updated":
            assert data["notification_id"] not in self.states, "shown twice"
            self.states[data["notification_id"]] = "unread"
            self.seqs[data["notification_id"]] = cursor.seq
            return
        up_to = parse_cursor(data.get("up_to", ""))
        for notification_id in list(self.states):
            named = notification_id in data.get("notification_ids", ())
            if named or (up_to is not None and self.seqs[notification_id] <= up_to.seq):
                self._raise(notification_id, data["state"])

    def _raise(self, notification_id: str, state: str) -> None:
        if RANKS[state] > RANKS[self.states[notification_id]]:
            self.states[notification_id] = state
        if state == "withdrawn":
            del self.states[notification_id]


async def inbox_of(service: Service, user_id: str) -> list[dict[str, Any]]:
    """All that GET /v1/notifications lists, newest first, page by page."""
    items: list[dict[str, Any]] = []
    secret = service.config.jwt_secret
    assert secret is not None
    token = mint_token(secret.get_secret_value(), user_id, now_ms=wall_ms(), ttl_s=60)
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False, timeout=20) as http:
        before = ""
        while True:
            answer = await http.get(
                "/v1/notifications",
                params={"limit": "7"} | ({"before": before} if before else {}),
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()["notifications"]
            items += page
            if len(page) < 7:
                return items
            before = page[-1]["id"]


class World:
    """A service and three tabs, driven step by step."""

    nursery: trio.Nursery

    def __init__(self, make_config: Any, connectors: Any) -> None:
        self._make_config = make_config
        self._connectors = connectors
        self.tabs = [Tab("ann"), Tab("ann"), Tab("bob")]
        self.published: list[str] = []

    async def run(self, steps: list[Any], database_url: str) -> None:
        config = self._make_config(database_url=database_url, max_rows_per_user=MAX_ROWS, drain_seconds=0)
        lives: list[list[Any]] = [[]]
        for step in steps:
            if step[0] == "restart":
                lives.append([])
            else:
                lives[-1].append(step)
        for number, life in enumerate(lives):
            async with (
                open_service(config, window_entries=WINDOW_ENTRIES) as service,
                trio.open_nursery() as self.nursery,
            ):
                if number == 0:
                    for index in range(len(self.tabs)):
                        await self._connect(service, index, TRANSPORTS[index % 2])
                for step in life:
                    await getattr(self, f"_{step[0]}")(service, *step[1:])
                if number == len(lives) - 1:
                    await self._settle(service)
                for tab in self.tabs:
                    await tab.disconnect()

    async def _publish(self, service: Service, user_id: str | None, count: int, size: int) -> None:
        for _ in range(count):
            draft = messages.custom("x-step", {"text": "x" * size})
            if user_id is None:
                receipt = await service.broadcast(draft)
            else:
                receipt = await service.notify_user(user_id, draft)
            self.published.append(receipt.notification_id)

    async def _connect(self, service: Service, tab: int, transport: str) -> None:
        await self.tabs[tab].connect(service, self._connectors[transport], self.nursery)

    async def _disconnect(self, service: Service, tab: int) -> None:
        await self.tabs[tab].disconnect()

    async def _read(self, service: Service, tab: int, count: int) -> None:
        """Read at most `count` of the entries that are on their way for certain."""
        reader = self.tabs[tab]
        if reader.stream is None:
            return
        cursor = parse_cursor(reader.cursor or reader.stream.hello["cursor"])
        assert cursor is not None
        page = await service.inbox.page(reader.user_id, cursor.seq)
        for _ in range(min(count, len(page.entries))):
            await reader.read()

    async def _mark(self, service: Service, tab: int, state: Any, all_of_them: bool) -> None:
        marking = self.tabs[tab]
        listed = await inbox_of(service, marking.user_id)
        if not listed:
            return
        if all_of_them:
            await service.inbox.mark(marking.user_id, state, up_to=service.inbox.head)
        else:
            ids = [item["data"]["notification_id"] for item in listed[:2]]
            await service.inbox.mark(marking.user_id, state, notification_ids=ids)

    async def _withdraw(self, service: Service) -> None:
        listed = {item["data"]["notification_id"] for user in USERS for item in await inbox_of(service, user)}
        for notification_id in sorted(listed & set(self.published))[:1]:
            await service.inbox.withdraw(notification_id)

    async def _trim(self, service: Service) -> None:
        await service.inbox.trim()

    async def _settle(self, service: Service) -> None:
        """Everybody comes (back) and reads to the end; then client and inbox must agree."""
        for number, tab in enumerate(self.tabs):
            if tab.stream is None:
                await tab.connect(service, self._connectors[TRANSPORTS[number % 2]], self.nursery)
        fence = await service.broadcast(messages.custom("x-fence", {}))
        for tab in self.tabs:
            while tab.cursor != f"{service.inbox.epoch}-{fence.seq}":
                await tab.read()
            listed = {
                item["data"]["notification_id"]: item["state"]
                for item in await inbox_of(service, tab.user_id)
            }
            kept = {key: state for key, state in tab.states.items() if key in listed}
            assert kept == listed
            assert list(kept) == list(reversed(listed)), "in the order of the log"


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_steps)
def test_a_client_ends_with_what_the_inbox_lists(
    steps: list[Any], make_config: Any, connectors: Any, new_database: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder, new_database(Path(folder)) as url:

        async def scenario() -> None:
            with trio.fail_after(60):
                await World(make_config, connectors).run(steps, url)

        trio.run(scenario)
