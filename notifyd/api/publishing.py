"""What a publish call means: its body, checked and stored; how the call came does not matter here."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import trio
from msgspec import UNSET, Meta, Struct, UnsetType

from notifyd.api.bodies import MAX_BODY, decode
from notifyd.api.problems import problem
from notifyd.api.publications import (
    MAX_ADDRESSEES,
    MAX_BATCH,
    IdempotencyKey,
    Lifetime,
    Stored,
    StoredMany,
    StoredOne,
    UserIds,
)
from notifyd.auth import is_user_id
from notifyd.clock import Pace
from notifyd.errors import HttpError, TooLarge, TooManyRequests, Unprocessable
from notifyd.inbox import Publication, Receipt
from notifyd.messages import Cursor, Draft, Id, encode_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.api.parts import ApiParts

#: Bytes that one notification may become as rows, one for each addressee: they are one transaction.
MAX_WRITTEN = 16 * 2**20
#: Levels of `data`: what one parser reads easily can be too deep for the next.
MAX_DEPTH = 32


class _One(Struct, frozen=True, forbid_unknown_fields=True):
    type: Annotated[str, Meta(max_length=64)]
    data: dict[str, Any]
    user_id: Id | UnsetType = UNSET
    user_ids: UserIds | UnsetType = UNSET
    broadcast: bool = False
    expires_in_s: Lifetime | None = None
    idempotency_key: IdempotencyKey | None = None


class _Many(Struct, frozen=True, forbid_unknown_fields=True):
    notifications: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH)]


class _Which(Struct, frozen=True):
    notifications: msgspec.Raw | UnsetType = UNSET


_one_decoder = msgspec.json.Decoder(_One)
_many_decoder = msgspec.json.Decoder(_Many)
_which_decoder = msgspec.json.Decoder(_Which)
_canonical = msgspec.json.Encoder(order="sorted")


async def publish(
    parts: ApiParts, publisher: str, body: bytes, key: str | None
) -> tuple[int, Stored | StoredMany]:
    """Store what `body` says; the status of the answer and its content. `key`: the Idempotency-Key header.

    Raises HttpError for one notification that cannot be stored; of many each fails alone.
    """
    if decode(_which_decoder, body).notifications is UNSET:
        return await _publish_one(parts, publisher, body, key)
    if key is not None:
        raise Unprocessable("Give each notification its own idempotency_key", path="$.notifications")
    return 201, await _publish_many(parts, publisher, body)


async def _publish_one(parts: ApiParts, publisher: str, body: bytes, key: str | None) -> tuple[int, Stored]:
    _take(parts, publisher, 1)
    if len(body) > MAX_BODY:
        raise TooLarge(f"At most {MAX_BODY} bytes are accepted for one notification")
    publication = _publication(body, publisher, key)
    receipt = await parts.inbox.append(publication)
    return 200 if receipt.repeated else 201, _told(parts, publication, receipt)


async def _publish_many(parts: ApiParts, publisher: str, body: bytes) -> StoredMany:
    items = decode(_many_decoder, body).notifications
    _take(parts, publisher, len(items))
    pace = Pace()
    wanted: list[Publication | HttpError] = []
    for index, text in enumerate(items):
        wanted.append(_try_publication(text, publisher, index))
        await pace.breathe()
    publications = [each for each in wanted if isinstance(each, Publication)]
    if sum(len(each.user_ids or "1") for each in publications) > MAX_ADDRESSEES:
        raise Unprocessable(f"At most {MAX_ADDRESSEES} addressees in one request", path="$.notifications")
    outcomes = iter(await parts.inbox.append_many(publications) if publications else [])
    results = [
        problem(each) if isinstance(each, HttpError) else _result(parts, each, next(outcomes), _root(index))
        for index, each in enumerate(wanted)
    ]
    return StoredMany(results)


def _take(parts: ApiParts, publisher: str, count: int) -> None:
    """Raises TooManyRequests when the publisher's allowance is used up; `count` is how many to publish."""
    rates = parts.publish_rates
    if rates is not None and not rates.take(publisher, trio.current_time(), count):
        raise TooManyRequests(f"At most {parts.config.publish_rate:g} notifications a second")


