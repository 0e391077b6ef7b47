"""`POST /v1/notifications`: one notification, or up to a thousand that succeed or fail each alone."""

from __future__ import annotations

from quart import Blueprint, Response, request

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, answer, read_body
from notifyd.api.describe import PUBLISHER, WRITES, Answer, Header, describe
from notifyd.api.parts import parts
from notifyd.api.problems import Problem
from notifyd.api.publications import KINDS, PublishMany, Stored, StoredMany, StoredOne
from notifyd.api.publications import Publication as PublicationBody
from notifyd.api.publishing import publish
from notifyd.errors import IdempotencyConflict, TooManyRequests

bp = Blueprint("publish", __name__)

_ANNOUNCEMENT = {"type": "system-message", "broadcast": True, "data": {"message": "Maintenance at noon"}}
_DEAL = {
    "type": "deal-notification",
    "user_id": "7",
    "data": {
        "deals": [
            {
                "item_name": "Orange juice 64 oz",
                "best_price_in_cents": 279,
                "store_name": "Corner shop",
                "store_id": 12,
                "currency": "USD",
                "old_price_in_cents": 349,
            }
        ]
    },
}
_JOB = {
    "type": "job-completed",
    "user_id": "7",
    "data": {"job_id": 4711, "job_name": "Flyer import", "status": "completed"},
    "idempotency_key": "job-4711",
}
_STORED = {"id": "6f1c9a02-4711", "notification_id": "nUq3Tn1kT8mX2cPq", "live_connections": 2}


@bp.post("/v1/notifications")
@describe(
    "Publishing",
    who=PUBLISHER,
    headers=(
        Header(
            "Idempotency-Key",
            "For 24 hours the same key and body get the first answer again. Not with many notifications",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
            example="job-4711",
        ),
    ),
    body=(PublicationBody, PublishMany),
    examples={
        "An announcement": _ANNOUNCEMENT,
        "A deal": _DEAL,
        "A finished job with a key": _JOB,
        "Several at once": {"notifications": [_ANNOUNCEMENT, _JOB]},
    },
    answers={
        200: Answer("Stored before under this key; the first answer again", Stored, _STORED),
        201: Answer("Stored durably", (Stored, StoredMany), _STORED),
    },
    models=(*KINDS, StoredOne, Problem),
    errors=(IdempotencyConflict, TooManyRequests, *WRITES),
)
async def publish_notifications() -> Response:
    """Store one notification, or up to 1,000 that succeed or fail each alone.

    The answer says that it is stored durably, and where it is in the log. One notification has at most
    64 KiB, many together 4 MiB and 10,000 addressees. Exactly one of `user_id`, `user_ids` and
    `broadcast: true` says whom it is for; its length times its addressees is at most 16 MiB. `data` is
    nested at most 32 levels deep.
    """
    publisher = guard.publisher()
    body = await read_body(limit=MAX_BATCH_BODY)
    status, content = await publish(parts(), publisher, body, request.headers.get("idempotency-key"))
    return answer(content, status)
