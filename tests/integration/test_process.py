"""`notifyd serve` as a process of its own: starting, stopping, being killed, and what is left then."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from notifyd.service import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

KEY = "publish-key-of-the-tests"
SECRET = "integration-secret-integration-secret"
USERS = 10


class Server:
    """One life of the process."""

    def __init__(self, process: trio.Process, url: str) -> None:
        self.process = process
        self.url = url

    def client(self, bearer: str = KEY) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {bearer}"}, trust_env=False, timeout=20
        )

    async def stop(self, *signals: int) -> int:
        """Send the signals and wait for the end."""
        for number in signals:
            self.process.send_signal(number)
        with trio.fail_after(30):
            return await self.process.wait()


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")}
    return clean | {
        "NOTIFYD_JWT_SECRET": SECRET,
        "NOTIFYD_PUBLISH_KEYS": KEY,
        "NOTIFYD_LISTEN": "127.0.0.1:0",
        "NOTIFYD_DATABASE_URL": database_url,
        "NOTIFYD_DRAIN_SECONDS": "0.5",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """Starts `notifyd serve`; it is killed at the end of the block if it still runs."""

    @asynccontextmanager
    async def run(**settings: str) -> AsyncIterator[Server]:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "notifyd", "serve"],
            env=environment | settings,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Server(process, await _first_line(process))
        finally:
            if process.poll() is None:
                process.kill()
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()

    return run


async def _first_line(process: trio.Process) -> str:
    """The address of `listening on ADDRESS`."""
    assert process.stdout is not None
    line = b""
    with trio.fail_after(30):
        while not line.endswith(b"\n"):
            part = await process.stdout.receive_some(1000)
            assert part, "the server ended before it listened"
            line += part
    words = line.decode().split()
    assert words[:2] == ["listening", "on"]
    return words[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_stops_kindly(start: Any, open_stream: Any, number: int) -> None:
    async with start() as server, open_stream(server.url, "ann") as stream:
        async with server.client() as client:
            assert (await client.get("/readyz")).status_code == 200
        async with trio.open_nursery() as nursery:
            kinds: list[str] = []

            async def watch() -> None:
                while "reconnect" not in kinds:
                    kinds.append((await stream.receive())["type"])

            nursery.start_soon(watch)
            assert await server.stop(number) == 0
        assert kinds[-1] == "reconnect"


async def test_clients_that_never_read_do_not_hold_it_up(start: Any, connectors: Any) -> None:
    async with start() as server, trio.open_nursery() as nursery:
        streams = [await connectors[name](nursery, server.url, "ann") for name in ("websocket", "sse")]
        text = "x" * 40_000
        body = {"notifications": [{"broadcast": True, "type": "x-big", "data": {"text": text}}] * 60}
        async with server.client() as client:
            for _ in range(4):
                assert (await client.post("/v1/notifications", json=body)).status_code == 201
        assert await server.stop(signal.SIGTERM) == 0
        for stream in streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_second_signal_makes_it_hurry(start: Any, open_stream: Any) -> None:
    async with start(NOTIFYD_DRAIN_SECONDS="200") as server, trio.open_nursery() as nursery:

        async def hold() -> None:
            try:
                async with open_stream(server.url, "ann") as stream:
                    task_started.set()
                    while True:
                        await stream.receive()
            except Exception:
                return

        task_started = trio.Event()
        for _ in range(3):
            nursery.start_soon(hold)
        await task_started.wait()
        assert await server.stop(signal.SIGINT, signal.SIGTERM) == 0
        nursery.cancel_scope.cancel()


async def test_two_servers_cannot_share_a_database(
    start: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    async with start():
        second = await trio.run_process(
            [sys.executable, "-m", "notifyd", "serve"],
            env=environment,
            cwd=tmp_path,
            check=False,
            capture_stdout=True,
            capture_stderr=True,
        )
    assert second.returncode == 2
    assert second.stdout == b""
    assert "another" in second.stderr.decode().lower()
    assert "Traceback" not in second.stderr.decode()


async def test_what_was_answered_survives_a_kill(start: Any, token: Any) -> None:
    acknowledged: list[str] = []

    async def publish(server: Server, worker: int) -> None:
        async with server.client() as client:
            for number in range(10_000):
                body = {"user_id": "ann", "type": "x-n", "data": {"worker": worker, "number": number}}
                try:
                    answer = await client.post("/v1/notifications", json=body)
                except httpx2.HTTPError:
                    return
                assert answer.status_code == 201
                acknowledged.append(answer.json()["notification_id"])
                if number == 10:
                    well_under_way.set()

    for life in range(3):
        async with start() as server, trio.open_nursery() as nursery:
            well_under_way = trio.Event()
            for worker in range(4):
                nursery.start_soon(publish, server, 10 * life + worker)
            await well_under_way.wait()
            assert await server.stop(signal.SIGKILL) == -signal.SIGKILL
    async with start() as server, server.client(token("ann")) as ann:
        stored: list[str] = []
        cursor = None
        while True:
            page = (
                await ann.get(
                    "/v1/notifications", params={"limit": "500"} | ({"before": cursor} if cursor else {})
                )
            ).json()["notifications"]
            stored += [item["data"]["notification_id"] for item in page]
            if len(page) < 500:
                break
            cursor = page[-1]["id"]
    assert set(acknowledged) <= set(stored)
    assert len(set(stored)) == len(stored)
    assert len(stored) <= len(acknowledged) + 3 * 4, "at most what was under way at each kill"


def _prices_file(path: Path) -> None:
    """40 weeks, 6 stores, 5 items; every item is on sale now and then, in one store after the other."""
    rows = ["week,store,item_id,item,cents"]
    for week in range(1, 41):
        for store in range(1, 7):
            for item in range(1, 6):
                sale = (week + 2 * store + 3 * item) % 9 == 0
                cents = (200 + 10 * item + store) * (70 if sale else 100) // 100
                rows.append(f"{week},{store},i{item},Item {item},{cents}")
    path.write_text("\n".join(rows) + "\n")


async def _deals(server: Server, token: Any) -> list[tuple[Any, ...]]:
    """Who was told of which deal: user, item, store, price and when it was observed."""
    found = []
    for number in range(USERS):
        async with server.client(token(f"u{number}")) as client:
            page = (await client.get("/v1/notifications", params={"limit": "500"})).json()
            assert len(page["notifications"]) < 500
            for item in page["notifications"]:
                assert "more_deals" not in item["data"]
                found += [
                    (f"u{number}", d["item_id"], d["store_id"], d["best_price_in_cents"], d["observed_at"])
                    for d in item["data"]["deals"]
                ]
    return sorted(found, key=repr)


@pytest.fixture
def import_prices(environment: dict[str, str], tmp_path: Path) -> Callable[[Server], Any]:
    """Runs `notifyd import-prices` on 1,200 prices and gives its exit code."""
    file = tmp_path / "prices.csv"
    _prices_file(file)
    options = ["--map", "store_id=store", "--map", "item_name=item", "--map", "price_in_cents=cents"]
    options += ["--set", "currency=USD", "--observed-at", "week", "--week-one", "2026-01-05"]

    async def run(server: Server) -> int:
        done = await trio.run_process(
            [sys.executable, "-m", "notifyd", "import-prices", str(file), *options],
            env=environment | {"NOTIFYD_URL": server.url, "NOTIFYD_KEY": KEY},
            cwd=tmp_path,
            check=False,
            capture_stdout=True,
            capture_stderr=True,
        )
        return done.returncode

    return run


async def _watch(server: Server) -> None:
    """Each user watches an item; one of them the fence, a price that is stored after all others."""
    drop = {"type": "percent_drop", "percent": 15, "baseline": "median_30d", "cooldown_s": 0}
    watches = [(f"u{n}", {"item_id": f"i{n % 5 + 1}", "rule": drop}) for n in range(USERS)]
    fence = {"item_id": "fence", "rule": {"type": "target_price", "price_in_cents": 100}}
    async with server.client() as client:
        for user_id, watch in [*watches, ("fence", fence)]:
            answer = await client.put("/v1/watches/w", params={"user_id": user_id}, json=watch)
            assert answer.is_success, answer.text


async def _everything_checked(server: Server, openers: Any) -> None:
    """Runs are checked in order: once the fence's deal is told, so are those of all prices before it."""
    price = {"item_id": "fence", "item_name": "Fence", "store_id": 1, "store_name": "S"}
    price |= {"price_in_cents": 99, "currency": "USD"}
    async with openers["sse"](server.url, "fence") as stream, server.client() as client:
        assert (await client.post("/v1/prices", json={"prices": [price]})).is_success
        await stream.next_entry()


async def test_an_import_that_is_killed_and_repeated_tells_the_same_deals_once(
    start: Any, import_prices: Any, openers: Any, token: Any, tmp_path: Path
) -> None:
    async with start(NOTIFYD_DATABASE_URL=f"sqlite:///{tmp_path}/calm.db") as server:
        await _watch(server)
        assert await import_prices(server) == 0
        await _everything_checked(server, openers)
        calm = await _deals(server, token)
    async with start() as server:
        await _watch(server)
        async with trio.open_nursery() as nursery, openers["websocket"](server.url, "u0") as stream:
            nursery.start_soon(import_prices, server)
            await stream.next_entry()
            await server.stop(signal.SIGKILL)
            nursery.cancel_scope.cancel()
    async with start() as server:
        assert await import_prices(server) == 0
        await _everything_checked(server, openers)
        stormy = await _deals(server, token)
    assert len(calm) > 50
    assert stormy == calm
    assert len(set(stormy)) == len(stormy)


async def test_a_full_collection_passes_over_what_lives_as_long_as_the_server(make_config: Any) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, make_config())
            assert gc.get_freeze_count() > 10_000
            nursery.cancel_scope.cancel()
    finally:
        gc.unfreeze()
