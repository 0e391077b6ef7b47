"""What both transports promise alike: the same entries, the same JSON, the same ids, the same resume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from notifyd.messages import (
    Deal,
    custom,
    deal_notification,
    decode_server_message,
    job_completed,
    prepare,
    system_message,
)
from notifyd.store.base import Entry
from tests.transport.lane.conftest import clock

if TYPE_CHECKING:
    from trio.testing import MockClock

    from notifyd.messages import Draft
    from tests.transport.lane.conftest import World

KINDS = ["websocket", "sse"]
DEAL = Deal(item_name="Juice \u2028 é", best_price_in_cents=199, store_name="Store", store_id=5)
DRAFTS = [
    deal_notification([DEAL]),
    system_message("line\nbreak \r\n ü", severity="warning", critical=True),
    job_completed(7, "export", "done", message="ready"),
    custom("x-weather", {"degrees": [1, 2.5, None], "note": "data: id: \n\n"}),
]


def commit(world: World, type_: str, data: bytes, user_id: str | None = "ann") -> str:
    seq = world.inbox.head + 1
    entry = Entry(seq, user_id, type_, data, clock(), None, f"n{seq}")
    world.inbox.entries.append(entry)
    world.broker.publish([entry])
    return f"e1-{seq}"


def publish(world: World, draft: Draft) -> str:
    return commit(
        world, draft.type, prepare(draft, notification_id=f"n{world.inbox.head + 1}", user_id="ann")
    )


async def collect(world: World, kind: str, count: int, cursor: str | None = None) -> list[dict[str, Any]]:
    """`count` messages after the first, which a client library must be able to read."""
    client = await getattr(world, kind)(cursor=cursor)
    await client.message()
    messages = [await client.message() for _ in range(count)]
    for message in messages:
        decode_server_message(json.dumps(message))
    return messages


@pytest.mark.parametrize("cursor", [None, "e1-0"])
async def test_each_type_is_the_same_json_with_the_same_id_on_both(
    autojump_clock: MockClock, world: World, cursor: str | None
) -> None:
    results: dict[str, list[dict[str, Any]]] = {}

    async def run(kind: str) -> None:
        results[kind] = await collect(world, kind, len(DRAFTS) + 1, cursor)

    async with trio.open_nursery() as nursery:
        for kind in KINDS:
            nursery.start_soon(run, kind)
        await trio.testing.wait_all_tasks_blocked()
        cursors = [publish(world, draft) for draft in DRAFTS]
        cursors.append(commit(world, "notification-updated", b'{"state":"read","notification_ids":["n1"]}'))
    assert results["websocket"] == results["sse"]
    assert [message["id"] for message in results["sse"]] == cursors
    assert [message["type"] for message in results["sse"]] == [
        *(draft.type for draft in DRAFTS),
        "notification-updated",
    ]
    stored = [json.loads(entry.data) for entry in world.inbox.entries]
    assert [message["data"] for message in results["sse"]] == stored


async def test_the_log_and_the_window_say_the_same(autojump_clock: MockClock, world: World) -> None:
    cursors = [publish(world, draft) for draft in DRAFTS]
    from_window = [await collect(world, kind, 4, "e1-0") for kind in KINDS]
    world.broker.window.floor = world.inbox.head
    from_log = [await collect(world, kind, 4, "e1-0") for kind in KINDS]
    assert world.inbox.pages == 2
    assert from_window[0] == from_window[1] == from_log[0] == from_log[1]
    assert [message["id"] for message in from_log[0]] == cursors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("cursor", "recovered", "reason", "start"),
    [
        (None, False, "no-cursor", "e1-4"),
        ("e1-0", True, None, "e1-0"),
        ("e1-2", True, None, "e1-2"),
        ("e1-4", True, None, "e1-4"),
        ("e1-5", False, "future", "e1-4"),
        ("e9-2", False, "other-epoch", "e1-4"),
        ("-1", False, "malformed", "e1-4"),
        ("e1-9223372036854775808", False, "malformed", "e1-4"),
    ],
)
async def test_both_say_alike_how_a_resume_went(
    autojump_clock: MockClock,
    world: World,
    kind: str,
    cursor: str | None,
    recovered: bool,
    reason: str | None,
    start: str,
) -> None:
    for draft in DRAFTS:
        publish(world, draft)
    client = await getattr(world, kind)(cursor=cursor)
    hello = (await client.message())["data"]
    assert (hello["recovered"], hello["reason"], hello["cursor"]) == (recovered, reason, start)
    last = publish(world, DRAFTS[0])
    wanted = [f"e1-{seq}" for seq in range(int(start[3:]) + 1, 6)]
    assert [(await client.message())["id"] for _ in wanted] == wanted
    assert wanted[-1] == last


@pytest.mark.parametrize("kind", KINDS)
async def test_both_ping_with_their_own_position(autojump_clock: MockClock, world: World, kind: str) -> None:
    client = await getattr(world, kind)()
    await client.message()
    publish(world, DRAFTS[0])
    await client.message()
    commit(world, "system-message", b"{}", "ben")
    ping = await client.message(pings=True)
    assert (ping["type"], ping["data"], "id" in ping) == ("ping", {"cursor": "e1-2"}, False)


def test_the_types_of_this_suite_are_all_that_can_be_published() -> None:
    with pytest.raises(msgspec.ValidationError, match="Unknown type"):
        prepare(custom("ping", {}), notification_id="n", user_id="ann")
