"""`GET /v1/notifications/{notification_id}/trace`: what became of one notification, step by step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer, read_query
from notifyd.api.describe import OPERATOR, Answer, describe
from notifyd.api.fields import CursorId, Moment, NotificationId
from notifyd.api.parts import parts
from notifyd.errors import CloseCode, NotFound
from notifyd.inbox.tracing import WHY_NOT, WhyNot, trace
from notifyd.messages import Cursor, Id, State, iso, parse_cursor
from notifyd.store import tracing
from notifyd.store.deliveries import MAIL

if TYPE_CHECKING:
    from notifyd.inbox.tracing import Trace, Way
    from notifyd.store.base import Transaction
    from notifyd.store.tracing import Facts

bp = Blueprint("trace", __name__)

StepName = Literal[
    "stored", "dispatched", "written", "acknowledged", "seen", "read", "archived", "withdrawn", "expired"
]


class _Query(Struct, frozen=True):
    user_id: Annotated[Id, Meta(description="For whom")]


class Step(Struct, frozen=True):
    """Something that happened to it; times of `dispatched` and `written` are exact within a second."""

    step: StepName
    at: Moment
    text: str
    connection_id: str | None = None


class TracedConnection(Struct, frozen=True):
    """One of the user's connections since it was stored: when it was written there, or why it was not."""

    connection_id: str
    transport: Literal["websocket", "sse"]
    connected_at: Moment
    closed_at: Moment | None
    close_code: int | None
    close_reason: str | None
    began_after: Annotated[CursorId | None, Meta(description="null: it was refused")]
    written_at: Moment | None
    why_not: WhyNot | None
    text: str


MailWhyNot = Literal[
    "no_mail",
    "not_asked",
    "waits",
    "acknowledged",
    "read",
    "withdrawn",
    "expired",
    "unsubscribed",
    "no_address",
    "bounced",
    "dead",
    "dropped",
]


class Mail(Struct, frozen=True):
    """Whether an email said it, too, and why not, or not yet. `no_mail`: this server sends none."""

    mailed_at: Moment | None
    why_not: MailWhyNot | None
    text: str


class NotificationTrace(Struct, frozen=True):
    """What became of a notification for one user."""

    notification_id: NotificationId
    user_id: str
    id: CursorId
    type: str
    everyone: bool
    state: State
    steps: list[Step]
    connections: list[TracedConnection]
    mail: Mail
    why_not: Annotated[list[str], Meta(description="Why no client has confirmed it; empty when one has")]


_EXAMPLE = {
    "notification_id": "nUq3Tn1kT8mX2cPq",
    "user_id": "7",
    "id": "6f1c9a02-4711",
    "type": "system-message",
    "everyone": False,
    "state": "unread",
    "steps": [
        {"step": "stored", "at": "2026-01-31T12:00:00.000Z", "text": "stored", "connection_id": None},
        {
            "step": "dispatched",
            "at": "2026-01-31T12:00:00.412Z",
            "text": "offered to every connection that keeps up",
            "connection_id": None,
        },
    ],
    "connections": [],
    "mail": {"mailed_at": None, "why_not": "no_mail", "text": "this server sends no email"},
    "why_not": ["the user has not been connected since it was stored"],
}


@bp.get("/v1/notifications/<notification_id>/trace")
@describe(
    "Operating",
    who=OPERATOR,
    path={"notification_id": "The notification, or the `id` of its message"},
    query=_Query,
    answers={200: Answer("What is known", NotificationTrace, _EXAMPLE)},
)
async def trace_notification(notification_id: str) -> Response:
    """Say what became of a notification.

    Stored, dispatched, written to which connections, acknowledged, seen, read, withdrawn or expired, mailed,
    each with its time, and why not. It is known as long as the notification itself is kept.
    """
    guard.operator()
    user_id = read_query(_Query).user_id
    found = await parts().store.read(
        partial(_facts, user_id=user_id, name=notification_id, epoch=parts().inbox.epoch)
    )
    if found is None:
        raise NotFound("This user has no such notification, or it is no longer kept")
    return answer(_told(trace(found), user_id, parts().inbox.epoch))


def _facts(tx: Transaction, *, user_id: str, name: str, epoch: str) -> Facts | None:
    found = tracing.facts(tx, user_id, name)
    cursor = parse_cursor(name)
    if found is None and cursor is not None and cursor.epoch == epoch:
        named = tracing.id_at(tx, user_id, cursor.seq)
        found = None if named is None else tracing.facts(tx, user_id, named)
    return found


