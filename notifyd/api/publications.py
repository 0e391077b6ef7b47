"""What `POST /v1/notifications` takes and answers, as its description says it.

The route reads looser records and checks what JSON Schema cannot say, so these are never decoded.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from notifyd.api.describe import ref
from notifyd.api.fields import Count, CursorId, NotificationId
from notifyd.api.problems import Problem
from notifyd.messages import CUSTOM_TYPE, DealsInput, Id, JobInput, SystemInput

MAX_BATCH = 1000
#: Rows that one request may write: a few tens of milliseconds of one transaction.
MAX_ADDRESSEES = 10_000
#: Seconds; ten years is as good as never.
MAX_EXPIRES_IN_S = 10 * 366 * 86_400.0

#: Printable ASCII, so that it fits a header field.
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")]
UserIds = Annotated[list[Id], Meta(min_length=1, max_length=MAX_ADDRESSEES)]
Lifetime = Annotated[float, Meta(gt=0, le=MAX_EXPIRES_IN_S)]


class _ToSome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: Annotated[Id, Meta(description="The user it is for")] | UnsetType = UNSET
    user_ids: Annotated[UserIds, Meta(description="Several users")] | UnsetType = UNSET
    expires_in_s: Annotated[Lifetime, Meta(description="Seconds until it is gone")] | None = None
    idempotency_key: Annotated[IdempotencyKey, Meta(description="As the header")] | None = None


class _ToAny(_ToSome, frozen=True, kw_only=True):
    broadcast: Annotated[bool, Meta(description="For everyone")] = False


class PublishDeals(_ToSome, frozen=True, kw_only=True, tag_field="type", tag="deal-notification"):
    """Deals found by the application itself; for users, not for everyone."""

    data: DealsInput


class PublishAnnouncement(_ToAny, frozen=True, kw_only=True, tag_field="type", tag="system-message"):
    """An announcement."""

    data: SystemInput


class PublishJob(_ToAny, frozen=True, kw_only=True, tag_field="type", tag="job-completed"):
    """A background job has ended."""

    data: JobInput


class PublishCustom(_ToAny, frozen=True, kw_only=True):
    """A type of the application's own."""

    type: Annotated[str, Meta(pattern=f"^{CUSTOM_TYPE}$", examples=["x-price-error"])]
    data: Annotated[
        dict[str, Any],
        Meta(
            description="Anything but `notification_id`, which the server sets",
            extra_json_schema={"properties": {"notification_id": False}},
        ),
    ]


_ONE_OF_TWO = {"oneOf": [{"required": ["user_id"]}, {"required": ["user_ids"]}]}
_EVERYONE = {"required": ["broadcast"], "properties": {"broadcast": {"const": True}}}
_ONE_OF_THREE = {"oneOf": [*_ONE_OF_TWO["oneOf"], _EVERYONE]}
KINDS = (PublishDeals, PublishAnnouncement, PublishJob, PublishCustom)
#: One notification; exactly one way of saying whom it is for.
Publication = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "anyOf": [ref(kind) | (_ONE_OF_TWO if kind is PublishDeals else _ONE_OF_THREE) for kind in KINDS]
        }
    ),
]


class PublishMany(Struct, frozen=True, forbid_unknown_fields=True):
    """Many notifications, each succeeding or failing alone."""

    notifications: Annotated[list[Publication], Meta(min_length=1, max_length=MAX_BATCH)]


class Stored(Struct, frozen=True):
    """Where the notification is in the log."""

    id: CursorId
    notification_id: NotificationId
    live_connections: Annotated[Count, Meta(description="Connections that its users have open now")]


class StoredOne(Struct, frozen=True):
    """One of many, stored; `status` is 200 when it was stored before under the same key."""

    status: Annotated[int, Meta(extra_json_schema={"enum": [200, 201]})]
    id: CursorId
    notification_id: NotificationId
    live_connections: Count


Result = Annotated[Any, Meta(extra_json_schema={"anyOf": [ref(StoredOne), ref(Problem)]})]


class StoredMany(Struct, frozen=True):
    """A result for each notification, in their order."""

    results: list[Result]
