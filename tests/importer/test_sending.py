"""Batches: what goes in together, what becomes of it, and which line it was."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.errors import ConfigError, Unavailable
from notifyd.importer import Progress, Summary, import_prices, make_spec

if TYPE_CHECKING:
    from pathlib import Path

    from notifyd.importer.rows import Spec

HEADER = "item_id,item_name,store_id,price_in_cents,currency,observed_at\n"


class FakeServer:
    """Knows which rows it has; rejects the items named."""

    def __init__(self, *rejects: str) -> None:
        self._rejects = rejects
        self.known: set[str] = set()
        self.bodies: list[bytes] = []

    async def post(self, body: bytes) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.bodies.append(body)
        rows = json.loads(body)["prices"]
        bad = [at for at, row in enumerate(rows) if row["item_id"] in self._rejects]
        good = {json.dumps(row) for at, row in enumerate(rows) if at not in bad}
        added = len(good - self.known)
        self.known |= good
        rejected = [{"index": at, "reason": "no"} for at in bad]
        return {"accepted": len(rows) - len(bad), "rejected": rejected, "added": added}

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        return [json.loads(body)["prices"] for body in self.bodies]


class Import:
    """Runs imports of one file and keeps what they told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.progress: list[Progress] = []

    async def run(self, server: FakeServer, spec: Spec | None = None) -> Summary:
        return await import_prices(
            self.path,
            spec or make_spec(),
            server.post,
            on_bad=lambda line, reason: self.bad.append((line, reason)),
            on_note=self.notes.append,
            on_progress=self.progress.append,
        )


def lines(count: int, day: int = 1, start: int = 0) -> str:
    return "".join(f"i{start + n},Milk,2,387,USD,2026-01-{day:02d}\n" for n in range(count))


async def test_batches_keep_the_order_and_never_mix_times(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(1500, 1) + lines(3, 2, 1500) + lines(2, 1, 1503))
    server = FakeServer()
    assert await Import(path).run(server) == Summary(1505, 1505, 0, 0)
    assert [len(batch) for batch in server.batches] == [1000, 500, 3, 2]
    assert [row["item_id"] for batch in server.batches for row in batch] == [f"i{n}" for n in range(1505)]
    assert all(len({row["observed_at"] for row in batch}) == 1 for batch in server.batches)


async def test_batches_stay_below_the_servers_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    url = "https://h/" + "x" * 1900
    row = {
        "item_name": "M",
        "store_id": 1,
        "price_in_cents": 1,
        "currency": "USD",
        "url": url,
        "image_url": url,
    }
    path.write_text(
        "\n".join(json.dumps(row | {"item_id": n, "observed_at": "2026-01-01"}) for n in range(1000))
    )
    server = FakeServer()
    assert (await Import(path).run(server)).added == 1000
    assert len(server.bodies) == 2
    assert max(map(len, server.bodies)) < 4 * 1024 * 1024


async def test_bad_rows_are_told_with_their_lines_and_the_good_ones_go_in(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(2) + "x,Milk,2,3.99,USD,2026-01-01\n" + lines(3, start=2))
    task = Import(path)
    assert await task.run(FakeServer("i3")) == Summary(6, 4, 0, 2)
    assert task.bad[0][0] == 4
    assert "--decimals 2" in task.bad[0][1]
    assert task.bad[1] == (6, "no")


async def test_importing_again_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(1200))
    server, task = FakeServer(), Import(path)
    assert await task.run(server) == Summary(1200, 1200, 0, 0)
    assert await task.run(server) == Summary(1200, 0, 1200, 0)


async def test_another_import_is_another_body(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(1))
    server, task = FakeServer(), Import(path)
    await task.run(server)
    await task.run(server)
    first, second = server.bodies
    assert first != second
    assert first.strip() == second.strip()


async def test_a_file_without_times_counts_as_observed_when_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("item_id,item_name,store_id,price_in_cents,currency\n" + "a,Milk,2,387,USD\n" * 3)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    server, task = FakeServer(), Import(path)
    assert (await task.run(server)).added == 1
    assert server.batches[0][0]["observed_at"] == "2023-11-14T22:13:20.000Z"
    assert len(task.notes) == 1
    assert "2023-11-14T22:13:20.000Z" in task.notes[0]
    assert (await task.run(server)).added == 0


async def test_a_file_from_the_future_counts_as_observed_now(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("item_id,item_name,store_id,price_in_cents,currency\na,Milk,2,387,USD\n")
    os.utime(path, (32_503_680_000, 32_503_680_000))
    server = FakeServer()
    await Import(path).run(server)
    assert server.batches[0][0]["observed_at"] < "3000"


async def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(2500))
    task = Import(path)
    await task.run(FakeServer())
    assert [progress.rows for progress in task.progress] == sorted(
        progress.rows for progress in task.progress
    )
    last = task.progress[-1]
    assert (last.rows, last.position) == (2500, last.size)


async def test_a_file_that_makes_no_sense_is_a_bare_config_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="item_id"):
        await Import(path).run(FakeServer())


async def test_a_server_that_fails_is_a_bare_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(5000))

    class Failing(FakeServer):
        async def post(self, body: bytes) -> dict[str, Any]:
            if len(self.bodies) == 2:
                raise Unavailable("gone")
            return await super().post(body)

    server = Failing()
    with pytest.raises(Unavailable, match="gone"):
        await Import(path).run(server)
    assert len(server.bodies) == 2


async def test_only_a_few_batches_are_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(HEADER + lines(9000))
    ahead = []

    class Slow(FakeServer):
        async def post(self, body: bytes) -> dict[str, Any]:
            await trio.testing.wait_all_tasks_blocked()
            ahead.append(task.progress[-1].rows - 1000 * len(self.bodies))
            return await super().post(body)

    task = Import(path)
    await task.run(Slow())
    assert max(ahead) <= 4000
