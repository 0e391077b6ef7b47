"""What a session decided, carried out on its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notifyd.errors import (
    CloseCode,
    HttpError,
    NotFound,
    StoreError,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from notifyd.keys import Revoked
from notifyd.messages import error
from notifyd.session import Acknowledge, AcknowledgePinged, Close, Say, SetState, State, Verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notifyd.errors import ErrorCode
    from notifyd.messages import Cursor
    from notifyd.session import Action
    from notifyd.transport.connection import Connection

#: Marks of one connection that wait for the database at once.
MAX_MARKS: Final = 16


def perform(connection: Connection, actions: Iterable[Action]) -> None:
    """Carry out `actions` in order. Never waits: marks run apart, so that the reader goes on."""
    for action in actions:
        match action:
            case Say(data):
                connection.say(data)
            case Close(code):
                connection.close(code)
            case Verify(token):
                perform(connection, _verify(connection, token))
            case Acknowledge(cursor):
                _acknowledge(connection, cursor)
            case AcknowledgePinged():
                connection.acknowledge_pinged()
            case SetState():
                _mark_soon(connection, action)


def is_of_this_log(connection: Connection, cursor: Cursor) -> bool:
    """Whether `cursor` names a place that the log has reached."""
    inbox = connection.lane.inbox
    return cursor.epoch == inbox.epoch and cursor.seq <= inbox.head


def _verify(connection: Connection, token: str) -> list[Action]:
    lane, session = connection.lane, connection.session
    try:
        identity = lane.keys.verify_token(token, lane.clock())
    except Revoked:
        return [Close(CloseCode.REVOKED)]
    except Unauthorized:
        return session.refused()
    except Unavailable as fault:  # its key is being fetched
        return [Say(error("unavailable", fault.detail)), *_come_back(session.state)]
    if session.state is not State.UNAUTHENTICATED:
        return connection.refresh(identity)
    if connection.admit(identity):
        return []
    return [Close(CloseCode.CONNECTION_LIMIT)]


def _come_back(state: State) -> list[Action]:
    """An open connection lives on, and its client may try again."""
    return [Close(CloseCode.TRY_AGAIN_LATER)] if state is State.UNAUTHENTICATED else []


def _acknowledge(connection: Connection, cursor: Cursor) -> None:
    if is_of_this_log(connection, cursor):
        connection.lane.inbox.ack(connection.user_id, connection.id, cursor.seq, prompt=True)
    else:
        connection.say(error("bad_message", "up_to is no cursor of this log"))


def _mark_soon(connection: Connection, action: SetState) -> None:
    if action.up_to is not None and not is_of_this_log(connection, action.up_to):
        connection.say(error("bad_message", "up_to is no cursor of this log"))
    elif connection.marks >= MAX_MARKS:
        connection.say(error("rate_limited", f"at most {MAX_MARKS} marks at once"))
    else:
        connection.marks += 1
        connection.lane.nursery.start_soon(_mark, connection, action)


async def _mark(connection: Connection, action: SetState) -> None:
    """A mark is carried out even when its client leaves meanwhile."""
    ids = action.data.notification_ids
    try:
        await connection.lane.inbox.mark(
            connection.user_id,
            action.data.state,
            notification_ids=ids if isinstance(ids, list) else None,
            up_to=None if action.up_to is None else action.up_to.seq,
        )
    except HttpError as fault:
        connection.say(error(_code_of(fault), fault.detail))
    except Exception as fault:
        connection.fail(fault)
    finally:
        connection.marks -= 1


def _code_of(fault: HttpError) -> ErrorCode:
    if isinstance(fault, NotFound):
        return "not_found"
    if isinstance(fault, Unprocessable):
        return "bad_message"
    return "unavailable" if isinstance(fault, StoreError) else "internal"
