"""`POST /v1/auth`: a fresh token for a live connection that cannot send one itself (SSE)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_json
from notifyd.api.describe import USER, Answer, describe
from notifyd.api.fields import Moment
from notifyd.api.parts import parts
from notifyd.auth import MAX_TOKEN_BYTES
from notifyd.errors import NotFound
from notifyd.messages import iso

bp = Blueprint("session", __name__)


class _AuthBody(Struct, frozen=True, forbid_unknown_fields=True):
    connection_id: Annotated[
        str, Meta(min_length=1, max_length=64, description="From the stream's `connection-established`")
    ]
    token: (
        Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_BYTES, description="A fresh JWT")] | None
    ) = None


class Refreshed(Struct, frozen=True):
    """The connection ends at this time unless it is refreshed again."""

    token_expires_at: Moment


_decoder = msgspec.json.Decoder(_AuthBody)


@bp.post("/v1/auth")
@describe(
    "Streams",
    who=USER,
    body=_AuthBody,
    examples={"The callers own token": {"connection_id": "c3RyZWFt"}},
    answers={200: Answer("Refreshed", Refreshed, {"token_expires_at": "2026-01-31T13:00:00.000Z"})},
    errors=(NotFound,),
)
async def refresh_connection() -> Response:
    """Let a live connection last as long as a fresh token.

    For SSE, which cannot send one itself. The token is the one in the body or, without one, the caller's.
    It must be the same user's.
    """
    body = await read_json(_decoder)
    given = body.token
    identity = guard.user() if given is None else parts().keys.verify_token(given, parts().clock())
    if not parts().refresh(body.connection_id, identity):
        raise NotFound("This user has no such live connection")
    return answer(Refreshed(iso(identity.expires_ms)))
