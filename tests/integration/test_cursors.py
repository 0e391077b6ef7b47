"""Forty kinds of cursor, each with the exact reply over WebSocket, SSE (header and query) and HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
import trio

from notifyd import messages
from notifyd.clock import wall_ms
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from notifyd.config import Config

DAY_MS = 86_400_000
#: The log of the test: up to here everything is trimmed, and here it ends.
FLOOR, HEAD = 6, 12
#: Ann's own entries and announcements above the floor; the others are Bob's.
ANNS = (7, 9, 10, 12)


class Kind(NamedTuple):
    """A cursor and the reply to it. `{epoch}` stands for the log's own."""

    name: str
    cursor: str
    reason: str | None
    entries: tuple[int, ...] = ()


def _valid(name: str, seq: int) -> Kind:
    return Kind(name, f"{{epoch}}-{seq}", None, tuple(each for each in ANNS if each > seq))


OTHER = "0123456789abcdef"
KINDS = [
    _valid("the head", HEAD),
    _valid("one below the head", HEAD - 1),
    _valid("at an entry of another user", 8),
    _valid("at an own entry", 9),
    _valid("one above the floor", FLOOR + 1),
    _valid("the floor", FLOOR),
    Kind("one below the floor", f"{{epoch}}-{FLOOR - 1}", "trimmed"),
    Kind("the first entry ever", "{epoch}-1", "trimmed"),
    Kind("the beginning", "{epoch}-0", "trimmed"),
    Kind("one past the head", f"{{epoch}}-{HEAD + 1}", "future"),
    Kind("far past the head", "{epoch}-1000000", "future"),
    Kind("the largest", f"{{epoch}}-{2**63 - 1}", "future"),
    Kind("too large for a seq", f"{{epoch}}-{2**63}", "malformed"),
    Kind("twenty digits", f"{{epoch}}-{10**19}", "malformed"),
    Kind("a hundred digits", "{epoch}-" + "9" * 100, "malformed"),
    Kind("another epoch", f"{OTHER}-{HEAD}", "other-epoch"),
    Kind("another epoch below the floor", f"{OTHER}-1", "other-epoch"),
    Kind("another epoch past the head", f"{OTHER}-99999", "other-epoch"),
    Kind("the epoch in capitals", "{EPOCH}-8", "other-epoch"),
    Kind("the epoch and one more", "{epoch}0-8", "other-epoch"),
    Kind("the epoch but for its end", "{epoch_cut}-8", "other-epoch"),
    Kind("a short epoch", "e-8", "other-epoch"),
    Kind("an epoch of 41 characters", "e" * 41 + "-8", "malformed"),
    Kind("the epoch alone", "{epoch}", "malformed"),
    Kind("the epoch and a dash", "{epoch}-", "malformed"),
    Kind("a number alone", "8", "malformed"),
    Kind("a dash and a number", "-8", "malformed"),
    Kind("minus one", "{epoch}--1", "malformed"),
    Kind("plus one", "{epoch}-+1", "malformed"),
    Kind("a leading zero", "{epoch}-08", "malformed"),
    Kind("a fraction", "{epoch}-8.0", "malformed"),
    Kind("an exponent", "{epoch}-1e1", "malformed"),
    Kind("hexadecimal", "{epoch}-0x8", "malformed"),
    Kind("three parts", "{epoch}-8-8", "malformed"),
    Kind("a space inside", "{epoch}- 8", "malformed"),
    Kind("null", "null", "malformed"),
    Kind("undefined", "undefined", "malformed"),
    Kind("JSON", '{{"seq":8}}', "malformed"),
    Kind("SQL", "{epoch}-8' OR 1=1 --", "malformed"),
    Kind("a path", "../../etc/passwd", "malformed"),
    Kind("a star", "*", "malformed"),
    Kind("very long", "x" * 4000, "malformed"),
    # These cannot stand in a header.
    Kind("digits of another script", "{epoch}-\N{ARABIC-INDIC DIGIT EIGHT}", "malformed"),
    Kind("a letter of another script", "\N{CYRILLIC SMALL LETTER A}-8", "malformed"),
    Kind("a line break behind", "{epoch}-8\n", "malformed"),
    Kind("a line break and a field", "{epoch}-8\r\nid: 9", "malformed"),
    Kind("a NUL behind", "{epoch}-8\0", "malformed"),
]
IN_A_HEADER = [kind for kind in KINDS if kind.cursor.isascii() and kind.cursor.isprintable()]


