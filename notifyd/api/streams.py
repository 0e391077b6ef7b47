"""The descriptions of `/ws` and `/events`. The door serves both before any route of the API is looked at."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api.describe import USER, Answer, Header, describe
from notifyd.errors import HttpError, NotFound, TooManyRequests, UpgradeRequired

bp = Blueprint("streams", __name__)


class _StreamQuery(Struct, frozen=True):
    last_event_id: Annotated[
        str, Meta(max_length=64, description="The cursor to resume after; without it the stream starts now")
    ] = ""


_RESUMES = Header("Last-Event-ID", "The cursor to resume after; beats `last_event_id`")
_STREAM_ERRORS: tuple[type[HttpError], ...] = (TooManyRequests,)


@bp.get("/events")
@describe(
    "Streams",
    who=USER,
    query=_StreamQuery,
    lenient=True,
    headers=(_RESUMES,),
    answers={
        200: Answer(
            "An endless stream of events: `data` is a message on one line, `id` the cursor to resume after",
            model=str,
            content_type="text/event-stream",
            example=(
                'id: 6f1c9a02-4711\ndata: {"type":"system-message","data":{"notification_id":"nUq3",'
                '"message":"Maintenance at noon","severity":"info","critical":false},'
                '"timestamp":"2026-01-31T12:00:00.000Z","id":"6f1c9a02-4711"}\n\n'
            ),
        )
    },
    errors=_STREAM_ERRORS,
)
async def events() -> Response:
    """Messages as server-sent events.

    The first one is `connection-established`; it says whether the stream begins where the cursor ended.
    """
    raise NotFound


@bp.get("/ws")
@describe(
    "Streams",
    who=USER,
    query=_StreamQuery,
    lenient=True,
    headers=(
        Header("Sec-WebSocket-Protocol", "`bearer.<token>`, for a browser without a cookie"),
        Header("Origin", "Must be allowed, where a browser sends it"),
    ),
    answers={101: Answer("WebSocket from here on; a bad token is closed with 4501")},
    errors=(*_STREAM_ERRORS, UpgradeRequired),
)
async def websocket() -> Response:
    """Messages both ways over WebSocket.

    A token may also come as the first frame, within five seconds. Client messages, close codes and
    resuming are those of the wire protocol; no extension is negotiated.
    """
    raise NotFound
