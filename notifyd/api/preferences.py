"""`/v1/preferences` and `/unsubscribe/{token}`: what users want by mail."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd import preferences as wishes
from notifyd.api import guard
from notifyd.api.bodies import answer, read_json
from notifyd.api.describe import ANYONE, USER, WRITES, Answer, describe
from notifyd.api.parts import parts
from notifyd.errors import NotFound
from notifyd.preferences import ALL_TYPES, Policy, QuietHours, Type, WallTime
from notifyd.store import preferences as stored
from notifyd.unsubscribe import Subscription, read_token

if TYPE_CHECKING:
    from notifyd.store.preferences import Standing

bp = Blueprint("preferences", __name__)

_EXAMPLE = {
    "policy": "offline",
    "types": {"deal-notification": "daily"},
    "quiet_hours": {"start": "22:00", "end": "07:00"},
    "daily_at": "08:00",
}


class Preferences(wishes.Preferences, frozen=True, forbid_unknown_fields=True):
    """How a user wants to be written to."""

    types: Annotated[dict[Type, Policy], Meta(max_length=50)] = msgspec.field(default_factory=dict)


class UserPreferences(Struct, frozen=True):
    """What a user wants, and what is known besides."""

    policy: Policy
    types: dict[str, Policy]
    quiet_hours: QuietHours | None
    daily_at: WallTime
    mail: Annotated[bool, Meta(description="Whether this server sends mail at all")]
    email: Annotated[str | None, Meta(description="Where mail goes; the application says it")]
    bounced: Annotated[bool, Meta(description="Mail was refused for ever: nothing is sent to this address")]
    time_zone: Annotated[str | None, Meta(description="Whose hours are meant; null: UTC")]


_decoder = msgspec.json.Decoder(Preferences)
_SHOWN = {
    **_EXAMPLE,
    "mail": True,
    "email": "ann@shop.example",
    "bounced": False,
    "time_zone": "Europe/Vienna",
}


@bp.get("/v1/preferences")
@describe("Users", who=USER, answers={200: Answer("The preferences", UserPreferences, _SHOWN)})
async def get_preferences() -> Response:
    """How the user is written to."""
    user_id = guard.user().user_id
    return answer(_shown(await parts().store.read(partial(stored.standing, user_id=user_id))))


@bp.put("/v1/preferences")
@describe(
    "Users",
    who=USER,
    body=Preferences,
    examples={"Deals once a day, quiet nights": _EXAMPLE, "No mail": {"policy": "never"}},
    answers={200: Answer("The preferences now", UserPreferences, _SHOWN)},
    errors=WRITES,
)
async def put_preferences() -> Response:
    """Say how to be written to.

    It replaces what was said before, also for what waits to be sent. `offline`: what no device has
    acknowledged within the grace time. `always`: everything at once. `never`: nothing. `hourly` and `daily`:
    one mail of all that was not read. In quiet hours nothing is sent but critical announcements; at their
    end, one mail.
    """
    user_id = guard.user().user_id
    wanted = await read_json(_decoder)
    await parts().store.write(partial(stored.put, user_id=user_id, wanted=wanted))
    parts().wake_outbox()
    return answer(_shown(await parts().store.read(partial(stored.standing, user_id=user_id))))


def _shown(found: Standing) -> UserPreferences:
    return UserPreferences(
        **msgspec.structs.asdict(found.preferences),
        mail=parts().config.sends_mail,
        email=found.email,
        bounced=found.bounced,
        time_zone=found.time_zone,
    )


# --- the link in a mail -----------------------------------------------------------------------------

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">
<link rel="stylesheet" href="/assets/style.css"></head>
<body><main class="signin"><h1>{title}</h1>{body}</main></body></html>
"""
_ASK: Final = """<p>{what} will no longer be mailed to you.</p>
<form method="post"><button type="submit" class="primary">Unsubscribe</button></form>"""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
}
_HTML: Final = "text/html; charset=utf-8"
_TOKEN = {"token": "From the link in a mail"}


@bp.get("/unsubscribe/<token>")
@describe(
    "Users", who=ANYONE, path=_TOKEN, answers={200: Answer("A page that asks", str, "", content_type=_HTML)}
)
async def ask_to_unsubscribe(token: str) -> Response:
    """Ask whether to unsubscribe. It changes nothing, since programs look at the links in mails, too."""
    subscription = await _read(token)
    return _page("Unsubscribe", _ASK.format(what=escape(_what(subscription))))


@bp.post("/unsubscribe/<token>")
@describe(
    "Users",
    who=ANYONE,
    path=_TOKEN,
    answers={200: Answer("Done, also when it was done before", str, "", content_type=_HTML)},
    errors=WRITES,
)
async def unsubscribe(token: str) -> Response:
    """End mail of one kind at once, without a login (RFC 8058). Its body is not looked at."""
    subscription = await _read(token)
    await parts().store.write(
        partial(stored.unsubscribe, user_id=subscription.user_id, list_=subscription.list)
    )
    parts().wake_outbox()
    return _page("Unsubscribed", f"<p>{escape(_what(subscription))} will no longer be mailed to you.</p>")


async def _read(token: str) -> Subscription:
    key = await parts().store.read(stored.unsubscribe_key)
    found = None if key is None else read_token(key, token)
    if found is None:
        raise NotFound("This link is not one of ours, or not whole")
    return found


_NAMES: Final = {
    ALL_TYPES: "Notifications of any kind",
    "deal-notification": "Deals on your watched items",
    "system-message": "Announcements",
    "job-completed": "Notices of finished jobs",
}


def _what(subscription: Subscription) -> str:
    return _NAMES.get(subscription.list, f"Notifications of the kind {subscription.list}")


def _page(title: str, body: str) -> Response:
    return Response(_PAGE.format(title=title, body=body), headers=_HEADERS, content_type=_HTML)
