"""Every error is a problem document, and the same one every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import quart.wrappers.base
import trio
from quart import Blueprint, abort
from structlog.testing import capture_logs

from notifyd.errors import (
    BadRequest,
    CommitFailed,
    DiskFull,
    HttpError,
    IdempotencyConflict,
    OutcomeUnknown,
    TooManyRequests,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Api

BODY = {"type": "system-message", "data": {"message": "hello"}, "user_id": "ann"}


async def test_an_unknown_address(api: Api) -> None:
    answer = await api.call("GET", "/nothing/here")
    assert answer.status == 404
    assert answer.problem == {"type": "not-found", "detail": "There is nothing at this address"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/notifications", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("GET", "/v1/tickets", {"OPTIONS", "POST"}),
        ("TEAPOT", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_method_that_is_not_allowed(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = await api.call(method, path)
    assert answer.status == 405
    assert answer.problem["type"] == "method-not-allowed"
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/v1/notifications/", "/v1//notifications", "/livez/", "/../livez"])
async def test_no_path_is_redirected(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert answer.status == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("error", "status", "expected", "retry_after"),
    [
        (Unavailable("full"), 503, {"type": "unavailable", "detail": "full"}, "1"),
        (
            OutcomeUnknown(),
            503,
            {
                "type": "outcome-unknown",
                "detail": "It is not known whether this was stored",
                "outcome": "unknown",
            },
            "1",
        ),
        (DiskFull(), 507, {"type": "disk-full", "detail": "The database has no room left"}, None),
        (
            CommitFailed(),
            503,
            {"type": "commit-failed", "detail": "The database failed to commit"},
            None,
        ),
        (
            IdempotencyConflict(),
            422,
            {
                "type": "idempotency-conflict",
                "detail": "This Idempotency-Key was used with another body",
            },
            None,
        ),
        (TooManyRequests(), 429, {"type": "too-many-requests", "detail": "Too many requests"}, "1"),
        (BadRequest("odd", where=1), 400, {"type": "bad-request", "detail": "odd", "where": 1}, None),
    ],
)
async def test_errors_from_below(
    failing_api: Callable[[Exception], Api],
    error: HttpError,
    status: int,
    expected: dict[str, object],
    retry_after: str | None,
) -> None:
    answer = await failing_api(error).call("POST", "/v1/notifications", as_="pub", body=BODY)
    assert answer.status == status
    assert answer.problem == expected
    assert answer.json["title"] == error.title
    assert answer.headers.get("retry-after") == retry_after


async def test_a_bug_tells_nothing_to_the_caller_and_its_route_to_the_log(
    failing_api: Callable[[Exception], Api],
) -> None:
    api = failing_api(RuntimeError("secret detail"))
    with capture_logs() as logs:
        answer = await api.call("GET", f"/v1/notifications?token={api.token()}")
    assert answer.status == 500
    assert answer.problem == {"type": "internal", "detail": "Internal error"}
    assert b"secret" not in answer.body
    assert [(line["event"], line["route"], line["method"]) for line in logs] == [
        ("request failed", "/v1/notifications", "GET")
    ]
    assert api.token() not in str(logs)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, {"type": "bad-request", "detail": "The request cannot be read"}),
        (401, {"type": "unauthorized", "detail": "A valid token or key is needed"}),
        (403, {"type": "forbidden", "detail": "This token or key may not do that"}),
        (408, {"type": "request-timeout", "detail": "The body did not arrive in time"}),
        (413, {"type": "too-large", "detail": "The body is too large"}),
        (415, {"type": "unsupported-media-type", "detail": "The body must be application/json"}),
        (500, {"type": "internal", "detail": "Internal error"}),
    ],
)
async def test_errors_of_the_framework(
    failing_api: Callable[[Exception], Api], status: int, expected: dict[str, str]
) -> None:
    bp = Blueprint("odd", __name__)

    @bp.get("/odd")
    async def odd() -> str:
        abort(status)

    answer = await failing_api(RuntimeError()).with_parts(blueprints=[bp]).call("GET", "/odd")
    assert answer.status == status
    assert answer.problem == expected


async def test_an_error_of_the_framework_without_a_name_of_ours(
    failing_api: Callable[[Exception], Api],
) -> None:
    bp = Blueprint("odd", __name__)

    @bp.get("/odd")
    async def odd() -> str:
        abort(418, description="short and stout")

    answer = await failing_api(RuntimeError()).with_parts(blueprints=[bp]).call("GET", "/odd")
    assert answer.status == 418
    assert answer.problem == {"type": "i'm-a-teapot", "detail": "short and stout"}


async def test_a_client_that_left_is_no_bug(
    failing_api: Callable[[Exception], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClientDisconnectedError(Exception):
        pass

    monkeypatch.setattr(
        quart.wrappers.base, "ClientDisconnectedError", ClientDisconnectedError, raising=False
    )
    api = failing_api(ClientDisconnectedError()).with_parts()
    with capture_logs() as logs:
        answer = await api.call("POST", "/v1/notifications", as_="pub", body=BODY)
    assert (answer.status, answer.body, logs) == (499, b"", [])

    async def gone(event: object) -> None:
        raise ClientDisconnectedError

    scope: Any = {"type": "http", "method": "GET", "path": "/livez", "query_string": b"", "headers": []}
    await api.app(
        scope | {"scheme": "http", "http_version": "1.1"}, trio.sleep_forever, gone
    )  # does not raise


async def test_a_bug_outside_a_route_is_a_problem_too(failing_api: Callable[[Exception], Api]) -> None:
    api = failing_api(RuntimeError())

    @api.app.before_request
    async def break_it() -> None:
        raise RuntimeError("boom")

    with capture_logs():
        answer = await api.call("GET", "/nothing")
    assert answer.status == 500
    assert answer.problem == {"type": "internal", "detail": "Internal error"}
