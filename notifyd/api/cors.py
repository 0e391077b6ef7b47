"""Letting the pages of allowed origins read answers, with the user's cookie (WHATWG Fetch, section 3.2).

Only origins that are listed; without a list nothing is said, and a browser keeps every answer from pages of
other origins. Whether a request counts is not decided here but by `auth.cookie_counts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Response, request

from notifyd.auth import origin_allowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart import Quart

#: Seconds for which a browser remembers what it may send.
MAX_AGE_S: Final = 600
_MAY_SEND: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"


def install(app: Quart, allowed_origins: Sequence[str]) -> None:
    """Answer preflights, and say in every answer which page may read it."""
    if not allowed_origins:
        return

    @app.after_request
    async def say(response: Response) -> Response:
        response.vary.add("Origin")
        origins = request.headers.getlist("origin")
        if len(origins) == 1 and origin_allowed(origins[0], "", allowed_origins):
            response.headers["Access-Control-Allow-Origin"] = origins[0]
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
                response.headers["Access-Control-Allow-Headers"] = _MAY_SEND
                response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        return response
