"""How the feed reaches a server: what is said, in which order, and what a failure changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from notifyd.demo.feed import MAX_MISSED_TICKS, TICK_MS, changes
from notifyd.demo.folder import HEAD_START_TICKS, DemoFolder, open_folder
from notifyd.demo.people import PEOPLE
from notifyd.demo.player import Player

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_MS = 1_780_000_000_000


class Server:
    """Remembers what it is told; `answers` are given first, then 202 for everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.answers: list[int | Exception] = []

    async def handle(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return httpx2.Response(answer)
        self.calls.append((request.method, request.url.raw_path.decode(), json.loads(request.content)))
        return httpx2.Response(202)

    def batches(self) -> list[list[dict[str, Any]]]:
        return [body["prices"] for _, path, body in self.calls if path == "/v1/prices"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DemoFolder]:
    with open_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def player(folder: DemoFolder, server: Server) -> Player:
    """Its clock is Trio's, from START_MS on."""
    client = httpx2.AsyncClient(base_url=folder.address, transport=httpx2.MockTransport(server.handle))
    return Player(client, folder, _clock())


def _clock() -> Callable[[], int]:
    """Milliseconds since 1970, from START_MS when it is first asked."""
    begun: list[float] = []

    def clock() -> int:
        begun.append(trio.current_time())
        return START_MS + round((trio.current_time() - begun[0]) * 1000)

    return clock


async def test_the_first_start_tells_history_before_watches(
    autojump_clock: trio.testing.MockClock, player: Player, server: Server, folder: DemoFolder
) -> None:
    await player.prepare()
    method, path, body = server.calls[0]
    assert (method, path) == ("POST", "/v1/prices")
    assert all(price["observed_at"] < "2026-05-29" for price in body["prices"])
    watches = [call for call in server.calls[1:] if call[1].startswith("/v1/watches/")]
    assert len(watches) == sum(len(who.watches) for who in PEOPLE)
    assert ("PUT", "/v1/watches/demo-eggs?user_id=chika") in {call[:2] for call in watches}
    assert folder.state.begun_ms == START_MS - HEAD_START_TICKS * TICK_MS


async def test_the_next_start_does_not(player: Player, server: Server, folder: DemoFolder) -> None:
    folder.update(begun_ms=START_MS)
    await player.prepare()
    assert server.calls == []


async def test_ticks_that_were_due_are_played_with_their_own_times(
    autojump_clock: trio.testing.MockClock, player: Player, server: Server, folder: DemoFolder
) -> None:
    folder.update(begun_ms=START_MS - 10 * TICK_MS, played=3)
    assert await player.catch_up() == 7
    assert folder.state.played == 10
    expected = [changes(folder.state.seed, tick, START_MS + (tick - 10) * TICK_MS) for tick in range(4, 11)]
    told = [[(price["item_id"], price["price_in_cents"]) for price in batch] for batch in server.batches()]
    assert told == [[(point.item.item_id, point.cents) for point in tick] for tick in expected if tick]
    assert await player.catch_up() == 0


async def test_a_long_pause_is_not_played_in_full(
    autojump_clock: trio.testing.MockClock, player: Player, folder: DemoFolder
) -> None:
    folder.update(begun_ms=START_MS - 10_000 * TICK_MS, played=3)
    assert await player.catch_up() == MAX_MISSED_TICKS
    assert folder.state.played == 10_000


async def test_a_tick_every_second_and_a_half(
    autojump_clock: trio.testing.MockClock, player: Player, folder: DemoFolder
) -> None:
    folder.update(begun_ms=START_MS)
    with trio.move_on_after(15.1):
        await player.run()
    assert folder.state.played == 10


@pytest.mark.parametrize("fault", [503, httpx2.ConnectError("refused")])
async def test_what_failed_is_said_again(
    autojump_clock: trio.testing.MockClock,
    player: Player,
    server: Server,
    folder: DemoFolder,
    fault: int | Exception,
) -> None:
    folder.update(begun_ms=START_MS - 10 * TICK_MS)
    server.answers = [fault, fault]
    await player.catch_up()
    assert folder.state.played == 10
    assert len(server.batches()) == sum(bool(changes(folder.state.seed, tick, 0)) for tick in range(11))


async def test_a_refusal_is_not_repeated(player: Player, server: Server, folder: DemoFolder) -> None:
    server.answers = [422]
    with pytest.raises(httpx2.HTTPStatusError):
        await player.prepare()
    assert folder.state.begun_ms is None


async def test_an_announcement_goes_to_everyone(player: Player, server: Server) -> None:
    await player.announce("Closed at noon", "warning")
    data = {"message": "Closed at noon", "severity": "warning", "critical": False}
    assert server.calls == [
        ("POST", "/v1/notifications", {"type": "system-message", "data": data, "broadcast": True})
    ]
