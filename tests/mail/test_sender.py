"""The outbox: order, leases, retries, dead letters, and what a stop in each moment leaves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from notifyd.errors import OutcomeUnknown, Unavailable
from notifyd.mail.carrying import Permanent, Temporary
from notifyd.mail.sender import AT_ONCE, LEASE_S, TRY_S
from notifyd.preferences import Preferences
from notifyd.store import outbox, preferences
from tests.mail.conftest import Post, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    OpenPost = Callable[..., AbstractAsyncContextManager[Post]]

ALWAYS = Preferences(policy="always")


async def ready(post: Post, *names: str) -> None:
    """These users have a message that is due."""
    for name in names:
        await post.user(name)
        await post.prefer(name, ALWAYS)
    await post.tell(*names)
    while await post.planner.look():
        pass


async def send_for(post: Post, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await post.sender.run()


async def only(post: Post) -> Any:
    [message] = await post.messages()
    return message


async def test_it_is_tried_eight_times_with_the_same_id_and_then_dead(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.answers.extend([Temporary("451 try later")] * 20)
        await send_for(post, 25 * 3600)
        assert len(post.carrier.parcels) == 8
        assert len({parcel.message.message_id for parcel in post.carrier.parcels}) == 1
        pauses = [b - a for a, b in zip(post.carrier.times, post.carrier.times[1:], strict=False)]
        for number, pause in enumerate(pauses):
            assert 0.8 * 60 * 2**number <= pause <= 1.2 * 60 * 2**number + 2
        message = await only(post)
        assert (message.status, message.error, message.tries) == ("dead", "451 try later", 8)


async def test_a_dead_letter_is_sent_after_all_or_dropped(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann", "ben")
        post.carrier.answers.extend([Permanent("554 no")] * 2)
        await send_for(post, 5)
        dead = await post.store.read(partial(outbox.listed, status="dead", after="", limit=10))
        assert sorted(each.user_id for each in dead) == ["ann", "ben"]
        assert await post.store.read(outbox.counts) == {("dead", "mail"): 2}
        anns = next(each.message_id for each in dead if each.user_id == "ann")
        bens = next(each.message_id for each in dead if each.user_id == "ben")
        assert await post.store.write(partial(outbox.revive, message_id=anns))
        assert await post.store.write(partial(outbox.give_up, message_id=bens))
        assert not await post.store.write(partial(outbox.revive, message_id=bens))
        await send_for(post, 5)
        assert post.carrier.users[2:] == ["ann"]
        assert post.carrier.parcels[2].message.message_id == anns
        assert {message.status for message in await post.messages()} == {"sent", "dropped"}


async def test_a_bounce_drops_what_else_waits_for_the_address(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.answers.append(Permanent("550 no such user", bounced="ann@shop.example"))
        await send_for(post, 3)
        await post.tell("ann")
        while await post.planner.look():
            pass
        await send_for(post, 3)
        assert len(post.carrier.parcels) == 1
        assert (await only(post)).status == "dead"


async def test_unsubscribing_drops_what_waits_for_another_try(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.answers.append(Temporary("busy"))
        await send_for(post, 3)
        await post.store.write(partial(preferences.unsubscribe, user_id="ann", list_="x-note"))
        await send_for(post, 3600)
        assert len(post.carrier.parcels) == 1
        message = await only(post)
        assert (message.status, message.error) == ("dropped", "unsubscribed")


async def test_what_a_mail_went_without_is_said(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post(idle=True) as post:
        await post.user("ann")
        await post.prefer("ann", ALWAYS)
        kept = await post.tell("ann")
        gone = await post.tell("ann")
        short = await post.tell("ann", expires_in_s=20)
        while await post.planner.look():
            pass
        post.carrier.answers.append(Temporary("busy"))
        await send_for(post, 3)
        await post.inbox.withdraw(gone.notification_id)
        await send_for(post, 200)
        assert [len(each.items) for each in post.carrier.parcels] == [3, 1]
        assert (await only(post)).status == "sent"
        reasons = {seq: row.reason for (_, seq), row in (await post.rows()).items()}
        assert reasons == {kept.seq: None, gone.seq: "withdrawn", short.seq: "expired"}


async def test_at_most_ten_at_once_the_longest_due_first(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post(idle=True) as post:
        for number in range(25):
            await ready(post, f"u{number:02d}")
            await trio.sleep(0.01)
        post.carrier.takes_s = 5
        await send_for(post, 100)
        assert post.carrier.most_at_once == AT_ONCE
        names = [f"u{number:02d}" for number in range(25)]
        tens = [sorted(post.carrier.users[start : start + AT_ONCE]) for start in (0, 10, 20)]
        assert tens == [names[:10], names[10:20], names[20:]]


async def test_a_backlog_that_has_been_due_for_long_is_worked_off_without_a_pause(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        names = [f"u{number:02d}" for number in range(35)]
        await ready(post, *names)
        await trio.sleep(3600)
        assert await post.sender._pause_s() == 0
        post.carrier.takes_s = 0.001
        await send_for(post, 60)
        assert sorted(post.carrier.users) == names


async def test_one_that_hangs_is_given_up_and_tried_again(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.takes_s = 10_000
        await send_for(post, TRY_S + 5)
        message = await only(post)
        assert (message.status, message.lease_ms) == ("waiting", 0)
        assert "longer than" in message.error
        post.carrier.takes_s = 0
        await send_for(post, 200)
        assert (await only(post)).status == "sent"


async def test_who_is_stopped_while_sending_sends_again_when_the_lease_ends(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.takes_s = 10
        await send_for(post, 5)
        assert (await only(post)).status == "waiting"
        post.carrier.takes_s = 0
        await send_for(post, LEASE_S - 10)
        assert len(post.carrier.parcels) == 1
        await send_for(post, 20)
        assert len({parcel.message.message_id for parcel in post.carrier.parcels}) == 1
        assert [parcel.message.fence for parcel in post.carrier.parcels] == [1, 2]
        assert (await only(post)).status == "sent"


async def test_a_former_holder_is_not_believed(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        now = now_ms()
        [first] = await post.store.write(lambda tx: outbox.claim(tx, 10, now, now + 1000))
        assert await post.store.write(lambda tx: outbox.claim(tx, 10, now + 999, now + 2000)) == []
        [second] = await post.store.write(lambda tx: outbox.claim(tx, 10, now + 1000, now + 2000))
        assert not await post.store.write(lambda tx: outbox.end(tx, first, "dead", "late", now))
        assert not await post.store.write(lambda tx: outbox.retry_at(tx, first, "late", now))
        assert await post.store.write(lambda tx: outbox.end(tx, second, "sent", None, now))
        assert (await only(post)).status == "sent"


async def test_what_was_sent_is_noted_although_the_store_fails_for_a_while(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann")
        post.carrier.takes_s = 3

        async def disturb() -> None:
            await trio.sleep(2)
            for error in (Unavailable(), OutcomeUnknown(), Unavailable()):
                post.store.fail(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturb)
            await send_for(post, 2 * LEASE_S)
        assert len(post.carrier.parcels) == 1
        assert (await only(post)).status == "sent"


async def test_a_defect_in_one_message_keeps_no_other_from_leaving(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await ready(post, "ann", "ben")
        post.carrier.answers.append(RuntimeError("a template of ours"))
        await send_for(post, 20)
        states = sorted((message.status, message.error) for message in await post.messages())
        assert [status for status, _ in states] == ["sent", "waiting"]
        assert post.sender.counts["mail", "retried"] == 1
