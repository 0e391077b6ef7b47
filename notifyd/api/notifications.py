"""A user's notifications: list, mark, acknowledge; and their withdrawal by the publisher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, no_content, read_json, read_query
from notifyd.api.describe import PUBLISHER, USER, WRITES, Answer, describe
from notifyd.api.fields import Count, CursorId, Moment
from notifyd.api.parts import parts
from notifyd.errors import NotFound, ProtocolError, Unprocessable
from notifyd.messages import Cursor, MarkData, RecoveryReason, State, check_mark, iso, parse_cursor

if TYPE_CHECKING:
    from notifyd.inbox import records

bp = Blueprint("notifications", __name__)

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

CursorText = Annotated[str, Meta(max_length=64)]


class _Query(Struct, frozen=True):
    # A cursor that cannot be one, however long, is answered as it is on a stream: malformed.
    since: Annotated[str, Meta(description="Page forward: what came after this cursor")] | None = None
    before: Annotated[str, Meta(description="Page backward: what came before it")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = DEFAULT_LIMIT
    state: Annotated[State, Meta(description="Only those in this state")] | None = None


class Listed(Struct, frozen=True):
    """A message as on the wire, and its state now."""

    type: str
    data: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
    timestamp: Moment
    id: CursorId
    state: State


class Listing(Struct, frozen=True, omit_defaults=True):
    """A page of a user's notifications."""

    notifications: list[Listed]
    cursor: Annotated[CursorId, Meta(description="Where a stream joins without a gap")]
    unread: Count
    recovered: Annotated[bool, Meta(description="False: not all after `since` is here any more")]
    reason: Annotated[RecoveryReason, Meta(description="Why not")] | UnsetType = UNSET


LISTING_EXAMPLE = {
    "notifications": [
        {
            "type": "system-message",
            "data": {
                "notification_id": "nUq3Tn1kT8mX2cPq",
                "message": "Maintenance at noon",
                "severity": "info",
                "critical": False,
            },
            "timestamp": "2026-01-31T12:00:00.000Z",
            "id": "6f1c9a02-4711",
            "state": "unread",
        }
    ],
    "cursor": "6f1c9a02-4711",
    "unread": 1,
    "recovered": True,
}


@bp.get("/v1/notifications")
@describe(
    "Notifications",
    who=USER,
    query=_Query,
    answers={200: Answer("A page of notifications", Listing, LISTING_EXAMPLE)},
)
async def list_notifications() -> Response:
    """The caller's notifications as the wire sends them, each with its current `state`.

    Newest first; with `since`, oldest first. Only one of `since` and `before` may be given.
    """
    user = guard.user()
    query = read_query(_Query)
    since, before = query.since or None, query.before or None  # an empty cursor is none, as on a stream
    if since is not None and before is not None:
        raise Unprocessable("Page forward with since or backward with before, not both", path="$.before")
    inbox = parts().inbox
    listing = await inbox.list(user.user_id, since=since, before=before, limit=query.limit, state=query.state)
    return answer(told_listing(listing, inbox.epoch))


def told_listing(listing: records.Listing, epoch: str) -> Listing:
    """A page of an inbox, as it is answered."""
    messages = [
        Listed(
            entry.type, msgspec.Raw(entry.data), iso(entry.created_ms), str(Cursor(epoch, entry.seq)), state
        )
        for entry, state in listing.items
    ]
    reason = UNSET if listing.reason is None else listing.reason
    return Listing(messages, str(listing.cursor), listing.unread, listing.recovered, reason)


class _MarkBody(MarkData, frozen=True, forbid_unknown_fields=True):
    """Either `notification_ids` or `up_to`."""


#: What JSON Schema can say of check_mark.
_ONE_OF_TWO = {"oneOf": [{"required": ["notification_ids"]}, {"required": ["up_to"]}]}


_mark_decoder = msgspec.json.Decoder(_MarkBody)


@bp.post("/v1/notifications/mark")
@describe(
    "Notifications",
    who=USER,
    body=Annotated[_MarkBody, Meta(extra_json_schema=_ONE_OF_TWO)],
    examples={
        "Some read": {"state": "read", "notification_ids": ["nUq3Tn1kT8mX2cPq"]},
        "All seen": {"state": "seen", "up_to": "6f1c9a02-4711"},
    },
    answers={204: Answer("Marked")},
    errors=(NotFound, *WRITES),
)
async def mark_notifications() -> Response:
    """Raise the state of the caller's notifications, by id or up to a cursor.

    A state only rises: `unread`, `seen`, `read`, `archived`. Every tab and device of the user is told.
    """
    user = guard.user()
    body = await read_json(_mark_decoder)
    try:
        check_mark(body)
    except ProtocolError as fault:
        raise Unprocessable(fault.message, path="$") from None
    ids = None if body.notification_ids is UNSET else body.notification_ids
    up_to = None if body.up_to is UNSET else _seq(body.up_to)
    await parts().inbox.mark(user.user_id, body.state, notification_ids=ids, up_to=up_to)
    return no_content()


class _AckBody(Struct, frozen=True, forbid_unknown_fields=True):
    up_to: CursorText
    connection_id: Annotated[str, Meta(min_length=1, max_length=64)] = "http"


_ack_decoder = msgspec.json.Decoder(_AckBody)


@bp.post("/v1/notifications/ack")
@describe(
    "Notifications",
    who=USER,
    body=_AckBody,
    examples={"Up to a cursor": {"up_to": "6f1c9a02-4711"}},
    answers={204: Answer("Noted; it is written down within a second")},
)
async def acknowledge_notifications() -> Response:
    """Say that everything up to a cursor was received."""
    user = guard.user()
    body = await read_json(_ack_decoder)
    parts().inbox.ack(user.user_id, body.connection_id, _seq(body.up_to), prompt=True)
    return no_content()


def _seq(up_to: str) -> int:
    """The place in this log that `up_to` names. Raises Unprocessable when it names none."""
    cursor = parse_cursor(up_to)
    inbox = parts().inbox
    if cursor is None or cursor.epoch != inbox.epoch or cursor.seq > inbox.head:
        raise Unprocessable("This is not a cursor of this server's log", path="$.up_to")
    return cursor.seq


@bp.delete("/v1/notifications/<notification_id>")
@describe(
    "Publishing",
    who=PUBLISHER,
    path={"notification_id": "From the answer to publishing"},
    answers={204: Answer("Withdrawn")},
    errors=WRITES,
)
async def withdraw_notification(notification_id: str) -> Response:
    """Take a notification back from everyone who has it.

    Open pages are told at once; lists and replays leave it out.
    """
    guard.publisher()
    await parts().inbox.withdraw(notification_id)
    return no_content()
