"""Who sends the current request. Routes call one of these first, before they read the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from notifyd.api.parts import parts
from notifyd.auth import request_facts
from notifyd.errors import Forbidden, RequestError

if TYPE_CHECKING:
    from notifyd.auth import Identity


def user() -> Identity:
    """The user who calls. Raises Unauthorized or Forbidden. Call it once: a ticket is used up by it."""
    facts = request_facts(
        method=request.method,
        query=request.args,
        headers=request.headers.getlist,
        peer=request.remote_addr or "",
    )
    return parts().keys.authenticate(facts, parts().clock())


def publisher() -> str:
    """The name of the publisher who calls. Raises Unauthorized or Forbidden."""
    return parts().keys.publisher(request.headers.get("authorization"), parts().clock())


def operator() -> str:
    """The name of the operator who calls. Raises Unauthorized or Forbidden."""
    return parts().keys.operator(request.headers.get("authorization"), parts().clock())


def may_publish() -> bool:
    """Whether a publisher calls, for calls that users share with publishers."""
    try:
        publisher()
    except RequestError:
        return False
    return True


def user_or_publisher() -> None:
    """Let users and publishers pass. Raises Unauthorized or Forbidden for everybody else."""
    if not may_publish():
        user()


def subject(user_id: str | None) -> str:
    """The user whom a call is about: the caller, or whom a publisher names as `user_id`.

    Raises Unauthorized or Forbidden.
    """
    if user_id is not None:
        publisher()
        return user_id
    return unnamed().user_id


def unnamed() -> Identity:
    """The user who calls where a publisher would have to name one. Raises Unauthorized or Forbidden."""
    try:
        return user()
    except Forbidden:
        if may_publish():
            raise Forbidden("A publisher must say whose, by `user_id`") from None
        raise
