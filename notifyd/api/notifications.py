"""A user's notifications: list, mark, acknowledge; and their withdrawal by the publisher."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, no_content, read_json, read_query
from notifyd.api.parts import parts
from notifyd.errors import ProtocolError, Unprocessable
from notifyd.messages import Cursor, MarkData, RecoveryReason, State, check_mark, iso, parse_cursor

bp = Blueprint("notifications", __name__)

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

CursorText = Annotated[str, Meta(max_length=64)]


class _Query(Struct, frozen=True):
    since: CursorText | None = None
    before: CursorText | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    state: State | None = None


class _Listed(Struct, frozen=True):
    type: str
    data: msgspec.Raw
    timestamp: str
    id: str
    state: State


class _List(Struct, frozen=True, omit_defaults=True):
    notifications: list[_Listed]
    cursor: str
    unread: int
    recovered: bool
    reason: RecoveryReason | UnsetType = UNSET


@bp.get("/v1/notifications")
async def list_notifications() -> Response:
    """The caller's notifications as the wire sends them, each with its current `state`."""
    user = guard.user()
    query = read_query(_Query)
    if query.since is not None and query.before is not None:
        raise Unprocessable("Page forward with since or backward with before, not both", path="$.before")
    inbox = parts().inbox
    listing = await inbox.list(
        user.user_id, since=query.since, before=query.before, limit=query.limit, state=query.state
    )
    messages = [
        _Listed(
            entry.type,
            msgspec.Raw(entry.data),
            iso(entry.created_ms),
            str(Cursor(inbox.epoch, entry.seq)),
            state,
        )
        for entry, state in listing.items
    ]
    reason = UNSET if listing.reason is None else listing.reason
    return answer(_List(messages, str(listing.cursor), listing.unread, listing.recovered, reason))


class _MarkBody(MarkData, frozen=True, forbid_unknown_fields=True):
    pass


_mark_decoder = msgspec.json.Decoder(_MarkBody)


@bp.post("/v1/notifications/mark")
async def mark() -> Response:
    """Raise the state of the caller's notifications, by id or up to a cursor."""
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
async def ack() -> Response:
    """The caller has received everything up to a cursor."""
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
async def withdraw(notification_id: str) -> Response:
    """Take a notification back from everyone who has it."""
    guard.publisher()
    await parts().inbox.withdraw(notification_id)
    return no_content()
