"""Lines become batches, and every outcome finds its line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from notifyd.cli.bulk import Bulk, publish_lines, words_of
from notifyd.cli.lines import BadLine, Line, Reader
from notifyd.errors import NotFound, OutcomeUnknown, Unavailable, Unprocessable
from notifyd.publisher import Published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.importer import Progress


def stored(body: dict[str, Any], *, repeated: bool = False) -> Published:
    return Published("e-1", str(body["idempotency_key"]), 0, repeated)


class Server:
    """Takes batches; a body that says `"fail"` gets that outcome."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.told: list[tuple[int, Any]] = []
        self.outcomes: dict[int, Any] = {}

    async def publish(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        self.batches.append([body["n"] for body in bodies])
        await trio.lowlevel.checkpoint()
        return [self.outcomes.get(body["n"], stored(body)) for body in bodies]

    def bulk(self) -> Bulk:
        return Bulk(self.publish, Reader(), lambda number, outcome: self.told.append((number, outcome)))


async def test_a_file_goes_in_order_and_in_full_batches(tmp_path: Path) -> None:
    file = tmp_path / "n.jsonl"
    file.write_text("".join(f'{{"n": {n}, "pad": "{"x" * 200}"}}\n' for n in range(5000)))
    server = Server()
    seen: list[Progress] = []
    bulk = server.bulk()
    await publish_lines(file, bulk, on_progress=seen.append)
    assert [n for batch in server.batches for n in batch] == list(range(5000))
    assert max(map(len, server.batches)) <= 1000
    assert str(bulk.counts) == "5,000 lines read: 5,000 stored new, 0 already there, 0 rejected"
    assert [number for number, _ in server.told] == list(range(1, 5001))
    assert (seen[-1].rows, seen[-1].position, seen[-1].size) == (
        5000,
        file.stat().st_size,
        file.stat().st_size,
    )


async def test_what_has_come_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    server = Server()
    with os.fdopen(ours) as stdin, trio.fail_after(20):
        monkeypatch.setattr("sys.stdin", stdin)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish_lines, Path("-"), server.bulk())
            os.write(theirs, b'{"n": 1}\n{"n": 2}\n{"n"')
            while server.batches != [[1, 2]]:  # noqa: ASYNC110 - the server is a plain list
                await trio.sleep(0.01)
            os.write(theirs, b": 3}")
            os.close(theirs)
    assert server.batches == [[1, 2], [3]]


async def test_a_pipe_that_nobody_writes_to_yet_holds_nothing_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    server = Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish_lines, pipe, server.bulk())
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(pipe.write_text, '{"n": 1}\n')
    assert server.batches == [[1]]


async def test_every_outcome_finds_its_line() -> None:
    server = Server()
    server.outcomes = {2: NotFound("no"), 4: Published("e-9", "x", 0, True)}
    bulk = server.bulk()
    await bulk.send(
        [Line(7, b'{"n": 1}'), Line(9, b"nonsense"), Line(10, b'{"n": 2}'), Line(12, b'{"n": 4}')]
    )
    assert [number for number, _ in server.told] == [7, 9, 10, 12]
    told = dict(server.told)
    assert isinstance(told[9], BadLine)
    assert isinstance(told[10], NotFound)
    assert told[12].repeated
    counts = bulk.counts
    assert (counts.read, counts.stored, counts.known, counts.rejected) == (4, 1, 1, 2)


@pytest.mark.parametrize("fault", [Unavailable("away"), OutcomeUnknown("away")])
async def test_a_server_that_stays_away_ends_it(fault: Any, tmp_path: Path) -> None:
    file = tmp_path / "n.jsonl"
    file.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    server = Server()
    server.outcomes = {2: fault}
    bulk = server.bulk()
    with pytest.raises(
        type(fault), match=r"stopped at line 2: away; 2 lines were stored; send the same again"
    ):
        await publish_lines(file, bulk)
    assert bulk.counts.stored == 2


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await publish_lines(tmp_path / "missing", Server().bulk())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Say exactly one - at `$.notifications[3]`", "Say exactly one"),
        ("Expected `str` - at `$.notifications[12].data.message`", "Expected `str` - at `$.data.message`"),
        ("plain", "plain"),
    ],
)
def test_the_place_is_the_lines_own(said: str, words: str) -> None:
    assert words_of(Unprocessable(said)) == words
