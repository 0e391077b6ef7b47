from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd import messages as m
from notifyd.errors import ProtocolError

DEAL = m.Deal("Orange juice 64 oz", 199, "Corner shop", 12)
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def wire(draft: m.Draft, user_id: str | None = "7") -> dict[str, Any]:
    data = m.prepare(draft, notification_id="n1", user_id=user_id)
    decoded: dict[str, Any] = json.loads(
        m.encode_entry(draft.type, data, 1_769_860_800_123, m.Cursor("ab", 5))
    )
    return decoded


class TestCreators:
    def test_it_creates_valid_deal_notification_messages(self) -> None:
        message = wire(m.deal_notification([DEAL]))
        assert message == {
            "type": "deal-notification",
            "data": {
                "notification_id": "n1",
                "deals": [
                    {
                        "item_name": "Orange juice 64 oz",
                        "best_price_in_cents": 199,
                        "store_name": "Corner shop",
                        "store_id": 12,
                    }
                ],
                "user_id": "7",
                "message": "You have 1 new deal(s) on your watched items!",
            },
            "timestamp": "2026-01-31T12:00:00.123Z",
            "id": "ab-5",
        }
        typed = m.decode_server_message(json.dumps(message))
        assert typed.data == m.DealNotification(
            "n1", [DEAL], "7", "You have 1 new deal(s) on your watched items!"
        )

    @given(st.integers(0, 253_402_300_799_999))
    def test_it_generates_valid_iso_timestamps(self, ms: int) -> None:
        text = m.iso(ms)
        assert ISO.fullmatch(text)
        assert m.parse_time(text) == ms
        assert datetime.fromisoformat(text).utcoffset() is not None

    def test_system_message_and_job(self) -> None:
        announcement = wire(m.system_message("Hello", severity="warning", critical=True), None)
        assert announcement["data"] == {
            "notification_id": "n1",
            "message": "Hello",
            "severity": "warning",
            "critical": True,
        }
        job = wire(m.job_completed(7, "import", "done"))
        assert job["data"] == {"notification_id": "n1", "job_id": 7, "job_name": "import", "status": "done"}
        custom = wire(m.custom("x-cart", {"items": [1, None, "ä"]}))
        assert custom["data"] == {"notification_id": "n1", "items": [1, None, "ä"]}

    def test_error(self) -> None:
        text = m.encode(m.error("rate_limited", "slow down"), 0)
        assert json.loads(text) == {
            "type": "error",
            "data": {"code": "rate_limited", "message": "slow down"},
            "timestamp": "1970-01-01T00:00:00.000Z",
        }

    def test_more_than_fifty_deals_are_counted(self) -> None:
        message = wire(m.deal_notification([DEAL] * 53))
        assert len(message["data"]["deals"]) == 50
        assert message["data"]["more_deals"] == 3
        assert message["data"]["message"] == "You have 53 new deal(s) on your watched items!"

    def test_a_publisher_that_counted_itself(self) -> None:
        draft = m.Draft("deal-notification", {"deals": [{**msgspec.to_builtins(DEAL)}], "more_deals": 4})
        assert wire(draft)["data"]["more_deals"] == 4
        assert wire(draft)["data"]["message"].startswith("You have 5 ")

    @pytest.mark.parametrize("store_id", [12, "12", "Filiale 3"])
    def test_a_store_id_stays_as_given(self, store_id: int | str) -> None:
        draft = m.deal_notification([m.Deal("OJ", 1, "S", store_id)])
        assert wire(draft)["data"]["deals"][0]["store_id"] == store_id


@pytest.mark.parametrize(
    ("draft", "user_id", "path"),
    [
        (m.Draft("deal-notification", {"deals": []}), "7", "$.data.deals"),
        (m.Draft("deal-notification", {"deals": [{"item_name": 3}]}), "7", "$.data.deals[0].item_name"),
        (
            m.Draft("deal-notification", {"deals": [msgspec.to_builtins(DEAL) | {"x": 1}]}),
            "7",
            "$.data.deals[0]",
        ),
        (m.deal_notification([DEAL]), None, "$.type"),
        (
            m.Draft("deal-notification", {"deals": [msgspec.to_builtins(DEAL)], "user_id": "8"}),
            "7",
            "$.data.user_id",
        ),
        (
            m.Draft(
                "deal-notification", {"deals": [msgspec.to_builtins(DEAL) | {"best_price_in_cents": 1.5}]}
            ),
            "7",
            "$.data",
        ),
        (m.Draft("system-message", {"message": ""}), None, "$.data.message"),
        (m.Draft("system-message", {"message": "x", "severity": "loud"}), None, "$.data.severity"),
        (m.Draft("system-message", {}), None, "$.data"),
        (m.Draft("ping", {}), None, "$.type"),
        (m.Draft("X-upper", {}), None, "$.type"),
        (m.Draft("x-", {}), None, "$.type"),
        (m.Draft("x-mine", {"notification_id": "mine"}), None, "$.data.notification_id"),
    ],
)
def test_what_cannot_be_published_says_where(draft: m.Draft, user_id: str | None, path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(f"`{path}")):
        m.prepare(draft, notification_id="n", user_id=user_id)


