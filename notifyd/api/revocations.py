"""`POST /v1/revocations`: tokens that no longer count, from the moment of the answer and over restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_json
from notifyd.api.describe import OPERATOR, WRITES, Answer, describe
from notifyd.api.parts import parts
from notifyd.api.profiles import check_user_id
from notifyd.errors import Unprocessable
from notifyd.messages import Id

bp = Blueprint("revocations", __name__)

#: Longest `iss` or `jti` that is looked up; a token with a longer one is revoked by its user.
MAX_NAME = 512

_Time = Annotated[datetime, Meta(tz=True)]


class RevokeToken(Struct, frozen=True, forbid_unknown_fields=True):
    """One token, by its `jti` and `iss`."""

    token_id: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="The token's `jti`")]
    issuer: Annotated[str, Meta(max_length=MAX_NAME, description="Its `iss`; empty for a token without")] = ""
    expires_at: (
        Annotated[_Time, Meta(description="When it expires anyway; it is forgotten then, else never")] | None
    ) = None


class RevokeUser(Struct, frozen=True, forbid_unknown_fields=True):
    """All of a user's tokens that were issued before a moment, and those that do not say when."""

    user_id: Id
    not_before: Annotated[_Time, Meta(description="Now, when absent")] | None = None


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    token_id: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)] | None = None
    issuer: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    expires_at: _Time | None = None
    user_id: Id | None = None
    not_before: _Time | None = None


class Revoked(Struct, frozen=True):
    """What was closed at once."""

    closed: Annotated[int, Meta(ge=0, description="Live connections of such tokens")]


_decoder = msgspec.json.Decoder(_Body)


@bp.post("/v1/revocations")
@describe(
    "Operating",
    who=OPERATOR,
    body=(RevokeToken, RevokeUser),
    examples={
        "One token": {"issuer": "https://id.shop.example", "token_id": "8e1f"},
        "All of a user's until now": {"user_id": "7"},
    },
    answers={200: Answer("Revoked durably", Revoked, {"closed": 1})},
    errors=WRITES,
)
async def revoke() -> Response:
    """Refuse a token, or all of a user's that were issued before a moment.

    What they have open is closed with 4503 at once, and new requests get 401. It stays so over restarts. A
    token says in whole seconds when it was issued, so one of the very second of `not_before` may be refused.
    """
    guard.operator()
    body = await read_json(_decoder)
    if (body.token_id is None) == (body.user_id is None):
        raise Unprocessable("Exactly one of token_id and user_id is needed", path="$")
    if body.user_id is not None:
        return answer(Revoked(await _revoke_user(body, body.user_id)))
    if body.not_before is not None:
        raise Unprocessable("This goes with user_id only", path="$.not_before")
    return answer(Revoked(await parts().revoke_token(body.issuer, body.token_id or "", _ms(body.expires_at))))


async def _revoke_user(body: _Body, user_id: str) -> int:
    check_user_id(user_id)
    if body.issuer or body.expires_at is not None:
        raise Unprocessable("issuer and expires_at go with token_id only", path="$")
    not_before_ms = _ms(body.not_before)
    return await parts().revoke_user(user_id, parts().clock() if not_before_ms is None else not_before_ms)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
