from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from notifyd.errors import BadRequest, NotFound, Unavailable, Unprocessable
from notifyd.inbox import Publication, Receipt, Resumption, erase_user
from notifyd.messages import Deal, Draft, custom, deal_notification, system_message
from tests.inbox.conftest import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from notifyd.inbox import Inbox, Listing
    from tests.inbox.conftest import Clock, FaultyStore, Heard

    Opened = Callable[..., AbstractAsyncContextManager[Inbox]]


async def listed(inbox: Inbox, user_id: str = "u", **asked: Any) -> Listing:
    defaults: dict[str, Any] = {"since": None, "before": None, "limit": 100, "state": None}
    return await inbox.list(user_id, **(defaults | asked))


def texts(listing: Listing) -> list[str]:
    return [msgspec.json.decode(item.entry.data)["text"] for item in listing.items]


def told(heard: Heard, since: int) -> list[tuple[str | None, dict[str, Any]]]:
    """The updates after a seq: whom, and what."""
    return [
        (entry.user_id, msgspec.json.decode(entry.data))
        for entry in heard.entries
        if entry.seq > since and entry.type == "notification-updated"
    ]


# --- appending --------------------------------------------------------------------------------------


async def test_a_publication_for_several_users_is_a_row_each_under_one_name(
    opened: Opened, heard: Heard, clock: Clock
) -> None:
    async with opened() as inbox:
        publication = Publication(custom("x-a", {"n": 1}), ("u", "v", "u"), "p", expires_in_s=1.5)
        receipt = await inbox.append(publication)
    assert receipt.seq == 2
    assert [(e.user_id, e.notification_id, e.created_ms, e.expires_ms) for e in heard.entries] == [
        (user, receipt.notification_id, clock.ms, clock.ms + 1500) for user in "uv"
    ]
    assert msgspec.json.decode(heard.entries[0].data) == {"notification_id": receipt.notification_id, "n": 1}


