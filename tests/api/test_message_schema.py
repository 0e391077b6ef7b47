"""Whatever the server encodes, and what it accepts from a client, is what the schema of messages allows."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from notifyd import messages
from notifyd.api.message_schema import message_schema
from notifyd.errors import ProtocolError
from notifyd.messages import Cursor, Deal, Draft

NOW_MS = 1_780_000_000_000
DEAL = Deal(item_name="Juice", best_price_in_cents=279, store_name="Shop", store_id=12, url=None)


def validator(definition: str) -> Any:
    schema = message_schema()
    schema["$ref"] = f"#/$defs/{definition}"
    del schema["anyOf"]
    return jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "draft",
    [
        messages.deal_notification([DEAL] * 60),
        messages.system_message("Maintenance", severity="warning"),
        messages.job_completed(7, "import", "done"),
        messages.custom("x-price-error", {"any": ["thing"]}),
    ],
    ids=lambda draft: draft.type,
)
def test_every_notification_is_a_message_of_the_schema(draft: Draft) -> None:
    data = messages.prepare(draft, notification_id="n", user_id="ann")
    text = messages.encode_entry(draft.type, data, NOW_MS, Cursor("e", 7))
    allowed = validator("ServerMessage")
    allowed.validate(json.loads(text))
    without_id = {name: value for name, value in json.loads(text).items() if name != "id"}
    assert not allowed.is_valid(without_id)


@pytest.mark.parametrize(
    "data",
    [
        messages.ConnectionEstablished("ann", "c", "e-7", False, "trimmed", 30_000, None),
        messages.Ping("e-7"),
        messages.Pong(),
        messages.ErrorData("rate_limited", "slower"),
        messages.Reconnect(500, "drain"),
        messages.NotificationUpdated("read", up_to="e-7"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_everything_else_the_server_says_is_too(data: Any) -> None:
    text = messages.encode(data, NOW_MS, Cursor("e", 7))
    validator("ServerMessage").validate(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ping"}',
        '{"type":"pong","data":{}}',
        '{"type":"ack","data":{"up_to":"e-7"}}',
        '{"type":"mark","data":{"state":"read","up_to":"e-7"}}',
        '{"type":"mark","data":{"state":"seen","notification_ids":["n"]}}',
        '{"type":"auth","data":{"token":"t"}}',
        '{"type":"ack"}',
        '{"type":"mark","data":{"state":"read"}}',
        '{"type":"mark","data":{"state":"unread","up_to":"e-7"}}',
        '{"type":"mark","data":{"state":"read","up_to":"e-7","notification_ids":["n"]}}',
        '{"type":"auth","data":{"token":""}}',
        '{"type":"hello"}',
    ],
)
def test_the_schema_allows_a_client_what_the_server_does(text: str) -> None:
    try:
        messages.decode_client_message(text)
    except ProtocolError:
        accepted = False
    else:
        accepted = True
    assert validator("ClientMessage").is_valid(json.loads(text)) == accepted
