"""The opening handshake (RFC 6455 section 4.2) and the frames that follow it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from notifyd.errors import BadRequest, CloseCode, HttpError, UpgradeRequired
from notifyd.transport import frames
from notifyd.transport.handshake import accept_upgrade, refuse_upgrade
from notifyd.transport.head import parse_head
from tests.transport.lane.conftest import WebSocketClient

if TYPE_CHECKING:
    from trio.testing import MockClock

    from notifyd.transport.head import RequestHead
    from tests.transport.lane.conftest import World

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def head(*fields: tuple[str, str], key: str | None = KEY, version: str | None = "13") -> RequestHead:
    lines = [("Host", "h"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    lines += [] if key is None else [("Sec-WebSocket-Key", key)]
    lines += [] if version is None else [("Sec-WebSocket-Version", version)]
    text = "".join(f"{name}: {value}\r\n" for name, value in [*lines, *fields])
    return parse_head(f"GET /ws HTTP/1.1\r\n{text}\r\n".encode("latin-1"), "127.0.0.1")


def test_the_rfcs_own_example() -> None:
    assert accept_upgrade(head()) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "abc",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZR==",  # bits that 16 bytes do not have
        "dGhlIHNhbXBsZSBub25jZQ==x",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25-ZQ==",
    ],
)
def test_a_key_that_is_not_16_bytes_of_base64_is_400(key: str | None) -> None:
    with pytest.raises(BadRequest):
        accept_upgrade(head(key=key))


def test_two_keys_are_400() -> None:
    with pytest.raises(BadRequest):
        accept_upgrade(head(("Sec-WebSocket-Key", KEY)))


@given(st.binary(min_size=16, max_size=16))
def test_every_16_bytes_are_a_key(nonce: bytes) -> None:
    assert b" 101 " in accept_upgrade(head(key=base64.b64encode(nonce).decode()))


@pytest.mark.parametrize("version", [None, "8", "12", "14", "13, 8", "013"])
def test_another_version_is_426_and_is_told_ours(version: str | None) -> None:
    with pytest.raises(UpgradeRequired) as refused:
        accept_upgrade(head(version=version))
    answer = refuse_upgrade(refused.value)
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
    assert b"Sec-WebSocket-Version" not in refuse_upgrade(BadRequest("no"))


@pytest.mark.parametrize(
    "value",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits=abc",
        "permessage-deflate; client_max_window_bits",
        "\xff\xfe",
    ],
)
def test_no_extension_is_ever_accepted(value: str) -> None:
    answer = accept_upgrade(head(("Sec-WebSocket-Extensions", value)))
    assert answer == accept_upgrade(head())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("chat", None), ("chat, bearer.a.b-c_d", "bearer.a.b-c_d"), ("bearer.x,,chat", "bearer.x")],
)
def test_only_the_bearer_subprotocol_is_chosen(offered: str, chosen: str | None) -> None:
    answer = accept_upgrade(head(("Sec-WebSocket-Protocol", offered)))
    assert (f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode() in answer) is (chosen is not None)
    assert (b"Sec-WebSocket-Protocol" in answer) is (chosen is not None)


@pytest.mark.parametrize("offered", ["bearer.\xff", "a b", 'bearer."x"', "bearer.a;b"])
def test_a_subprotocol_that_is_no_token_is_400(offered: str) -> None:
    with pytest.raises(BadRequest):
        accept_upgrade(head(("Sec-WebSocket-Protocol", offered)))


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60))
def test_any_field_value_is_accepted_or_refused(value: str) -> None:
    fields: Any = [(name, value) for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")]
    try:
        assert accept_upgrade(head(*fields)).startswith(b"HTTP/1.1 101 ")
    except HttpError as refused:
        assert refused.status == 400


@pytest.mark.parametrize("field", [("Sec-WebSocket-Key", "abc"), ("Sec-WebSocket-Version", "8")])
async def test_a_refused_handshake_is_answered_and_closed(
    autojump_clock: MockClock, world: World, field: tuple[str, str]
) -> None:
    others = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    client = WebSocketClient(world.start("/ws", [*others, field]))
    await client.begin()
    assert client.answer.split(b" ")[1] in (b"400", b"426")
    assert b'"type":"urn:notifyd:problem:' in await client.rest()
    assert world.lane.connections.statistics().total <= 1


# --- frames, read by wsproto ----------------------------------------------------------------------------


def parsed(data: bytes) -> list[Any]:
    reader = Connection(ConnectionType.CLIENT)
    reader.receive_data(data)
    return list(reader.events())


@given(st.integers(0, 70_000))
def test_text_of_every_length_is_one_frame(size: int) -> None:
    assert parsed(frames.text_frame(b"x" * size)) == [TextMessage("x" * size)]


@pytest.mark.parametrize("size", [0, 125, 126, 127, 65535, 65536])
def test_text_at_the_edges_of_the_length_field(size: int) -> None:
    assert parsed(frames.frame_entry("e1-1", b"x" * size)) == [TextMessage("x" * size)]


@given(st.binary(max_size=125))
def test_a_pong_carries_its_payload(payload: bytes) -> None:
    assert parsed(frames.PING_FRAME + frames.pong_frame(payload)) == [Ping(b""), Pong(payload)]


@pytest.mark.parametrize("code", [code for code in CloseCode if code is not CloseCode.ABNORMAL])
def test_every_close_code_has_its_reason(code: CloseCode) -> None:
    assert parsed(frames.close_frame(code)) == [CloseConnection(code, code.reason)]


def test_a_close_is_answered_with_its_code() -> None:
    assert parsed(frames.close_reply(4321)) == [CloseConnection(4321, "")]
    assert parsed(frames.close_reply(None)) == [CloseConnection(1005, "")]
