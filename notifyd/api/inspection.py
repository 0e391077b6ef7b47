"""`/v1/inspect`: one user as an operator sees them; and a test notification. Looking changes nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_json, read_query
from notifyd.api.describe import OPERATOR, WRITES, Answer, describe
from notifyd.api.fields import Count, CursorId, Moment
from notifyd.api.insight import EXPLAINED_EXAMPLE, Explanation, explained
from notifyd.api.notifications import DEFAULT_LIMIT, LISTING_EXAMPLE, MAX_LIMIT, Listing, told_listing
from notifyd.api.parts import parts
from notifyd.api.profiles import check_user_id
from notifyd.api.publications import Stored
from notifyd.api.watches import WATCH_EXAMPLE, Watches, told_watch, unknown_watch
from notifyd.auth import is_user_id
from notifyd.errors import CloseCode, TooLarge, Unprocessable
from notifyd.inbox import Publication
from notifyd.messages import Cursor, Id, State, iso, system_message
from notifyd.store import finding, ledger, watches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifyd.store.ledger import Kept

bp = Blueprint("inspection", __name__)

#: Users in one answer, connections in one answer.
MAX_FOUND = 50
MAX_CONNECTIONS = 50
#: Milliseconds that ended connections are shown: a day.
RECENT_MS = 86_400_000

_UserId = Annotated[Id, Meta(description="Whose")]


class _FindQuery(Struct, frozen=True):
    search: Annotated[str, Meta(max_length=128, description="How the ids begin; upper case is not lower")] = (
        ""
    )
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND, description="At most so many")] = 20


class _UserQuery(Struct, frozen=True):
    user_id: _UserId


class _InboxQuery(Struct, frozen=True):
    user_id: _UserId
    before: Annotated[str, Meta(description="Page backward: what came before this cursor")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = DEFAULT_LIMIT
    state: Annotated[State, Meta(description="Only those in this state")] | None = None


class _WatchesQuery(Struct, frozen=True):
    user_id: _UserId
    after: Annotated[str, Meta(description="The last `watch_id` of the page before")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many")] = 100


class _ExplainQuery(Struct, frozen=True):
    user_id: _UserId
    after: Annotated[str, Meta(description="`next` of the answer before")] = ""


class FoundUser(Struct, frozen=True):
    """A user and how many connections they have now."""

    user_id: str
    connections: Count


class FoundUsers(Struct, frozen=True):
    """Users by id: who is connected, was ever seen here, or was told something."""

    users: list[FoundUser]


class InspectedConnection(Struct, frozen=True, kw_only=True):
    """One connection, open or ended; the last three are known of open ones."""

    connection_id: str
    transport: Literal["websocket", "sse"]
    connected_at: Annotated[Moment | None, Meta(description="null: within the last second")]
    closed_at: Moment | None
    close_code: int | None
    close_reason: str | None
    state: Literal["live", "catching-up", "ended"]
    cursor: Annotated[CursorId | None, Meta(description="Up to where it has been sent everything")] = None
    queued_bytes: Count | None = None
    token_expires_at: Moment | None = None


class InspectedConnections(Struct, frozen=True):
    """A user's connections of the last day, the open ones first, then the newest."""

    connections: list[InspectedConnection]


class _TestBody(Struct, frozen=True, forbid_unknown_fields=True):
    message: Annotated[str, Meta(min_length=1, max_length=500, description="What the user will read")]


_test_decoder = msgspec.json.Decoder(_TestBody)

_CONNECTION = {
    "connection_id": "c3RyZWFtLTQ3MTE",
    "transport": "websocket",
    "connected_at": "2026-01-31T12:00:00.000Z",
    "closed_at": None,
    "close_code": None,
    "close_reason": None,
    "state": "live",
    "cursor": "6f1c9a02-4711",
    "queued_bytes": 0,
    "token_expires_at": "2026-01-31T13:00:00.000Z",
}
_STORED = {"id": "6f1c9a02-4711", "notification_id": "nUq3Tn1kT8mX2cPq", "live_connections": 2}


@bp.get("/v1/inspect/users")
@describe(
    "Operating",
    who=OPERATOR,
    query=_FindQuery,
    answers={
        200: Answer("Those who were found", FoundUsers, {"users": [{"user_id": "7", "connections": 2}]})
    },
)
async def find_users() -> Response:
    """Find users by how their ids begin.

    Who is connected now, has ever been, or was told something. A user of whom nothing is known can be
    inspected too.
    """
    guard.operator()
    query = read_query(_FindQuery)
    if "\0" in query.search:  # no id has one, and not every database could look for it
        return answer(FoundUsers([]))
    live = parts().live_users(query.search, query.limit)
    kept = await parts().store.read(partial(finding.find, prefix=query.search, limit=query.limit))
    ids = sorted(filter(is_user_id, {*live, *kept}))[: query.limit]
    return answer(FoundUsers([FoundUser(each, parts().live_connections([each])) for each in ids]))


