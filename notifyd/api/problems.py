"""Every error as an RFC 9457 problem document, whoever raised it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import quart.wrappers.base
import structlog
from msgspec import UNSET, Meta, Struct, UnsetType
from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from notifyd.auth import MissingToken
from notifyd.errors import (
    BadRequest,
    Forbidden,
    HttpError,
    NotFound,
    RequestError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from notifyd.messages import encode_json

if TYPE_CHECKING:
    import msgspec

log = structlog.get_logger("notifyd.api")

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:notifyd:problem:"
#: What proxies log for a client that left before its answer; nobody reads it.
CLIENT_CLOSED_REQUEST = 499


class Problem(Struct, frozen=True):
    """RFC 9457: `type` is `urn:notifyd:problem:` and the kind of error; `path` is the place of a fault."""

    type: Annotated[str, Meta(pattern=f"^{TYPE_PREFIX}[a-z-]+$")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    path: Annotated[str, Meta(examples=["$.data.message"])] | UnsetType = UNSET
    outcome: Annotated[Literal["unknown"], Meta(description="It may have been stored")] | UnsetType = UNSET
    reasons: Annotated[list[str], Meta(description="Why the server is not ready")] | UnsetType = UNSET


class UnsupportedMediaType(RequestError):
    status, slug, title = 415, "unsupported-media-type", "The body must be application/json"


class SlowBody(RequestError):
    status, slug, title = 408, "request-timeout", "The body did not arrive in time"


class NotReady(Unavailable):
    slug, title = "not-ready", "The server is not ready"


def problem(error: HttpError, root: str = "$") -> dict[str, Any]:
    """The members of the problem document of `error` (RFC 9457 section 3.1).

    A validation error that names its place in the text gets it as `path`, below `root` in the body.
    """
    detail, extra = error.detail, error.extra
    if isinstance(error, Unprocessable) and _PLACE in detail:
        detail, path = _place(detail, root)
        extra = extra | {"path": path}
    return {
        "type": TYPE_PREFIX + error.slug,
        "title": error.title,
        "status": error.status,
        "detail": detail,
        **extra,
    }


def problem_response(error: HttpError, headers: dict[str, str] | None = None) -> Response:
    """`error` as an HTTP answer, with the header fields its status asks for."""
    return _response(problem(error), headers_of(error) | (headers or {}))


def invalid(fault: msgspec.ValidationError, root: str = "$") -> Unprocessable:
    """A 422 that names the place of the fault below `root` in the body."""
    detail, path = _place(str(fault), root)
    return Unprocessable(detail, path=path)


#: How msgspec says where a fault is: "Expected `str`, got `int` - at `$.data.message`".
_PLACE = " - at `"


def _place(text: str, root: str) -> tuple[str, str]:
    detail, _, place = text.partition(_PLACE)
    return detail, root + place.removesuffix("`").removeprefix("$")


def install(app: Quart) -> None:
    """Make every error of `app` a problem document."""
    app.register_error_handler(HttpError, _on_our_error)
    app.register_error_handler(HTTPException, _on_framework_error)
    app.register_error_handler(Exception, _on_bug)
    app.register_error_handler(disconnected_error(), _on_disconnect)


def disconnected_error() -> type[Exception]:
    """What Quart 0.23 raises in a request whose client left; 0.22 cancels the request instead."""
    return getattr(quart.wrappers.base, "ClientDisconnectedError", _NeverRaised)


class _NeverRaised(Exception):
    pass


async def _on_our_error(error: HttpError) -> Response:
    return problem_response(error)


async def _on_bug(error: Exception) -> Response:
    route = request.url_rule.rule if request.url_rule is not None else "?"
    log.error("request failed", method=request.method, route=route, exc_info=error)
    return problem_response(HttpError())


async def _on_disconnect(error: Exception) -> Response:
    return Response(b"", CLIENT_CLOSED_REQUEST)


#: The errors of the framework that have a name of ours.
_OURS: dict[int, HttpError] = {
    400: BadRequest(),
    401: Unauthorized(),
    403: Forbidden(),
    404: NotFound("There is nothing at this address"),
    408: SlowBody(),
    413: TooLarge(),
    415: UnsupportedMediaType(),
    500: HttpError(),
}


async def _on_framework_error(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {}
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if status in _OURS:
        return problem_response(_OURS[status], headers)
    document = {
        "type": TYPE_PREFIX + error.name.lower().replace(" ", "-"),
        "title": error.name,
        "status": status,
        "detail": error.description or error.name,
    }
    return _response(document, headers)


def headers_of(error: HttpError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, MissingToken):  # RFC 6750 section 3.1: no error code when nothing was sent
        headers["WWW-Authenticate"] = 'Bearer realm="notifyd"'
    elif isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="notifyd", error="invalid_token"'
    return headers


def _response(document: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(
        encode_json(document),
        document["status"],
        headers={"Cache-Control": "no-store"} | headers,
        content_type=CONTENT_TYPE,
    )
