"""Erasing a user: everything that the store has of them, in small transactions between those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import trio

from notifyd.store import erase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.inbox.inbox import Inbox
    from notifyd.store.base import NewEntry, Transaction

T = TypeVar("T")

#: Seconds between two transactions that delete.
PAUSE_S: Final = 0.02
#: How often it begins again because the user is still being written to.
ATTEMPTS: Final = 5


async def erase_user(inbox: Inbox, user_id: str) -> int:
    """Delete all that is stored of a user; gives the floor, up to which nothing of theirs can be replayed.

    Nothing happens when there is nothing. What is published to the user while it runs is erased, too, unless
    that goes on. Raises StoreError: what is gone by then stays gone, and calling it again goes on.
    Cancellation: as an error.
    """
    for _ in range(ATTEMPTS):
        inbox.forget(user_id)
        for drop in erase.DROPS:
            await _drop_all(inbox, drop, user_id)
        floor = await _do(inbox, erase.finish, user_id)
        if floor is not None:
            return floor
    return await _do(inbox, erase.finish_now, user_id)


async def _drop_all(inbox: Inbox, drop: Callable[[Transaction, str], int], user_id: str) -> None:
    dropped = await _do(inbox, drop, user_id)
    while dropped == erase.BATCH:
        await trio.sleep(PAUSE_S)
        dropped = await _do(inbox, drop, user_id)


async def _do(inbox: Inbox, step: Callable[[Transaction, str], T], user_id: str) -> T:
    def work(tx: Transaction) -> tuple[Sequence[NewEntry], T]:
        return (), step(tx, user_id)

    return await inbox.work(work)
