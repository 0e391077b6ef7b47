"""The carrier of mail: what is to be told becomes a letter, and the letter goes to the post."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from notifyd.mail.carrying import Permanent

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.mail.carrying import Outcome, Parcel, Post
    from notifyd.mail.letters import Letters


class MailCarrier:
    """Writes and posts mails."""

    def __init__(self, letters: Letters, post: Post, clock: Callable[[], int]) -> None:
        self._letters = letters
        self._post = post
        self._clock = clock
        self._limiter = trio.CapacityLimiter(2)

    async def carry(self, parcel: Parcel) -> Outcome:
        """As `Carrier.carry`."""
        message, whom = parcel.message, parcel.addressee
        if whom.email is None:
            return Permanent("there is no address")
        name, told = message.message_id, (whom.email, whom.locale, parcel.items, self._clock())
        # A long mail takes 100 ms to render.
        mail = await trio.to_thread.run_sync(
            self._letters.write, name, message.user_id, *told, limiter=self._limiter
        )
        return await self._post.post(name, self._letters.sender, whom.email, mail)
