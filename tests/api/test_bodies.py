"""What a body may be: JSON, small, on time, and nothing that the server does not know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Api

JSON = {"Content-Type": "application/json"}
MARK = "/v1/notifications/mark"


async def mark(api: Api, raw: bytes, headers: dict[str, str] | None = None) -> Any:
    return await api.call(
        "POST", MARK, as_=api.token(), raw=raw, headers=JSON if headers is None else headers
    )


@pytest.fixture
def offline(failing_api: Callable[[Exception], Api]) -> Api:
    return failing_api(RuntimeError("not to be reached"))


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"],
)
async def test_a_body_must_be_json(offline: Api, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await mark(offline, b"{}", headers)
    assert answer.status == 415
    assert answer.problem == {
        "type": "unsupported-media-type",
        "detail": "Send the body as Content-Type: application/json",
    }


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_be_spelled_differently(offline: Api, content_type: str) -> None:
    assert (await mark(offline, b"{}", {"Content-Type": content_type})).status == 422


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{]",
        b"not json",
        b'{"state": NaN}',
        b'{"state": Infinity}',
        b'{"state": "read",}',
        b"{'state': 'read'}",
        b'{"state": "\xff"}',
        b'{"state": "\\ud800"}',
        b'{"state": "read"} {}',
        b'\xff\xfe{\x00"\x00',
    ],
)
async def test_what_is_not_json_is_a_bad_request(offline: Api, raw: bytes) -> None:
    answer = await mark(offline, raw)
    assert answer.status == 400
    assert answer.problem["type"] == "bad-request"
    assert answer.problem["detail"].startswith("The body is not JSON that can be read: ")


@pytest.mark.parametrize(
    ("body", "detail", "path"),
    [
        ([], "Expected `object`, got `array`", "$"),
        ({}, "Object missing required field `state`", "$"),
        ({"state": "lost"}, "Invalid enum value 'lost'", "$.state"),
        ({"state": "read", "x": 1}, "Object contains unknown field `x`", "$"),
        ({"state": "read", "notification_ids": "a"}, "Expected `array`, got `str`", "$.notification_ids"),
        ({"state": "read", "notification_ids": [1]}, "Expected `str`, got `int`", "$.notification_ids[0]"),
        ({"state": "read"}, "mark takes either notification_ids or up_to", "$"),
    ],
)
async def test_a_body_that_is_not_acceptable_names_the_place(
    offline: Api, body: object, detail: str, path: str
) -> None:
    answer = await mark(offline, json.dumps(body).encode())
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


async def test_64_kib_is_the_most(offline: Api) -> None:
    room = 64 * 1024
    assert (await mark(offline, b" " * (room - 2) + b"{}")).status == 422
    answer = await mark(offline, b" " * (room - 1) + b"{}")
    assert answer.status == 413
    assert answer.problem == {"type": "too-large", "detail": "At most 65536 bytes are accepted here"}


async def test_a_body_that_announces_too_much_is_not_read(offline: Api) -> None:
    answer = await mark(offline, b"{}", JSON | {"Content-Length": "65537"})
    assert answer.status == 413
    assert answer.problem == {"type": "too-large", "detail": "At most 65536 bytes are accepted here"}


async def stream(api: Api, chunks: list[bytes], wait_s: float = 0) -> tuple[int | None, Any]:
    """Send a body of unknown length chunk by chunk."""
    headers = JSON | {"Authorization": f"Bearer {api.token()}"}
    async with api.app.test_client().request(MARK, method="POST", headers=headers) as connection:
        for chunk in chunks:
            await connection.send(chunk)
        await trio.sleep(wait_s)
        await connection.send_complete()
    response = await connection.as_response()
    return response.status_code, json.loads(await response.get_data())


async def test_chunks_are_put_together(offline: Api) -> None:
    status, document = await stream(offline, [b'{"state"', b': "lo', b'st"}'])
    assert (status, document["path"]) == (422, "$.state")


@pytest.mark.parametrize("size", [1000, 50_000])
async def test_a_body_without_a_length_is_bounded_too(offline: Api, size: int) -> None:
    status, document = await stream(offline, [b" " * size] * 2 + [b" " * 65_536])
    assert (status, document["type"]) == (413, "urn:notifyd:problem:too-large")


async def test_a_body_that_does_not_arrive_in_time(
    offline: Api, autojump_clock: trio.testing.MockClock
) -> None:
    started = trio.current_time()
    status, document = await stream(offline, [b"{"], wait_s=10)
    assert (status, document["type"]) == (408, "urn:notifyd:problem:request-timeout")
    assert trio.current_time() - started == 10


async def test_a_client_that_leaves_ends_its_request(offline: Api) -> None:
    events = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    statuses = []

    async def receive() -> Any:
        return next(events)

    async def send(event: Any) -> None:
        statuses.append(event.get("status"))

    authorization = f"Bearer {offline.token()}".encode()
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": MARK,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"authorization", authorization)],
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    with trio.fail_after(5), capture_logs() as logs:
        await offline.app(scope, receive, send)
    assert (statuses, logs) == ([], [])


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"[" * 60_000, 422),
        (b'{"state":' + b"[" * 60_000, 422),
        (b'{"x":' * 10_000, 422),
    ],
)
async def test_a_depth_bomb_is_just_a_bad_body(offline: Api, raw: bytes, status: int) -> None:
    assert (await mark(offline, raw)).status == status