def _told(found: Trace, user_id: str, epoch: str) -> NotificationTrace:
    facts = found.facts
    return NotificationTrace(
        notification_id=facts.notification_id,
        user_id=user_id,
        id=str(Cursor(epoch, facts.seq)),
        type=facts.type,
        everyone=facts.everyone,
        state=found.state,
        steps=_steps(found),
        connections=[_connection(way, epoch) for way in found.ways],
        mail=_mail(facts),
        why_not=_unconfirmed(found),
    )


#: In words, for people.
_MAIL_TEXTS: dict[MailWhyNot, str] = {
    "no_mail": "this server sends no email",
    "not_asked": "the user had no address when it was stored",
    "acknowledged": "a device acknowledged it within the grace time",
    "read": "the user had read it before the digest",
    "withdrawn": "it was withdrawn before the mail",
    "expired": "it expired before the mail",
    "unsubscribed": "the user wants no mail of this kind",
    "no_address": "the user has no address any more",
    "bounced": "mail to the user's address is refused",
}
_WAITS = {
    "grace": "for an acknowledgement",
    "digest": "for the digest",
    "quiet": "for the end of quiet hours",
}


def _mail(facts: Facts) -> Mail:
    told = next((each for each in facts.told if each.channel == MAIL), None)
    if told is None:
        why: MailWhyNot = "not_asked" if parts().config.sends_mail else "no_mail"
        return Mail(None, why, _MAIL_TEXTS[why])
    if told.reason in _MAIL_TEXTS:
        return _left_out(told.reason)
    if told.status == "sent" and told.ended_ms is not None:
        return Mail(iso(told.ended_ms), None, "handed to the mail server")
    if told.status == "dead":
        return Mail(None, "dead", f"given up: {told.error}")
    if told.status == "dropped" and told.error in _MAIL_TEXTS:
        return _left_out(told.error)
    if told.status == "dropped":
        return Mail(None, "dropped", "dropped by an operator")
    if told.due_ms is not None:
        until = f", until {iso(told.due_ms)}" if told.waits_for else ""
        return Mail(None, "waits", f"waits {_WAITS.get(told.waits_for or '', 'to be decided on')}{until}")
    last = "" if told.error is None else f"; last: {told.error}"
    return Mail(None, "waits", f"waits in the outbox{last}")


def _left_out(reason: Any) -> Mail:
    return Mail(None, reason, _MAIL_TEXTS[reason])


def _unconfirmed(found: Trace) -> list[str]:
    facts, why_not = found.facts, list(found.why_not)
    if why_not and facts.everyone and facts.seq <= facts.marks.appeared:
        why_not.append("it was announced before the user first came, so it is listed as seen")
    return why_not


def _steps(found: Trace) -> list[Step]:
    """All that happened, in the order of time."""
    facts = found.facts
    steps: list[tuple[int, StepName, str, str | None]] = [(facts.created_ms, "stored", "stored", None)]
    if facts.dispatched_ms is not None:
        text = "offered to every connection that keeps up"
        steps.append((max(facts.created_ms, facts.dispatched_ms), "dispatched", text, None))
    for way in found.ways:
        if way.written_ms is not None:
            at_ms = max(facts.created_ms, way.written_ms)
            text = f"written to a {way.connection.transport} connection"
            steps.append((at_ms, "written", text, way.connection.connection_id))
    if found.acknowledged and (ack := facts.acknowledged) is not None:
        text = "acknowledged, at this time at the latest"
        steps.append((ack.at_ms, "acknowledged", text, ack.connection_id))
    steps += [
        (change.at_ms, _STEP_OF[change.state], f"marked {change.state}", None) for change in found.changes
    ]
    if found.expired and facts.expires_ms is not None:
        steps.append((facts.expires_ms, "expired", "expired", None))
    steps.sort(key=lambda step: step[0])
    return [Step(name, iso(at_ms), text, connection_id) for at_ms, name, text, connection_id in steps]


_STEP_OF: dict[State, StepName] = {
    "seen": "seen",
    "read": "read",
    "archived": "archived",
    "withdrawn": "withdrawn",
}


def _connection(way: Way, epoch: str) -> TracedConnection:
    kept, transport = way.connection, way.connection.transport
    written = way.written_ms is not None
    return TracedConnection(
        connection_id=kept.connection_id,
        transport="sse" if transport == "sse" else "websocket",
        connected_at=iso(kept.connected_ms),
        closed_at=None if kept.closed_ms is None else iso(kept.closed_ms),
        close_code=kept.close_code,
        close_reason=CloseCode.reason_of(kept.close_code),
        began_after=None if kept.start_seq is None else str(Cursor(epoch, kept.start_seq)),
        written_at=None if way.written_ms is None else iso(way.written_ms),
        why_not=way.why_not,
        text="written" if written or way.why_not is None else f"not written: {WHY_NOT[way.why_not]}",
    )