async def test_everyone_is_one_row(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        await inbox.append(Publication(system_message("hello"), None, "p"))
    assert [entry.user_id for entry in heard.entries] == [None]


async def test_deals_say_for_whom_they_are(opened: Opened, heard: Heard) -> None:
    deals = deal_notification([Deal("Juice", 199, "Shop", 7)])
    async with opened() as inbox:
        await inbox.append(Publication(deals, ("u", "v"), "p"))
    assert [msgspec.json.decode(entry.data)["user_id"] for entry in heard.entries] == ["u", "v"]


@pytest.mark.parametrize(
    ("publication", "path"),
    [
        (Publication(Draft("system-message", {"message": 1}), ("u",), "p"), r"\$\.data\.message"),
        (Publication(Draft("nonsense", {}), ("u",), "p"), r"\$\.type"),
        (Publication(deal_notification([Deal("J", 1, "S", 7)]), None, "p"), r"\$\.type"),
        (Publication(custom("x-a", {}), (), "p"), "user_ids"),
        (note(expires_in_s=0), "expires_in_s"),
        (note(expires_in_s=float("nan")), "expires_in_s"),
    ],
)
async def test_what_cannot_be_published_is_refused_with_its_place(
    opened: Opened, heard: Heard, publication: Publication, path: str
) -> None:
    async with opened() as inbox:
        with pytest.raises(Unprocessable, match=path):
            await inbox.append(publication)
        (error,) = await inbox.append_many([publication])
        assert isinstance(error, Unprocessable)
    assert heard.entries == []


async def test_of_many_each_succeeds_or_fails_alone(opened: Opened) -> None:
    async with opened(queue_size=2) as inbox:
        results = await inbox.append_many([note(), Publication(Draft("?", {}), None, "p"), note(), note()])
        assert [type(result) for result in results] == [Receipt, Unprocessable, Receipt, Unavailable]


async def test_a_thousand_users_are_encoded_in_slices(opened: Opened) -> None:
    async with opened() as inbox:
        users = tuple(f"u{number}" for number in range(1000))
        assert (await inbox.append(Publication(custom("x-a", {}), users, "p"))).seq == 1000


async def test_the_log_goes_on_where_it_ended(opened: Opened) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        epoch = inbox.epoch
    async with opened() as inbox:
        assert (inbox.epoch, inbox.head) == (epoch, 1)
        assert (await inbox.append(note())).seq == 2


# --- listing ----------------------------------------------------------------------------------------


async def test_without_a_cursor_the_newest_come_first_with_the_head_to_go_on_live(opened: Opened) -> None:
    async with opened() as inbox:
        for text in "abc":
            await inbox.append(note(text=text))
        await inbox.append(note("other"))
        page = await listed(inbox, limit=2)
        assert texts(page) == ["c", "b"]
        assert page.cursor == (inbox.epoch, 4)
        assert (page.unread, page.recovered, page.reason) == (3, True, None)


async def test_pages_forward_end_at_the_head(opened: Opened) -> None:
    async with opened() as inbox:
        for text in "abc":
            await inbox.append(note(text=text))
        await inbox.append(note("other"))
        first = await listed(inbox, since=f"{inbox.epoch}-0", limit=2)
        assert texts(first) == ["a", "b"]
        assert first.cursor.seq == 2
        second = await listed(inbox, since=str(first.cursor), limit=2)
        assert texts(second) == ["c"]
        assert second.cursor.seq == 4
        assert texts(await listed(inbox, since=str(second.cursor), limit=2)) == []


async def test_pages_backward_go_on_from_their_oldest(opened: Opened) -> None:
    async with opened() as inbox:
        for text in "abc":
            await inbox.append(note(text=text))
        first = await listed(inbox, before=f"{inbox.epoch}-3", limit=1)
        assert (texts(first), first.cursor.seq) == (["b"], 2)
        second = await listed(inbox, before=str(first.cursor), limit=5)
        assert (texts(second), second.cursor.seq) == (["a"], 1)
        third = await listed(inbox, before=str(second.cursor), limit=5)
        assert (texts(third), third.cursor.seq) == ([], 1)


async def test_an_exactly_full_page_forward_is_complete(opened: Opened) -> None:
    async with opened() as inbox:
        await inbox.append(note(text="a"))
        await inbox.append(note("other"))
        page = await listed(inbox, since=f"{inbox.epoch}-0", limit=1)
        assert (texts(page), page.cursor.seq) == (["a"], 2)


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("", "malformed"), ("x y", "malformed"), ("other-1", "other-epoch"), ("{epoch}-4", "future")],
)
async def test_a_cursor_that_proves_nothing_starts_over_and_says_why(
    opened: Opened, cursor: str, reason: str
) -> None:
    async with opened() as inbox:
        for text in "abc":
            await inbox.append(note(text=text))
        cursor = cursor.format(epoch=inbox.epoch)
        forward = await listed(inbox, since=cursor)
        assert (texts(forward), forward.recovered, forward.reason) == (["a", "b", "c"], False, reason)
        backward = await listed(inbox, before=cursor)
        assert (texts(backward), backward.recovered, backward.reason) == (["c", "b", "a"], False, reason)


async def test_both_directions_at_once_are_refused(opened: Opened) -> None:
    async with opened() as inbox:
        with pytest.raises(BadRequest):
            await listed(inbox, since="a-1", before="a-1")


# --- marks and withdrawals --------------------------------------------------------------------------