def spelled(kind: Kind, epoch: str) -> str:
    return kind.cursor.format(epoch=epoch, EPOCH=epoch.upper(), epoch_cut=epoch[:-1])


@asynccontextmanager
async def _trimmed_log(make_config: Callable[..., Config]) -> AsyncIterator[Service]:
    """A log whose entries up to FLOOR were there two days ago and are kept for one."""
    ago_ms = 2 * DAY_MS

    def clock() -> int:
        return wall_ms() - ago_ms

    config = make_config(retention_days=1, canary_seconds=0.0)
    # The window holds what it holds, trimmed or not, so it must be smaller than the log.
    async with open_service(config, clock=clock, window_entries=2) as service:
        for seq in range(1, HEAD + 1):
            if seq == FLOOR + 1:
                ago_ms = 0
            message = messages.custom("x-test", {"n": seq})
            if seq % 3 == 1:
                await service.notify_user("ann", message)
            elif seq % 3 == 2:
                await service.notify_user("bob", message)
            else:
                await service.broadcast(message)
        await service.inbox.trim()
        assert service.inbox.head == HEAD
        yield service


def test_there_are_forty_of_them() -> None:
    assert len({kind.cursor for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("how", ["websocket query", "sse query", "sse header"])
async def test_a_stream_says_whether_it_goes_on(
    make_config: Callable[..., Config], open_at: Callable[..., Any], how: str
) -> None:
    async with _trimmed_log(make_config) as service:
        epoch = service.inbox.epoch
        for kind in IN_A_HEADER if how == "sse header" else KINDS:
            async with open_at(how, service.url, "ann", spelled(kind, epoch)) as stream:
                hello = stream.hello
                assert (hello["recovered"], hello.get("reason")) == (kind.reason is None, kind.reason), kind
                begin = HEAD if kind.reason else int(spelled(kind, epoch).rpartition("-")[2])
                assert hello["cursor"] == f"{epoch}-{begin}", kind
                got = await stream.entries_to(f"{epoch}-{HEAD}") if kind.entries else []
                assert [each["id"] for each in got] == [f"{epoch}-{seq}" for seq in kind.entries], kind


async def test_a_list_says_whether_it_goes_on(make_config: Callable[..., Config], http_of: Any) -> None:
    async with _trimmed_log(make_config) as service, http_of(service, "ann") as client:
        epoch = service.inbox.epoch
        for kind in KINDS:
            answer = await client.get(f"/v1/notifications?since={quote(spelled(kind, epoch), safe='')}")
            assert answer.status_code == 200, kind
            listing = answer.json()
            assert (listing["recovered"], listing.get("reason")) == (kind.reason is None, kind.reason), kind
            # When it cannot be continued from, the page starts over: everything that is kept.
            expected = ANNS if kind.reason else kind.entries
            assert [each["id"] for each in listing["notifications"]] == [f"{epoch}-{seq}" for seq in expected]
            assert listing["cursor"] == f"{epoch}-{HEAD}"


@pytest.mark.parametrize("how", ["websocket query", "sse query", "sse header"])
async def test_an_empty_cursor_is_none(
    make_config: Callable[..., Config], open_at: Callable[..., Any], how: str
) -> None:
    async with _trimmed_log(make_config) as service, open_at(how, service.url, "ann", "") as stream:
        assert (stream.hello["recovered"], stream.hello["reason"]) == (False, "no-cursor")
        assert stream.hello["cursor"] == f"{service.inbox.epoch}-{HEAD}"


async def test_what_cannot_be_continued_is_live_from_the_head(
    make_config: Callable[..., Config], open_at: Callable[..., Any]
) -> None:
    """The honest no comes before anything else, and nothing of the past after it."""
    async with _trimmed_log(make_config) as service:
        for how in ("websocket query", "sse query"):
            async with open_at(how, service.url, "ann", "nonsense") as stream:
                receipt = await service.notify_user("ann", messages.custom("x-test", {"n": 0}))
                with trio.fail_after(20):
                    entry = await stream.next_entry()
                assert entry["id"] == f"{service.inbox.epoch}-{receipt.seq}"
