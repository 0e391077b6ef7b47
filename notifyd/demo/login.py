"""Signing in to the demo: choose a user, get a short-lived token. Exists in the demo and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from notifyd.auth import TokenVerifier, bearer_value, mint_token
from notifyd.demo.people import PEOPLE
from notifyd.errors import BadRequest, Forbidden, NotFound, Unprocessable
from notifyd.messages import Severity, encode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Sends an announcement to everyone: its text and severity.
    Announce = Callable[[str, Severity], Awaitable[None]]

#: Seconds; the page asks for a new token before that.
TOKEN_SECONDS = 900
#: Under any other name the request comes from a page that had its own name pointed at this machine.
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class _Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str


class _Announcement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message: Annotated[str, Meta(min_length=1, max_length=500)]
    severity: Severity = "info"


def login_blueprint(secret: str, clock: Callable[[], int], announce: Announce) -> Blueprint:
    """`GET /demo/users`, `POST /demo/login` and `POST /demo/announce`.

    `clock` gives milliseconds since 1970. The publish key stays behind `announce`, out of the browser.
    """
    bp = Blueprint("demo", __name__, url_prefix="/demo")
    verifier = TokenVerifier(secret)

    @bp.before_request
    async def only_from_here() -> None:
        host = request.host.rpartition(":")[0] if request.host[-1:].isdecimal() else request.host
        if (host or request.host) not in _LOOPBACK:
            raise Forbidden("The demo answers on this machine's own address only")

    @bp.get("/users")
    async def users() -> Response:
        told = [{"user_id": who.user_id, "name": who.name, "about": who.about} for who in PEOPLE]
        return _answer({"users": told})

    @bp.post("/login")
    async def login() -> Response:
        wanted = await _body(_Login)
        if wanted.user_id not in {who.user_id for who in PEOPLE}:
            raise NotFound("There is no such user in the demo")
        token = mint_token(secret, wanted.user_id, now_ms=clock(), ttl_s=TOKEN_SECONDS)
        return _answer({"token": token, "user_id": wanted.user_id, "expires_in_s": TOKEN_SECONDS})

    @bp.post("/announce")
    async def tell_everyone() -> Response:
        verifier.verify(bearer_value(request.headers.get("authorization")) or "", clock())
        announcement = await _body(_Announcement)
        await announce(announcement.message, announcement.severity)
        return _answer({}, 202)

    return bp


async def _body(model: type[Any]) -> Any:
    """The JSON body of a page of this origin: another one could not send this type without asking first."""
    if request.mimetype != "application/json":
        raise BadRequest("Send the body as Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.get_data(), type=model)
    except msgspec.ValidationError as fault:
        raise Unprocessable(str(fault)) from None
    except msgspec.DecodeError as fault:
        raise BadRequest(str(fault)) from None


def _answer(content: Any, status: int = 200) -> Response:
    return Response(
        encode_json(content), status, headers={"Cache-Control": "no-store"}, content_type="application/json"
    )