async def test_a_mark_is_told_and_listed(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        a, b = [(await inbox.append(note(text=text))).notification_id for text in "ab"]
        await inbox.mark("u", "read", notification_ids=[b, a, b])
        page = await listed(inbox)
        assert [item.state for item in page.items] == ["read", "read"]
        assert page.unread == 0
        assert texts(await listed(inbox, state="unread")) == []
        assert texts(await listed(inbox, state="read")) == ["b", "a"]
    assert told(heard, 2) == [("u", {"state": "read", "notification_ids": [b, a]})]


async def test_only_what_rises_is_told(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        a, b = [(await inbox.append(note(text=text))).notification_id for text in "ab"]
        await inbox.mark("u", "archived", notification_ids=[a])
        await inbox.mark("u", "read", notification_ids=[a, b])
        await inbox.mark("u", "seen", notification_ids=[a, b])
        await inbox.mark("u", "read", up_to=99)
        assert [item.state for item in (await listed(inbox)).items] == ["read", "archived"]
    assert [data.get("notification_ids") for _, data in told(heard, 3)] == [[b]]


async def test_a_mark_up_to_a_cursor_takes_all_before_it(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        for user in ("u", None, "v", "u"):
            await inbox.append(note(user))
        inbox.appeared("u")
        await inbox.mark("u", "seen", up_to=2)
        await inbox.mark("u", "read", up_to=99)
        assert [item.state for item in (await listed(inbox)).items] == ["read"] * 3
        assert [item.state for item in (await listed(inbox, "v")).items] == ["unread", "seen"]
    assert told(heard, 4) == [
        ("u", {"state": "seen", "up_to": f"{inbox.epoch}-2"}),
        ("u", {"state": "read", "up_to": f"{inbox.epoch}-5"}),
    ]


async def test_one_can_mark_only_ones_own_and_all_or_none(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        mine = (await inbox.append(note("u"))).notification_id
        theirs = (await inbox.append(note("v"))).notification_id
        with pytest.raises(NotFound) as caught:
            await inbox.mark("u", "read", notification_ids=[mine, theirs])
        assert caught.value.extra == {"notification_ids": [theirs]}
        assert (await listed(inbox)).items[0].state == "unread"
    assert told(heard, 0) == []


async def test_a_mark_needs_one_of_ids_and_cursor(opened: Opened) -> None:
    async with opened() as inbox:
        for given in ({}, {"notification_ids": ["a"], "up_to": 1}):
            with pytest.raises(Unprocessable):
                await inbox.mark("u", "read", **given)  # type: ignore[arg-type]


async def test_marks_of_announcements_are_each_users_own(opened: Opened) -> None:
    async with opened() as inbox:
        for user in "uv":
            inbox.appeared(user)
        announced = (await inbox.append(note(None))).notification_id
        await inbox.mark("u", "read", notification_ids=[announced])
        assert [(await listed(inbox, user)).items[0].state for user in "uv"] == ["read", "unread"]
        assert [(await listed(inbox, user)).unread for user in "uv"] == [0, 1]


async def test_a_withdrawal_ends_it_for_everybody_who_has_it(opened: Opened, heard: Heard) -> None:
    async with opened() as inbox:
        publication = Publication(custom("x-a", {"text": "a"}), ("u", "v"), "p")
        name = (await inbox.append(publication)).notification_id
        await inbox.withdraw(name)
        await inbox.withdraw(name)
        assert (await listed(inbox)).items == []
        await inbox.mark("u", "read", notification_ids=[name])
        announced = (await inbox.append(note(None))).notification_id
        await inbox.withdraw(announced)
        assert (await listed(inbox)).unread == 0
        with pytest.raises(NotFound):
            await inbox.withdraw("nothing")
    gone = {"state": "withdrawn", "notification_ids": [name]}
    assert told(heard, 0) == [
        ("u", gone),
        ("v", gone),
        (None, {"state": "withdrawn", "notification_ids": [announced]}),
    ]
    assert [names for names in heard.withdrawn if names] == [{name}, {announced}]


async def test_refused_marks_do_not_undo_their_group(opened: Opened, store: FaultyStore) -> None:
    async with opened() as inbox:
        writes = store.writes
        with pytest.raises(NotFound):
            await inbox.mark("u", "read", notification_ids=["nothing"])
        assert store.writes == writes + 1
        assert inbox.statistics().failed_groups == 0


# --- newcomers --------------------------------------------------------------------------------------


async def test_announcements_before_the_first_appearance_are_no_news(opened: Opened) -> None:
    async with opened() as inbox:
        await inbox.append(note(None, "old"))
        await inbox.append(note("u", "own"))
        inbox.appeared("u")
        await inbox.append(note(None, "new"))
        page = await listed(inbox)
        assert [item.state for item in page.items] == ["unread", "unread", "seen"]
        assert page.unread == 2


async def test_the_first_appearance_outlives_a_restart(opened: Opened) -> None:
    async with opened() as inbox:
        inbox.appeared("u")
        await inbox.append(note(None))
    async with opened() as inbox:
        assert (await listed(inbox)).unread == 1
        assert (await listed(inbox, "newcomer")).unread == 0


# --- resuming and catching up -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (None, Resumption(3, False, "no-cursor")),
        ("", Resumption(3, False, "malformed")),
        ("{epoch}-01", Resumption(3, False, "malformed")),
        ("{epoch}--1", Resumption(3, False, "malformed")),
        ("{epoch}-9223372036854775808", Resumption(3, False, "malformed")),
        ("0-3", Resumption(3, False, "other-epoch")),
        ("{epoch}-4", Resumption(3, False, "future")),
        ("{epoch}-3", Resumption(3, True, None)),
        ("{epoch}-2", Resumption(2, True, None)),
    ],
)
async def test_a_cursor_in_the_window_is_judged_without_the_store(
    opened: Opened, store: FaultyStore, cursor: str | None, expected: Resumption
) -> None:
    async with opened() as inbox:
        for _ in range(3):
            await inbox.append(note())
        reads = store.reads
        given = None if cursor is None else cursor.format(epoch=inbox.epoch)
        assert await inbox.resume("u", given, window_floor=2) == expected
        assert store.reads == reads


async def test_a_cursor_below_the_window_is_good_down_to_the_floors(
    opened: Opened, store: FaultyStore, clock: Clock
) -> None:
    async with opened(retention_ms=1000) as inbox:
        for user in ("u", None, "v"):
            await inbox.append(note(user))
        clock.ms += 2000
        await inbox.append(note())
        await inbox.trim()

        async def resumed(user: str, seq: int) -> Resumption:
            return await inbox.resume(user, f"{inbox.epoch}-{seq}", window_floor=4)

        reads = store.reads
        assert await resumed("u", 1) == Resumption(4, False, "trimmed")
        assert (await resumed("u", 2))[:3] == (2, True, None)
        assert await resumed("v", 2) == Resumption(4, False, "trimmed")
        start = await resumed("v", 3)
        assert start[:3] == (3, True, None)
        assert store.reads == reads + 4
        assert start.page == await inbox.page("v", 3), "read in the same look"
        page = await listed(inbox, since=f"{inbox.epoch}-1")
        assert (page.recovered, page.reason, len(page.items)) == (False, "trimmed", 1)


async def test_a_page_to_catch_up_with_replays_updates_too(opened: Opened) -> None:
    async with opened() as inbox:
        name = (await inbox.append(note())).notification_id
        await inbox.mark("u", "read", notification_ids=[name])
        page = await inbox.page("u", 0)
        assert [entry.type for entry in page.entries] == ["x-note", "notification-updated"]
        assert (page.head, page.complete) == (2, True)
        assert not (await inbox.page("u", 0, limit_rows=1)).complete


async def test_the_newest_fill_a_window(opened: Opened) -> None:
    async with opened() as inbox:
        for _ in range(3):
            await inbox.append(note())
        entries, floor = await inbox.newest(2, 10_000)
        assert ([entry.seq for entry in entries], floor) == ([2, 3], 1)


async def test_after_a_restart_one_users_floor_takes_nothing_from_the_others(
    opened: Opened, store: FaultyStore
) -> None:
    async with opened(max_rows_per_user=2) as inbox:
        await inbox.append(note("v"))
        for user in ("erased", "w", "trimmed", "trimmed", "trimmed"):
            await inbox.append(note(user))
        await erase_user(inbox, "erased")
        await inbox.trim()
    async with opened() as inbox:
        entries, floor = await inbox.newest(10, 10_000)
        assert ([entry.seq for entry in entries], floor) == ([1, 3, 5, 6], 0)

        async def reason(user: str, seq: int) -> str | None:
            return (await inbox.resume(user, f"{inbox.epoch}-{seq}", window_floor=floor)).reason

        reads = store.reads
        assert [await reason(user, 0) for user in ("v", "w", "new")] == [None, None, None]
        assert [await reason("erased", seq) for seq in (2, 6)] == [None, None]
        assert [await reason("trimmed", seq) for seq in (4, 6)] == [None, None]
        assert store.reads == reads
        assert [await reason("erased", seq) for seq in (0, 1)] == ["trimmed", "trimmed"]
        assert [await reason("trimmed", seq) for seq in (0, 3)] == ["trimmed", "trimmed"]


async def test_only_as_many_users_floors_are_remembered_as_entries(opened: Opened) -> None:
    async with opened() as inbox:
        for user in ("a", "b", "c", "d"):
            await inbox.append(note(user))
        for user in ("a", "b", "c"):
            await erase_user(inbox, user)
    async with opened() as inbox:
        entries, floor = await inbox.newest(2, 10_000)
        assert ([entry.seq for entry in entries], floor) == ([4], 1)
        for user, seq in (("b", 1), ("c", 2)):
            assert (await inbox.resume(user, f"{inbox.epoch}-{seq}", window_floor=floor)).reason == "trimmed"
        assert (await inbox.resume("d", f"{inbox.epoch}-{floor}", window_floor=floor)).recovered
