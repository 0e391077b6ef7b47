"""From a publication to the rows of the log: checked and encoded on the loop, in slices."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
import trio

from notifyd import messages
from notifyd.errors import Unprocessable
from notifyd.inbox.group import Prepared
from notifyd.store.base import NewEntry
from notifyd.store.log import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.inbox.records import Publication

#: Rows encoded between two checkpoints.
SLICE_ROWS = 50


class Slices:
    """Gives the loop to others now and then while large requests are encoded."""

    def __init__(self) -> None:
        self._rows = 0

    async def row(self) -> None:
        """One more row is about to be encoded."""
        self._rows += 1
        if self._rows % SLICE_ROWS == 0:
            await trio.lowlevel.checkpoint()


async def prepare(
    publication: Publication, now_ms: int, slices: Slices, draw: Callable[[int], str] = secrets.token_hex
) -> Prepared:
    """The rows of a publication and the key it is remembered by. Raises Unprocessable."""
    notification_id = new_notification_id(now_ms, draw)
    expires_ms = _expiry(publication.expires_in_s, now_ms)
    type_ = publication.draft.type
    entries: list[NewEntry] = []
    for user_id in _addressees(publication):
        await slices.row()
        data = _encode(publication, notification_id, user_id)
        entries.append(NewEntry(notification_id, user_id, type_, data, now_ms, expires_ms))
    key = publication.idempotency_key
    remembered = None if key is None else Key(publication.publisher, key)
    return Prepared(
        notification_id, entries, remembered, publication.body_hash, publisher=publication.publisher
    )


def new_notification_id(now_ms: int, draw: Callable[[int], str] = secrets.token_hex) -> str:
    """64 random bits behind the time, so that the rows of a group stand side by side in the index."""
    return f"{now_ms:012x}{draw(8)}"


def _expiry(expires_in_s: float | None, now_ms: int) -> int | None:
    if expires_in_s is None:
        return None
    if not 0 < expires_in_s < 10**10:
        raise Unprocessable("expires_in_s is not a positive number of seconds")
    return now_ms + round(expires_in_s * 1000)


def _addressees(publication: Publication) -> Sequence[str | None]:
    if publication.user_ids is None:
        return (None,)
    if not publication.user_ids:
        raise Unprocessable("user_ids is empty")
    return tuple(dict.fromkeys(publication.user_ids))


def _encode(publication: Publication, notification_id: str, user_id: str | None) -> bytes:
    try:
        return messages.prepare(publication.draft, notification_id=notification_id, user_id=user_id)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from None
