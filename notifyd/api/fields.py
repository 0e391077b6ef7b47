"""Fields that several answers have, with what the API's description says of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

CursorId = Annotated[
    str,
    Meta(
        description="A cursor: the place in the log, `<epoch>-<seq>`",
        pattern="^[0-9A-Za-z]{1,40}-(0|[1-9][0-9]{0,18})$",
        examples=["6f1c9a02-4711"],
    ),
]
Moment = Annotated[
    str,
    Meta(
        description="ISO 8601 in UTC",
        examples=["2026-01-31T12:00:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
NotificationId = Annotated[str, Meta(description="Shared by all who got the notification")]
Count = Annotated[int, Meta(ge=0)]
