"""`/v1/outbox` for operators: mails and webhook calls; and publishers' webhooks."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, no_content, read_json, read_query
from notifyd.api.describe import OPERATOR, PUBLISHER, WRITES, Answer, describe
from notifyd.api.fields import Moment
from notifyd.api.parts import parts
from notifyd.errors import NotFound, Unprocessable
from notifyd.messages import iso
from notifyd.store import outbox, webhooks
from notifyd.store.deliveries import kind_of
from notifyd.store.outbox import Status
from notifyd.store.webhooks import Webhook

if TYPE_CHECKING:
    from notifyd.store.outbox import Kept

bp = Blueprint("outbox", __name__)
hooks_bp = Blueprint("webhooks", __name__)

_MESSAGE_ID = {"message_id": "As `/v1/outbox` lists it"}


class _Query(Struct, frozen=True):
    status: Annotated[Status, Meta(description="Which messages")] = "dead"
    after: Annotated[str, Meta(max_length=128, description="The last `message_id` of the page before")] = ""
    limit: Annotated[int, Meta(ge=1, le=500, description="At most so many")] = 100


class OutboxMessage(Struct, frozen=True):
    """One mail or webhook call. `error` is the last answer of the other side, or why it was dropped."""

    message_id: str
    channel: str
    user_id: str
    status: Status
    created_at: Moment
    due_at: Moment | None
    tries: Annotated[int, Meta(ge=0)]
    error: str | None
    ended_at: Moment | None


class Outbox(Struct, frozen=True):
    """A page; `next` leads to the one after it."""

    messages: list[OutboxMessage]
    next: str | None


_EXAMPLE = {
    "messages": [
        {
            "message_id": "019b0a7c51f0d1a94f3c02e86b77",
            "channel": "mail",
            "user_id": "7",
            "status": "dead",
            "created_at": "2026-01-31T12:00:00.000Z",
            "due_at": None,
            "tries": 8,
            "error": "connecting to mail.example: no answer in time",
            "ended_at": "2026-01-31T14:07:11.000Z",
        }
    ],
    "next": None,
}


@bp.get("/v1/outbox")
@describe("Operating", who=OPERATOR, query=_Query, answers={200: Answer("A page", Outbox, _EXAMPLE)})
async def list_outbox() -> Response:
    """Mails and webhook calls of one status: the dead letters, unless another is asked for."""
    guard.operator()
    query = read_query(_Query)
    look = partial(outbox.listed, status=query.status, after=query.after, limit=query.limit)
    found = await parts().store.read(look)
    following = found[-1].message_id if len(found) == query.limit else None
    return answer(Outbox([_shown(each) for each in found], following))


@bp.post("/v1/outbox/<message_id>/retry")
@describe(
    "Operating", who=OPERATOR, path=_MESSAGE_ID, answers={204: Answer("It is sent again")}, errors=WRITES
)
async def retry_message(message_id: str) -> Response:
    """Send a dead letter after all: at once, and with as many tries as a new one."""
    guard.operator()
    if not await parts().store.write(partial(outbox.revive, message_id=message_id)):
        raise NotFound("There is no dead letter of this id")
    parts().wake_outbox()
    return no_content()


@bp.delete("/v1/outbox/<message_id>")
@describe(
    "Operating", who=OPERATOR, path=_MESSAGE_ID, answers={204: Answer("It is never sent")}, errors=WRITES
)
async def drop_message(message_id: str) -> Response:
    """Never send a message that waits or is dead. One that is being sent just now may still arrive."""
    guard.operator()
    if not await parts().store.write(partial(outbox.give_up, message_id=message_id)):
        raise NotFound("There is no message of this id that waits or is dead")
    return no_content()


def _shown(kept: Kept) -> OutboxMessage:
    return OutboxMessage(
        message_id=kept.message_id,
        channel=kind_of(kept.channel),
        user_id=kept.user_id,
        status=msgspec.convert(kept.status, Status),
        created_at=iso(kept.created_ms),
        due_at=None if kept.due_ms is None else iso(kept.due_ms),
        tries=kept.tries,
        error=kept.error,
        ended_at=None if kept.ended_ms is None else iso(kept.ended_ms),
    )


# --- webhooks ---------------------------------------------------------------------------------------

Url = Annotated[
    str,
    Meta(
        max_length=2000,
        pattern=r"^https?://[^\s/?#@]+([/?][!-~]*)?$",
        description="Where calls go; without a user's name in it",
    ),
]


class NewWebhook(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a publisher wants to be told."""

    url: Url
    every: Annotated[bool, Meta(description="Of all notifications, reached or not")] = False
    secret: Annotated[str, Meta(min_length=16, max_length=200)] | None = None


class WebhookSet(Struct, frozen=True):
    """The webhook, with the secret that signs its calls."""

    url: str
    every: bool
    secret: str


_decoder = msgspec.json.Decoder(NewWebhook)
_HOOK = {"url": "https://shop.example/hooks/notifyd", "every": False}


@hooks_bp.put("/v1/webhook")
@describe(
    "Publishing",
    who=PUBLISHER,
    body=NewWebhook,
    examples={"Users who were not reached": {"url": _HOOK["url"]}, "Everything": {**_HOOK, "every": True}},
    answers={200: Answer("Set", WebhookSet, {**_HOOK, "secret": "kept-by-both-sides"})},
    errors=WRITES,
)
async def put_webhook() -> Response:
    """Be called when a user has not acknowledged one of your notifications, or a deal, within the grace time.

    Each call is a POST with `Notifyd-Signature` and an `Idempotency-Key` that stays the same when it is
    repeated. It replaces the webhook of this publish key; a secret is drawn unless one is given.
    """
    publisher = guard.publisher()
    wanted = await read_json(_decoder)
    if not wanted.url.isascii():
        raise Unprocessable("Only ASCII is accepted in an address", path="$.url")
    secret = wanted.secret or secrets.token_urlsafe(24)
    await parts().set_webhook(Webhook(publisher, wanted.url, secret, wanted.every))
    return answer(WebhookSet(wanted.url, wanted.every, secret))


@hooks_bp.get("/v1/webhook")
@describe(
    "Publishing",
    who=PUBLISHER,
    answers={200: Answer("The webhook", WebhookSet, {**_HOOK, "secret": "kept-by-both-sides"})},
    errors=(NotFound,),
)
async def get_webhook() -> Response:
    """The webhook of this publish key."""
    found = await parts().store.read(partial(webhooks.find, publisher=guard.publisher()))
    if found is None:
        raise NotFound("This publisher has no webhook")
    return answer(WebhookSet(found.url, found.every, found.secret))


@hooks_bp.delete("/v1/webhook")
@describe(
    "Publishing", who=PUBLISHER, answers={204: Answer("It is called no more")}, errors=(*WRITES, NotFound)
)
async def delete_webhook() -> Response:
    """End the webhook of this publish key; what waits for it is given up."""
    if not await parts().remove_webhook(guard.publisher()):
        raise NotFound("This publisher has no webhook")
    return no_content()