def _root(index: int) -> str:
    return f"$.notifications[{index}]"


def _try_publication(text: msgspec.Raw, publisher: str, index: int) -> Publication | HttpError:
    try:
        return _publication(text, publisher, root=_root(index))
    except HttpError as fault:
        return fault


def _publication(
    text: bytes | msgspec.Raw, publisher: str, header_key: str | None = None, root: str = "$"
) -> Publication:
    one = decode(_one_decoder, text, root)
    if bytes(text).count(b"{") + bytes(text).count(b"[") > MAX_DEPTH and _deeper(one.data, MAX_DEPTH):
        raise Unprocessable(f"At most {MAX_DEPTH} levels of objects and lists", path=f"{root}.data")
    key = _key(one, header_key, root)
    user_ids = _addressees(one, root)
    if user_ids is not None and _too_much(bytes(text), one, len(user_ids)):
        raise TooLarge(f"Length times addressees is limited to {MAX_WRITTEN} bytes: send it in parts")
    return Publication(
        draft=Draft(one.type, one.data),
        user_ids=user_ids,
        publisher=publisher,
        expires_in_s=one.expires_in_s,
        idempotency_key=key,
        body_hash=b"" if key is None else _hash(one),
    )


def _too_much(text: bytes, one: _One, addressees: int) -> bool:
    """Whether the rows of this one become too many bytes; its addressees' names are not in each of them."""
    return len(text) * addressees > MAX_WRITTEN and len(encode_json(one.data)) * addressees > MAX_WRITTEN


def _deeper(value: Any, levels: int) -> bool:
    """Whether `value` is nested more than `levels` deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_deeper(inner, levels - 1) for inner in value)


def _addressees(one: _One, root: str) -> tuple[str, ...] | None:
    """Whom it is for; None is everyone. Raises Unprocessable unless exactly one way of saying so is used."""
    if (one.user_id is not UNSET) + (one.user_ids is not UNSET) + one.broadcast != 1:
        raise Unprocessable("Say exactly one of user_id, user_ids and broadcast: true", path=root)
    if one.broadcast:
        return None
    users = (one.user_id,) if one.user_id is not UNSET else tuple(dict.fromkeys(one.user_ids or ()))
    for user_id in users:
        if not is_user_id(user_id):  # no token could ever be this user's
            raise Unprocessable(f"{user_id!r} is no user: only printable characters", path=root)
    return users


def _key(one: _One, header_key: str | None, root: str) -> str | None:
    if header_key is None:
        return one.idempotency_key
    if one.idempotency_key is not None:
        raise Unprocessable("Say it in the header or in the body, not both", path=f"{root}.idempotency_key")
    try:
        return msgspec.convert(header_key, IdempotencyKey)
    except msgspec.ValidationError:
        raise Unprocessable("Idempotency-Key: 1 to 255 printable ASCII characters") from None


def _hash(one: _One) -> bytes:
    """What makes two bodies the same: their meaning, not their spaces, order or way of being sent."""
    meaning = (one.type, one.data, one.user_id, one.user_ids, one.broadcast, one.expires_in_s)
    return sha256(_canonical.encode([None if part is UNSET else part for part in meaning])).digest()


def _result(
    parts: ApiParts, publication: Publication, outcome: Receipt | HttpError, root: str
) -> dict[str, Any] | StoredOne:
    if isinstance(outcome, HttpError):
        return problem(outcome, root)
    told = _told(parts, publication, outcome)
    status = 200 if outcome.repeated else 201
    return StoredOne(status, told.id, told.notification_id, told.live_connections)


def _told(parts: ApiParts, publication: Publication, receipt: Receipt) -> Stored:
    addressees: Sequence[str] | None = publication.user_ids
    return Stored(
        str(Cursor(parts.inbox.epoch, receipt.seq)),
        receipt.notification_id,
        parts.live_connections(addressees),
    )
