"""One error, two ways to say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifyd.errors import BadRequest, HttpError
from notifyd.transport.refusal import NoRoom, answer_problem, refusal


@pytest.mark.parametrize("error", [HttpError(), BadRequest("not so", where="here"), NoRoom()])
async def test_an_asgi_answer_says_what_the_bytes_say(error: HttpError) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await answer_problem(send, error)
    start, body = sent
    head, _, plain_body = refusal(error).partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    fields = [(name.lower(), value) for name, _, value in lines if name != b"Connection"]
    assert (start["status"], start["headers"]) == (error.status, fields)
    assert (body["body"], body["more_body"]) == (plain_body, False)
    assert json.loads(plain_body)["type"] == f"urn:notifyd:problem:{error.slug}"
    assert (b"retry-after" in dict(fields)) is (error.status == 503)
