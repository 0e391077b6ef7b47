"""What publishers say of a user, read and checked."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from notifyd.errors import Unprocessable
from notifyd.messages import Id
from notifyd.store.profiles import Profile

#: RFC 5321 section 4.5.3.1.3, without the angle brackets, and section 4.5.3.1.1.
MAX_EMAIL: Final = 254
MAX_LOCAL_PART: Final = 64
#: RFC 5321's dot-string, letters beyond ASCII allowed (RFC 6531); no quotes, comments or literal addresses.
_LOCAL_PART: Final = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_LABEL: Final = r"[^\W_]([\w-]{0,61}[^\W_])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})+")
#: RFC 5646 section 2.1, as far as its form.
_LOCALE: Final = "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$"
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")

Email = Annotated[str, Meta(max_length=MAX_EMAIL, description="Where mail goes; null: nowhere")]
Locale = Annotated[str, Meta(max_length=35, pattern=_LOCALE, description="A BCP 47 tag, like `de-AT`")]
Zone = Annotated[str, Meta(max_length=64, description="An IANA name, like `Europe/Vienna`")]


class UserData(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a user."""

    email: Email | None = None
    locale: Locale | None = None
    time_zone: Zone | None = None


class NewUser(UserData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user of many."""

    user_id: Id


def profile(user_id: str, data: UserData, root: str = "$") -> Profile:
    """The row of a user. Raises Unprocessable with the path of what is not acceptable."""
    if not user_id.isprintable():
        raise Unprocessable("Expected printable characters", path=f"{root}.user_id")
    if data.email is not None and not is_email(data.email):
        raise Unprocessable("This is not an email address", path=f"{root}.email")
    if data.time_zone is not None and not is_zone(data.time_zone):
        raise Unprocessable("This is not the name of a time zone", path=f"{root}.time_zone")
    return Profile(user_id, data.email, data.locale, data.time_zone)


def check_user_id(user_id: str) -> None:
    """Raises Unprocessable for what no user can be called."""
    try:
        msgspec.convert(user_id, Id)
    except msgspec.ValidationError as fault:
        raise Unprocessable(f"user_id: {fault}") from None
    if not user_id.isprintable():
        raise Unprocessable("user_id: only printable characters")


def is_email(text: str) -> bool:
    """Whether mail can be addressed to it: nothing in it could end a header field."""
    local_part, _, domain = text.rpartition("@")
    return (
        len(local_part) <= MAX_LOCAL_PART
        and _LOCAL_PART.fullmatch(local_part) is not None
        and _DOMAIN.fullmatch(domain) is not None
    )


@lru_cache(1024)
def is_zone(name: str) -> bool:
    """Whether the system knows a time zone of this name."""
    if _ZONE.fullmatch(name) is None:
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
