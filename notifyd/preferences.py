"""What a user wants by mail, and when. Pure: types, defaults and what one-click unsubscribing changes.

The store keeps it as JSON; `/v1/preferences` shows and takes it; the mailer obeys it.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from notifyd.messages import CUSTOM_TYPE

#: `offline`: only what no device has acknowledged within the grace time. `always`: at once, whatever was
#: acknowledged. `never`: no mail. `hourly`, `daily`: collected into one mail, without what was read.
Policy = Literal["offline", "always", "never", "hourly", "daily"]

#: Stands for every type in an unsubscribe link.
ALL_TYPES: Final = "all"

Type = Annotated[
    str,
    Meta(
        pattern=f"^(deal-notification|system-message|job-completed|{CUSTOM_TYPE})$",
        description="A type of notification",
    ),
]
WallTime = Annotated[
    str,
    Meta(
        pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="Time of day in the user's time zone",
        examples=["22:30"],
    ),
]


class QuietHours(Struct, frozen=True, forbid_unknown_fields=True):
    """From one time of day to another, over midnight if need be; mail waits for the end."""

    start: WallTime
    end: WallTime

    def times(self) -> tuple[time, time]:
        return time.fromisoformat(self.start), time.fromisoformat(self.end)


class Preferences(Struct, frozen=True, forbid_unknown_fields=True):
    """How a user wants to be written to; of any types, since what cannot be read would let mail resume."""

    policy: Annotated[Policy, Meta(description="For the types that `types` does not name")] = "offline"
    types: dict[str, Policy] = msgspec.field(default_factory=dict)
    quiet_hours: QuietHours | None = None
    daily_at: WallTime = "08:00"

    def policy_of(self, type_: str) -> Policy:
        """The policy for notifications of a type."""
        return self.types.get(type_, self.policy)


DEFAULT: Final = Preferences()

_decoder = msgspec.json.Decoder(Preferences)


def decode(text: bytes | str | None) -> Preferences:
    """What the store keeps; None and what cannot be read any more are the defaults."""
    if not text:
        return DEFAULT
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return DEFAULT


def encode(preferences: Preferences) -> bytes:
    """As the store keeps it."""
    return msgspec.json.encode(preferences)


def unsubscribed(preferences: Preferences, list_: str) -> Preferences:
    """After unsubscribing from one type of notification, or from ALL_TYPES."""
    if list_ == ALL_TYPES:
        return msgspec.structs.replace(preferences, policy="never", types={})
    return msgspec.structs.replace(preferences, types={**preferences.types, list_: "never"})