def test_custom_data_must_be_an_object() -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `object`"):
        m.prepare(m.Draft("x-mine", [1]), notification_id="n", user_id=None)  # type: ignore[arg-type]


def test_the_original_user_id_may_be_a_number() -> None:
    draft = m.Draft("deal-notification", {"deals": [msgspec.to_builtins(DEAL)], "user_id": 7})
    assert wire(draft)["data"]["user_id"] == "7"


class TestCursor:
    @given(st.from_regex(r"[0-9A-Za-z]{1,40}", fullmatch=True), st.integers(0, 2**63 - 1))
    def test_round_trip(self, epoch: str, seq: int) -> None:
        assert m.parse_cursor(str(m.Cursor(epoch, seq))) == m.Cursor(epoch, seq)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "-1",
            "ab",
            "ab-",
            "-5",
            "ab--5",
            "ab-05",
            "ab-1e3",
            "ab-5 ",
            " ab-5",
            "ab-5\n",
            "ab-9223372036854775808",
            "a" * 41 + "-1",
            "ä-1",
            "ab-٥",
            "ab-5-6",
            "null",
            "ab-+5",
            "ab_-5",
        ],
    )
    def test_what_is_not_a_cursor(self, text: str) -> None:
        assert m.parse_cursor(text) is None

    @given(st.text(max_size=70))
    def test_any_text_is_a_cursor_or_not(self, text: str) -> None:
        cursor = m.parse_cursor(text)
        assert cursor is None or str(cursor) == text


class TestClientMessages:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ('{"type":"ping"}', m.ClientPing()),
            ('{"type":"pong","data":{},"timestamp":"2026-01-01T00:00:00.000Z"}', m.ClientPong()),
            ('{"data":{"up_to":"a-5","more":1},"type":"ack"}', m.Ack(m._AckData("a-5"))),
            ('{"type":"auth","data":{"token":"t"}}', m.Auth(m._AuthData("t"))),
            (
                '{"type":"mark","data":{"notification_ids":["a"],"state":"read"}}',
                m.Mark(m.MarkData("read", ["a"])),
            ),
            (
                '{"type":"mark","data":{"up_to":"a-1","state":"seen"}}',
                m.Mark(m.MarkData("seen", up_to="a-1")),
            ),
        ],
    )
    def test_messages_are_read(self, raw: str, expected: m.ClientMessage) -> None:
        assert m.decode_client_message(raw) == expected

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"", "bad_message"),
            (b"\xff\xfe", "bad_message"),
            ("[]", "bad_message"),
            ("{}", "bad_message"),
            ('{"type":5}', "bad_message"),
            ('{"type":"deal-notification","data":{}}', "unknown_type"),
            ('{"type":"ack"}', "bad_message"),
            ('{"type":"ack","data":{"up_to":7}}', "bad_message"),
            ('{"type":"mark","data":{"state":"read"}}', "bad_message"),
            ('{"type":"mark","data":{"state":"read","up_to":"a-1","notification_ids":["b"]}}', "bad_message"),
            ('{"type":"mark","data":{"state":"withdrawn","up_to":"a-1"}}', "bad_message"),
            ('{"type":"mark","data":{"state":"read","notification_ids":[]}}', "bad_message"),
            ("[" * 100_000, "bad_message"),
        ],
    )
    def test_faults_are_named(self, raw: bytes | str, code: str) -> None:
        with pytest.raises(ProtocolError) as caught:
            m.decode_client_message(raw)
        assert caught.value.code == code
        assert caught.value.close is None
        assert len(caught.value.message) < 300

    @given(st.binary(max_size=200) | st.text(max_size=200))
    def test_any_input_gives_a_message_or_a_protocol_error(self, raw: bytes | str) -> None:
        try:
            m.decode_client_message(raw)
        except ProtocolError as fault:
            assert fault.code in ("bad_message", "unknown_type")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
        ),
        st.sampled_from(["ack", "mark", "auth", "ping", "pong", "nope"]),
    )
    def test_any_json_under_any_type(self, data: Any, type_: str) -> None:
        raw = json.dumps({"type": type_, "data": data})
        try:
            m.decode_client_message(raw)
        except ProtocolError as fault:
            assert (fault.code == "unknown_type") == (type_ == "nope")


class TestServerMessages:
    def test_unknown_types_keep_their_data(self) -> None:
        message = m.decode_server_message(
            '{"type":"x-new","data":{"a":1},"timestamp":"t","id":"e-1","later":true}'
        )
        assert (message.type, message.data, message.id) == ("x-new", {"a": 1}, "e-1")

    @pytest.mark.parametrize(
        "raw", ["", "[]", '{"type":"ping","data":{},"timestamp":"t"}', '{"type":"ping"}', b"\xff"]
    )
    def test_what_is_not_a_message(self, raw: str | bytes) -> None:
        with pytest.raises(ProtocolError):
            m.decode_server_message(raw)

    @pytest.mark.parametrize("name", sorted(m.SERVER_TYPES))
    def test_the_protocol_page_lists_every_type_and_field(self, name: str) -> None:
        page = Path("docs/protocol.md").read_text()
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        missing = [f for f in m.SERVER_TYPES[name].__struct_fields__ if f"`{f}`" not in row]
        assert not missing


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "yesterday", ""])
def test_a_time_needs_a_zone(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        m.parse_time(text)
