"""What a carrier is: it takes one message to where it belongs and says what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.outbox import Addressee, Claimed, Item


class Parcel(NamedTuple):
    """A message with what it says; `items` are still to be told, oldest first, and never none."""

    message: Claimed
    addressee: Addressee
    items: Sequence[Item]


class Sent(NamedTuple):
    """It was taken over, durably."""


class Temporary(NamedTuple):
    """It was not taken now; another try may succeed."""

    error: str


class Permanent(NamedTuple):
    """It will never be taken. `bounced`: the address, to which nothing more is to be sent."""

    error: str
    bounced: str | None = None


Outcome = Sent | Temporary | Permanent


class Carrier(Protocol):
    """A way to where messages go. It may be asked for several at a time."""

    async def carry(self, parcel: Parcel) -> Outcome:
        """Take it there; whatever goes wrong on the way is an Outcome.

        Cancellation: it may or may not have been taken over.
        """
        ...


class Post(Protocol):
    """Takes a finished mail to the mail system."""

    async def post(self, message_id: str, sender: str, recipient: str, mail: bytes) -> Outcome:
        """As `Carrier.carry`, for RFC 5322 bytes with CRLF between two bare addresses."""
        ...
