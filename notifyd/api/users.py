"""`/v1/users`: what publishers say of their users, and their erasure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, Many, answer, decode, no_content, read_body, read_json
from notifyd.api.describe import PUBLISHER, WRITES, Answer, describe, ref
from notifyd.api.parts import parts
from notifyd.api.problems import Problem
from notifyd.api.profiles import NewUser, UserData, check_user_id, profile
from notifyd.errors import HttpError, NotFound, StoreError, Unprocessable
from notifyd.store import profiles
from notifyd.store.profiles import BATCH, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

bp = Blueprint("users", __name__)

MAX_USERS: Final = 10_000

_USER_ID = {"user_id": "The name by which your tokens and calls know the user"}
_EXAMPLE = {"email": "ann@shop.example", "locale": "de-AT", "time_zone": "Europe/Vienna"}


class User(Struct, frozen=True):
    """What is known of a user."""

    user_id: str
    email: str | None
    locale: str | None
    time_zone: str | None


class _Users(Struct, frozen=True, forbid_unknown_fields=True):
    users: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_USERS)]


class Users(Struct, frozen=True, forbid_unknown_fields=True):
    """Many users; each is accepted or refused alone."""

    users: Annotated[list[NewUser], Meta(min_length=1, max_length=MAX_USERS)]


class UserStored(Struct, frozen=True):
    """One user is stored: 201 when new, 200 otherwise."""

    status: Annotated[int, Meta(extra_json_schema={"enum": [200, 201]})]
    user_id: str


_Result = Annotated[Any, Meta(extra_json_schema={"anyOf": [ref(UserStored), ref(Problem)]})]


class UsersStored(Struct, frozen=True):
    """A result for each, in the order of the body."""

    results: list[_Result]


_one_decoder = msgspec.json.Decoder(UserData)
_many_decoder = msgspec.json.Decoder(_Users)
_each_decoder = msgspec.json.Decoder(NewUser)


@bp.get("/v1/users/<path:user_id>")
@describe(
    "Users",
    who=PUBLISHER,
    path=_USER_ID,
    answers={200: Answer("The user", User, {"user_id": "7", **_EXAMPLE})},
)
async def get_user(user_id: str) -> Response:
    """What was said of a user."""
    guard.publisher()
    found = await parts().store.read(partial(profiles.find, user_id=user_id))
    if found is None:
        raise NotFound("Nothing was ever said of this user")
    return answer(User(*found))


@bp.put("/v1/users/<path:user_id>")
@describe(
    "Users",
    who=PUBLISHER,
    path=_USER_ID,
    body=UserData,
    examples={"All of it": _EXAMPLE, "Only a time zone": {"time_zone": "America/Chicago"}},
    answers={
        200: Answer("Replaced", User, {"user_id": "7", **_EXAMPLE}),
        201: Answer("New", User, {"user_id": "7", **_EXAMPLE}),
    },
    errors=WRITES,
)
async def put_user(user_id: str) -> Response:
    """Say where and how to write to a user.

    It replaces what was said before; what is left out is no longer known.
    """
    guard.publisher()
    check_user_id(user_id)
    wanted = profile(user_id, await read_json(_one_decoder))
    new = await parts().store.write(partial(profiles.put, profiles=[wanted]))
    return answer(User(*wanted), 201 if new else 200)


@bp.post("/v1/users")
@describe(
    "Users",
    who=PUBLISHER,
    body=Users,
    examples={"Two users": {"users": [{"user_id": "7", **_EXAMPLE}, {"user_id": "8"}]}},
    answers={
        200: Answer(
            "A result for each",
            UsersStored,
            {"results": [{"status": 201, "user_id": "7"}, {"status": 200, "user_id": "8"}]},
        )
    },
    models=(UserStored, Problem),
    errors=WRITES,
)
async def put_users() -> Response:
    """Say it of up to 10,000 users.

    Each is stored or refused alone: a refused one is a problem document among the results. When a user comes
    twice the last one counts. Sending the same again changes nothing.
    """
    guard.publisher()
    many = Many[Profile]("users")
    await many.read(decode(_many_decoder, await read_body(limit=MAX_BATCH_BODY)).users, _read)
    stored = await _store(many.good)
    return await many.answer(lambda wanted: stored[wanted.user_id], _stored)


def _read(text: msgspec.Raw, root: str) -> Profile:
    data = decode(_each_decoder, text, root)
    return profile(data.user_id, data, root)


async def _store(wanted: Sequence[Profile]) -> dict[str, bool | HttpError]:
    """Store them, some hundred in one transaction; for each whether it is new, or why it is not stored."""
    last = list({each.user_id: each for each in wanted}.values())
    outcomes: dict[str, bool | HttpError] = {}
    for start in range(0, len(last), BATCH):
        some = last[start : start + BATCH]
        try:
            new = await parts().store.write(partial(profiles.put, profiles=some))
        except StoreError as fault:
            outcomes.update((each.user_id, fault) for each in some)
        else:
            outcomes.update((each.user_id, each.user_id in new) for each in some)
    return outcomes


def _stored(wanted: Profile, new: bool) -> dict[str, Any]:
    return {"status": 201 if new else 200, "user_id": wanted.user_id}


@bp.delete("/v1/users/<path:user_id>")
@describe(
    "Users",
    who=PUBLISHER,
    path=_USER_ID,
    answers={204: Answer("Nothing of the user is left")},
    errors=(*WRITES, Unprocessable),
)
async def erase_user(user_id: str) -> Response:
    """Erase everything of a user.

    Live connections are closed; notifications, states, watches, mails, preferences, the ledger and what was
    said of the user are deleted. A cursor from before is answered `recovered: false` with the reason
    `trimmed`. Erasing a user of whom nothing is known is no error, so after an error it can be asked for
    again.
    """
    guard.publisher()
    check_user_id(user_id)
    await parts().erase_user(user_id)
    return no_content()
