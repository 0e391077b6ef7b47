"""The wire as it stands in tests/golden, which the JavaScript client's tests read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notifyd import messages as m
from notifyd.errors import CloseCode

GOLDEN = Path(__file__).parent / "golden"
MESSAGES: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "messages.json").read_text("utf-8"))


@pytest.mark.parametrize("message", MESSAGES["to_client"], ids=lambda message: message["type"])
def test_a_message_to_the_client_is_read_and_written_as_it_stands(message: dict[str, Any]) -> None:
    found = m.decode_server_message(json.dumps(message))
    now_ms = m.parse_time(message["timestamp"])
    cursor = m.parse_cursor(message["id"]) if "id" in message else None
    if isinstance(found.data, msgspec.Struct):
        assert isinstance(found.data, m.SERVER_TYPES[message["type"]])
        written = m.encode(found.data, now_ms, cursor)
    else:
        assert cursor is not None
        written = m.encode_entry(message["type"], m.encode_json(found.data), now_ms, cursor)
    assert json.loads(written) == message


def test_every_type_to_the_client_is_there() -> None:
    assert {message["type"] for message in MESSAGES["to_client"]} == {*m.SERVER_TYPES, "x-parcel"}


@pytest.mark.parametrize("message", MESSAGES["to_server"], ids=lambda message: message["type"])
def test_a_message_to_the_server_is_understood(message: dict[str, Any]) -> None:
    found = m.decode_client_message(json.dumps(message))
    assert json.loads(m.encode_json(found)) | {"type": message["type"]} == message


def test_close_codes() -> None:
    assert json.loads((GOLDEN / "close_codes.json").read_text()) == {
        str(int(code)): [code.reason, code.reconnect] for code in CloseCode
    }
