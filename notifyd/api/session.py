"""`POST /v1/auth`: a fresh token for a live connection that cannot send one itself (SSE)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_json
from notifyd.api.parts import parts
from notifyd.auth import MAX_TOKEN_BYTES
from notifyd.errors import NotFound
from notifyd.messages import iso

bp = Blueprint("session", __name__)


class _AuthBody(Struct, frozen=True, forbid_unknown_fields=True):
    connection_id: Annotated[str, Meta(min_length=1, max_length=64)]
    token: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_BYTES)] | None = None


_decoder = msgspec.json.Decoder(_AuthBody)


@bp.post("/v1/auth")
async def refresh() -> Response:
    """Let a connection live as long as the token in the body or, without one, the caller's own."""
    body = await read_json(_decoder)
    given = body.token
    identity = guard.user() if given is None else parts().keys.verify_token(given, parts().clock())
    if not parts().refresh(body.connection_id, identity):
        raise NotFound("This user has no such live connection")
    return answer({"token_expires_at": iso(identity.expires_ms)})
