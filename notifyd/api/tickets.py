"""`POST /v1/tickets`: a one-use secret for an address that a browser can open but not add a header to."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_json
from notifyd.api.describe import USER_OR_PUBLISHER, Answer, describe
from notifyd.api.fields import Moment
from notifyd.api.parts import parts
from notifyd.auth import Identity, is_user_id
from notifyd.errors import Forbidden, Unprocessable
from notifyd.keys import TICKET_SECONDS
from notifyd.messages import Id, iso

bp = Blueprint("tickets", __name__)

#: Seconds for which the connection of a ticket that a publisher asked for may last.
DEFAULT_LIFE_S = 3600.0
MAX_LIFE_S = 86_400.0


class _TicketBody(Struct, frozen=True, forbid_unknown_fields=True):
    user_id: Annotated[Id, Meta(description="Whose ticket; only a publisher may say")] | None = None
    expires_in_s: (
        Annotated[float, Meta(gt=0, le=MAX_LIFE_S, description="Seconds that its connection may last")] | None
    ) = None


class Ticket(Struct, frozen=True):
    """A secret for `?ticket=`; the connection it opens ends at `token_expires_at`."""

    ticket: str
    expires_in_s: Annotated[float, Meta(description="Seconds in which it must be used")]
    user_id: str
    token_expires_at: Moment


_decoder = msgspec.json.Decoder(_TicketBody)


@bp.post("/v1/tickets")
@describe(
    "Tickets",
    who=USER_OR_PUBLISHER,
    body=_TicketBody,
    body_required=False,
    examples={"By a publisher": {"user_id": "7"}, "By the user": {}},
    answers={
        201: Answer(
            "The ticket",
            Ticket,
            {
                "ticket": "Yh3mXn9pQ2c8vR5t",
                "expires_in_s": 30,
                "user_id": "7",
                "token_expires_at": "2026-01-31T13:00:00.000Z",
            },
        )
    },
)
async def issue_ticket() -> Response:
    """A ticket for the caller, or for the user whom a publisher names.

    It opens one stream within 30 seconds, by `?ticket=`. After that it only opens again the SSE stream that
    it opened, until its identity expires.
    """
    publishes = guard.may_publish()
    caller = None if publishes else guard.user()
    body = await read_json(_decoder, empty=b"{}")
    now_ms = parts().clock()
    if body.user_id is not None:
        if not publishes:
            raise Forbidden("Only a publisher may ask for another user's ticket")
        identity = _named(body, body.user_id, now_ms)
    else:
        identity = _shortened(caller or guard.unnamed(), body.expires_in_s, now_ms)
    ticket = parts().keys.issue_ticket(identity, now_ms)
    return answer(Ticket(ticket, TICKET_SECONDS, identity.user_id, iso(identity.expires_ms)), 201)


def _named(body: _TicketBody, user_id: str, now_ms: int) -> Identity:
    if not is_user_id(user_id):
        raise Unprocessable("Expected printable characters", path="$.user_id")
    return Identity(user_id, now_ms + int((body.expires_in_s or DEFAULT_LIFE_S) * 1000), issued_ms=now_ms)


def _shortened(identity: Identity, expires_in_s: float | None, now_ms: int) -> Identity:
    """A ticket proves no more than its owner's token: not longer, and without its scopes."""
    expires_ms = identity.expires_ms
    if expires_in_s is not None:
        expires_ms = min(expires_ms, now_ms + int(expires_in_s * 1000))
    return Identity(
        identity.user_id,
        expires_ms,
        issued_ms=identity.issued_ms,
        issuer=identity.issuer,
        token_id=identity.token_id,
    )
