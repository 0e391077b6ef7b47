"""From a publication to a message in the outbox, on a real database and under virtual time."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from sqlalchemy import delete

from notifyd.errors import Unavailable
from notifyd.messages import custom, system_message
from notifyd.preferences import Preferences, QuietHours
from notifyd.store import deliveries, erase, outbox, users
from notifyd.store.schema import notifications
from tests.mail.conftest import BEGIN_MS, GRACE_S, Post, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    OpenPost = Callable[..., AbstractAsyncContextManager[Post]]


async def test_who_is_not_there_gets_one_mail_after_the_grace_time(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.tell("ann")
        await trio.sleep(GRACE_S - 1)
        assert post.carrier.parcels == []
        await trio.sleep(3)
        [parcel] = post.carrier.parcels
        assert parcel.addressee.email == "ann@shop.example"
        assert [item.type for item in parcel.items] == ["x-note"]
        await trio.sleep(1000)
        assert len(post.carrier.parcels) == 1
        assert [message.status for message in await post.messages()] == ["sent"]


async def test_users_without_an_address_cost_no_row(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post() as post:
        await post.user("bob", email=None)
        await post.tell("bob", "nobody-ever-heard-of")
        await post.tell()
        await trio.sleep(5)
        assert await post.rows() == {}


async def test_without_mail_there_are_no_rows(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post(mail=False) as post:
        await post.user("ann")
        await post.tell("ann")
        await post.tell()
        await trio.sleep(5)
        assert await post.rows() == {}


async def test_the_delivery_is_in_the_notifications_own_transaction(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await post.user("ann")
        post.store.fail(Unavailable())
        try:
            await post.tell("ann")
        except Unavailable:
            pass
        else:
            raise AssertionError("it was stored")
        assert await post.rows() == {}
        receipt = await post.tell("ann")
        assert set(await post.rows()) == {("ann", receipt.seq)}


async def test_an_acknowledgement_in_time_cancels(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post() as post:
        await post.user("ann")
        seq = (await post.tell("ann")).seq
        await trio.sleep(GRACE_S - 0.001)
        post.inbox.ack("ann", "c", seq)  # not yet written when it is decided on
        await trio.sleep(5)
        assert post.carrier.parcels == []
        assert await post.reasons() == ["acknowledged"]


async def test_an_announcement_reaches_everybody_with_an_address_once(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        names = [f"u{number:04d}" for number in range(1203)]
        await post.users(names)
        await post.user("without", email=None)
        seq = (await post.tell(draft=system_message("down at noon"))).seq
        await trio.sleep(5)
        post.inbox.ack("u0007", "c", seq)
        await trio.sleep(GRACE_S + 5)
        assert sorted(post.carrier.users) == [name for name in names if name != "u0007"]


async def test_what_is_withdrawn_is_left_out_and_alone_sends_nothing(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.user("ben")
        await post.prefer("ann", Preferences(policy="hourly"))
        await post.prefer("ben", Preferences(policy="hourly"))
        kept = await post.tell("ann", draft=custom("x-a", {}))
        gone = await post.tell("ann", "ben", draft=custom("x-b", {}))
        await trio.sleep(1)
        await post.inbox.withdraw(gone.notification_id)
        await trio.sleep(3700)
        assert post.carrier.texts == [[kept.notification_id]]


async def test_withdrawn_between_the_decision_and_the_sending(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(idle=True) as post:
        await post.user("ann")
        await post.prefer("ann", Preferences(policy="always"))
        receipt = await post.tell("ann")
        while await post.planner.look():
            pass
        await post.inbox.withdraw(receipt.notification_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.sender.run)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
        assert post.carrier.parcels == []
        [message] = await post.messages()
        assert (message.status, message.error) == ("dropped", "withdrawn")


async def test_a_digest_is_one_mail_also_of_what_lands_in_its_last_second(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.prefer("ann", Preferences(policy="hourly"))
        boundary = (3600_000 - BEGIN_MS % 3600_000) / 1000
        told = []
        for moment in (1.0, boundary - 0.5, boundary - 0.001, boundary, boundary + 0.001, boundary + 0.9):
            await trio.sleep_until(moment)
            told.append((await post.tell("ann", draft=custom("x-a", {"at": moment}))).notification_id)
        await trio.sleep(2)
        assert len(post.carrier.parcels) <= 1  # what came after the boundary belongs to the next hour
        await trio.sleep(2 * 3600)
        assert len(post.carrier.parcels) == 2
        assert [each for mail in post.carrier.texts for each in mail] == told


async def test_more_than_one_mail_holds_goes_into_the_next(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.prefer("ann", Preferences(policy="hourly"))
        told = [(await post.tell("ann")).notification_id for _ in range(2 * outbox.MAX_ITEMS + 1)]
        await trio.sleep(3700)
        assert sorted(len(each) for each in post.carrier.texts) == [1, outbox.MAX_ITEMS, outbox.MAX_ITEMS]
        assert sorted(each for mail in post.carrier.texts for each in mail) == sorted(told)


async def test_a_look_deals_with_so_many_and_keeps_a_users_together(
    open_post: OpenPost, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LOOK_ROWS", 5)
    async with open_post(idle=True) as post:
        names = ["ann", "ben", "cat", "dan"]
        for name in names:
            await post.user(name)
            await post.prefer(name, Preferences(policy="always"))
        for _ in range(2):
            await post.tell(*names)
        for _ in range(10):
            await post.tell("dan")
        left = []
        while await post.planner.look():
            left.append(sum(row.due_ms is not None for row in (await post.rows()).values()))
        assert left == [14, 12, 7, 2, 0]
        messages = [message.user_id for message in await post.messages()]
        assert sorted(messages) == ["ann", "ben", "cat", "dan", "dan", "dan"]


async def test_what_is_decided_is_forgotten_with_its_notification(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        for name, policy in (("ann", "never"), ("ben", "hourly")):
            await post.user(name)
            await post.prefer(name, Preferences(policy=policy))  # type: ignore[arg-type]
        for _ in range(3):
            await post.tell("ann", "ben")
        await trio.sleep(3)
        kept = await post.tell("ann")
        await trio.sleep(3)
        forget = partial(deliveries.forget, limit=2)
        assert await post.store.write(forget) == 0
        await post.store.write(
            lambda tx: tx.execute(delete(notifications).where(notifications.c.seq < kept.seq))
        )
        assert [await post.store.write(forget) for _ in range(3)] == [2, 1, 0]
        assert sorted(user_id for user_id, _ in await post.rows()) == ["ann", "ben", "ben", "ben"]
        await post.store.write(lambda tx: tx.execute(delete(notifications)))
        assert await post.store.write(forget) == 1


async def test_quiet_hours_hold_and_merge_into_one_but_critical_passes(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann", time_zone="Asia/Kathmandu")
        await post.prefer("ann", Preferences(policy="always", quiet_hours=QuietHours("00:00", "23:59")))
        first, second = await post.tell("ann"), await post.tell("ann")
        await post.tell(draft=system_message("the building is on fire", critical=True))
        await trio.sleep(GRACE_S + 5)
        assert [[item.type for item in each.items] for each in post.carrier.parcels] == [["system-message"]]
        await trio.sleep(24 * 3600)
        assert post.carrier.texts[1:] == [[first.notification_id, second.notification_id]]


async def test_changed_preferences_hold_for_what_waits(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.user("ben")
        await post.prefer("ann", Preferences(policy="daily"))
        await post.tell("ann", "ben")
        await trio.sleep(5)
        await post.prefer("ann", Preferences(policy="always"))
        await post.prefer("ben", Preferences(policy="never"))
        await trio.sleep(GRACE_S + 5)
        assert post.carrier.users == ["ann"]
        assert [reason for reason in await post.reasons() if reason] == ["unsubscribed"]


async def test_a_store_that_fails_for_a_while_loses_nothing(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.prefer("ann", Preferences(policy="always"))
        await post.tell("ann")
        for _ in range(5):
            post.store.fail(Unavailable())
        await trio.sleep(30)
        assert post.carrier.users == ["ann"]


async def test_an_erased_user_is_not_written_to(open_post: OpenPost, autojump_clock: object) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.tell("ann")
        for drop in erase.DROPS:
            await post.store.write(lambda tx, drop=drop: drop(tx, "ann"))  # type: ignore[misc]
        await post.store.write(lambda tx: erase.finish(tx, "ann"))
        await trio.sleep(GRACE_S + 5)
        assert post.carrier.parcels == []
        assert await post.rows() == {}


async def test_a_bounced_address_gets_nothing_until_it_changes(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post() as post:
        await post.user("ann")
        await post.prefer("ann", Preferences(policy="always"))
        await post.store.write(lambda tx: outbox.bounced(tx, "ann", "ann@shop.example"))
        await post.tell("ann")
        await trio.sleep(3)
        assert await post.reasons() == ["bounced"]
        await post.user("ann", email="ann@other.example")
        await post.tell("ann")
        await trio.sleep(3)
        assert post.carrier.users == ["ann"]


async def test_webhooks_hear_of_their_publishers_users_who_were_not_reached(
    open_post: OpenPost, autojump_clock: object
) -> None:
    async with open_post(mail=False) as post:
        post.channels.webhooks = frozenset({"p", "q"})
        post.every.add("q")
        reached = await post.tell("ann", by="p")
        post.inbox.ack("ann", "c", reached.seq)
        await post.tell("ann", "ben", by="p")
        await post.tell("cid", by="q")
        await post.tell("dan", by="without-one")
        await trio.sleep(3)
        assert [(each.message.channel, each.message.user_id) for each in post.carrier.parcels] == [
            ("webhook:q", "cid")
        ]
        await trio.sleep(GRACE_S + 5)
        found = sorted((each.message.channel, each.message.user_id) for each in post.carrier.parcels)
        assert found == [("webhook:p", "ann"), ("webhook:p", "ben"), ("webhook:q", "cid")]


# --- races ------------------------------------------------------------------------------------------

RACES = 10_000
TOGETHER = 50


async def test_each_of_many_races_of_acknowledgement_and_timeout_ends_as_the_policy_says(
    open_post: OpenPost, autojump_clock: object, on_postgres: object
) -> None:
    """An acknowledgement within 1.5 s around the end of the grace time, ten thousand times.

    Before the decision it cancels, after it it doesn't; never both or neither.
    """
    rng = random.Random(20_260_131)
    races = RACES if on_postgres is None else RACES // 10
    async with open_post() as post:
        names = [f"u{number:05d}" for number in range(races)]
        await post.users(names)
        acks: list[tuple[float, str, int]] = []
        for start in range(0, races, TOGETHER):
            some = names[start : start + TOGETHER]
            receipt = await post.tell(*some)
            for place, name in enumerate(some):
                seq = receipt.seq - len(some) + 1 + place
                acks.append((trio.current_time() + GRACE_S + rng.uniform(-1.5, 1.5), name, seq))
            await trio.sleep(rng.uniform(0, 0.2))
        acked = {}
        for at, name, seq in sorted(acks):
            await trio.sleep_until(at)
            acked[name] = now_ms()
            post.inbox.ack(name, "c", seq)
        await trio.sleep(30)
        rows = await post.rows()
        assert len(rows) == races
        sent = post.carrier.users
        assert len(sent) == len(set(sent))
        outcomes = _judge(rows, acked, set(sent))
    assert min(outcomes) > races / 10


def _judge(rows: Any, acked: dict[str, int], sent: set[str]) -> tuple[int, int]:
    late = early = 0
    for (name, _), row in rows.items():
        assert (row.reason is None) == (name in sent) == (row.message_id is not None)
        if acked[name] < row.decided_ms:
            assert row.reason == "acknowledged"
            early += 1
        elif acked[name] > row.decided_ms:
            assert name in sent
            late += 1
    return early, late


async def test_acknowledgements_are_written_while_they_are_looked_at(
    open_post: OpenPost, autojump_clock: object
) -> None:
    """One that is being written just as it is asked for is seen, either in memory or in the store."""
    async with open_post(idle=True) as post:
        await post.user("ann")
        seq = (await post.tell("ann")).seq
        await trio.sleep(GRACE_S)
        post.inbox.ack("ann", "c", seq)
        assert post.inbox.waiting_ack("ann") == seq
        await trio.sleep(1.5)
        assert post.inbox.waiting_ack("ann") == 0
        known: Any = await post.store.read(lambda tx: users.acknowledged(tx, "ann"))
        assert known.seq == seq
        while await post.planner.look():
            pass
        assert await post.reasons() == ["acknowledged"]