@bp.get("/v1/inspect/connections")
@describe(
    "Operating",
    who=OPERATOR,
    query=_UserQuery,
    answers={
        200: Answer(
            "Open ones and those of the last day", InspectedConnections, {"connections": [_CONNECTION]}
        )
    },
)
async def inspect_connections() -> Response:
    """A user's connections: what each is doing now, or how it ended."""
    guard.operator()
    user_id = read_query(_UserQuery).user_id
    check_user_id(user_id)
    since_ms = parts().clock() - RECENT_MS
    kept = await parts().store.read(
        partial(ledger.connections_since, user_id=user_id, since_ms=since_ms, limit=MAX_CONNECTIONS)
    )
    live = {each["connection_id"]: each for each in parts().user_connections(user_id)}
    return answer(InspectedConnections(_connections(kept, live)))


def _connections(kept: list[Kept], live: Mapping[str, Mapping[str, Any]]) -> list[InspectedConnection]:
    """What the ledger says, joined with what is open now; of who has just come it says nothing yet."""
    known = {each.connection_id: each for each in reversed(kept)}
    open_ = [_open(each, known.get(name)) for name, each in reversed([*live.items()])]
    return open_ + [_ended(each) for name, each in known.items() if name not in live]


def _open(now: Mapping[str, Any], kept: Kept | None) -> InspectedConnection:
    return InspectedConnection(
        connection_id=now["connection_id"],
        transport=now["transport"],
        connected_at=None if kept is None else iso(kept.connected_ms),
        closed_at=None,
        close_code=None,
        close_reason=None,
        state="catching-up" if now["catching_up"] else "live",
        cursor=str(Cursor(parts().inbox.epoch, now["position"])),
        queued_bytes=now["queued_bytes"],
        token_expires_at=iso(now["expires_ms"]),
    )


def _ended(kept: Kept) -> InspectedConnection:
    return InspectedConnection(
        connection_id=kept.connection_id,
        transport="sse" if kept.transport == "sse" else "websocket",
        connected_at=iso(kept.connected_ms),
        closed_at=None if kept.closed_ms is None else iso(kept.closed_ms),
        close_code=kept.close_code,
        close_reason=CloseCode.reason_of(kept.close_code),
        state="ended",
    )


@bp.get("/v1/inspect/notifications")
@describe(
    "Operating",
    who=OPERATOR,
    query=_InboxQuery,
    answers={200: Answer("A page of notifications, newest first", Listing, LISTING_EXAMPLE)},
)
async def inspect_notifications() -> Response:
    """What a user has, as they would see it. Nobody counts as having looked."""
    guard.operator()
    query = read_query(_InboxQuery)
    check_user_id(query.user_id)
    inbox = parts().inbox
    listing = await inbox.list(
        query.user_id,
        since=None,
        before=query.before or None,
        limit=query.limit,
        state=query.state,
        met=False,
    )
    return answer(told_listing(listing, inbox.epoch))


@bp.get("/v1/inspect/watches")
@describe(
    "Operating",
    who=OPERATOR,
    query=_WatchesQuery,
    answers={200: Answer("A page of watches", Watches, {"watches": [WATCH_EXAMPLE]})},
)
async def inspect_watches() -> Response:
    """A user's watches by id; `after` is the last id of the page before."""
    guard.operator()
    query = read_query(_WatchesQuery)
    found = await parts().store.read(
        lambda tx: watches.list_watches(tx, query.user_id, query.after, query.limit)
    )
    return answer({"watches": [told_watch(watch) for watch in found]})


@bp.get("/v1/inspect/watches/<path:watch_id>")
@describe(
    "Operating",
    who=OPERATOR,
    path={"watch_id": "One of the user's watches"},
    query=_ExplainQuery,
    answers={200: Answer("Why", Explanation, EXPLAINED_EXAMPLE)},
)
async def inspect_watch(watch_id: str) -> Response:
    """Say why a user's watch did or did not fire last, in each store; at most 20 items at a time."""
    guard.operator()
    query = read_query(_ExplainQuery)
    found = await parts().explain_watch(query.user_id, watch_id, query.after)
    if found is None:
        raise unknown_watch(watch_id)
    return answer(explained(watch_id, found))


@bp.post("/v1/users/<path:user_id>/test")
@describe(
    "Operating",
    who=OPERATOR,
    path={"user_id": "The user"},
    body=_TestBody,
    examples={"A greeting": {"message": "A test by the operator: please ignore it"}},
    answers={201: Answer("Stored durably", Stored, _STORED)},
    errors=(TooLarge, Unprocessable, *WRITES),
)
async def send_test(user_id: str) -> Response:
    """Send one user a notification, to see whether it arrives.

    It is an announcement to them alone, stored like any other; its trace says how far it got.
    """
    operator = guard.operator()
    check_user_id(user_id)
    body = await read_json(_test_decoder)
    receipt = await parts().inbox.append(Publication(system_message(body.message), (user_id,), operator))
    where = str(Cursor(parts().inbox.epoch, receipt.seq))
    return answer(Stored(where, receipt.notification_id, parts().live_connections([user_id])), 201)
