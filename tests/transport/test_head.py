"""Heads that two parsers could read in two ways are refused; all others are read exactly."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import BadRequest, HeadTooLong
from notifyd.transport.head import MAX_HEAD_BYTES, RequestHead, from_behind, parse_head, take_head

HOST = b"Host: example.org\r\n"


def head_of(fields: bytes, line: bytes = b"GET /a HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + fields + b"\r\n"


def test_a_head_is_read_exactly() -> None:
    line = b"POST /a%20b?x=1&x=2&y=&z=%C3%A9 HTTP/1.1\r\n"
    raw = line + b"Host: h:1\r\nX-A: \t b \r\nx-a: C\r\nContent-Length: 7\r\n\r\n"
    head = parse_head(raw, "10.0.0.1")
    assert (head.method, head.path, head.query) == ("POST", "/a%20b", "x=1&x=2&y=&z=%C3%A9")
    assert head.headers == (("host", "h:1"), ("x-a", "b"), ("x-a", "C"), ("content-length", "7"))
    assert (head.http_version, head.peer, head.raw) == ((1, 1), "10.0.0.1", raw)
    assert head.header("x-a") == "b"
    assert head.header("x-b") is None
    assert head.headers_named("x-a") == ["b", "C"]
    assert head.query_params == {"x": "1", "y": "", "z": "é"}
    assert (head.content_length, head.chunked, head.has_body) == (7, False, True)


def test_comma_lists_join_repeated_fields_and_ignore_case() -> None:
    head = parse_head(head_of(b"Connection: keep-alive , Upgrade\r\nConnection: , X\r\n"), "p")
    assert head.tokens("connection") == ["keep-alive", "upgrade", "x"]
    assert head.has_token("connection", "upgrade")
    assert not head.has_token("connection", "close")


def test_a_chunked_body_is_announced() -> None:
    head = parse_head(head_of(b"Transfer-Encoding: Chunked\r\n", b"POST /a HTTP/1.1"), "p")
    assert (head.chunked, head.has_body, head.content_length) == (True, True, None)


def test_bytes_above_ascii_in_values_are_latin_1() -> None:
    head = parse_head(head_of(b"Sec-WebSocket-Protocol: a\xff\x80b\r\n"), "p")
    assert head.header("sec-websocket-protocol") == "a\xff\x80b"


def test_http_1_0_needs_no_host() -> None:
    assert parse_head(b"GET / HTTP/1.0\r\n\r\n", "p").http_version == (1, 0)


@pytest.mark.parametrize(
    ("target", "path", "query", "line"),
    [
        (b"http://EXAMPLE.org/a/b?c=d", "/a/b", "c=d", b"GET /a/b?c=d HTTP/1.1"),
        (b"HTTP://example.org", "/", "", b"GET / HTTP/1.1"),
        (b"http://example.org?q", "/", "q", b"GET /?q HTTP/1.1"),
    ],
)
def test_an_absolute_target_of_this_host_becomes_a_path(
    target: bytes, path: str, query: str, line: bytes
) -> None:
    head = parse_head(head_of(b"", b"GET " + target + b" HTTP/1.1"), "p")
    assert (head.path, head.query) == (path, query)
    assert head.raw == head_of(b"", line)


SMUGGLING = {
    "both lengths": head_of(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    "both lengths, other order": head_of(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    "two lengths": head_of(b"Content-Length: 5\r\nContent-Length: 6\r\n"),
    "the same length twice": head_of(b"Content-Length: 5\r\nContent-Length: 5\r\n"),
    "a list of lengths": head_of(b"Content-Length: 5, 5\r\n"),
    "signed length": head_of(b"Content-Length: +5\r\n"),
    "negative length": head_of(b"Content-Length: -5\r\n"),
    "hex length": head_of(b"Content-Length: 0x5\r\n"),
    "empty length": head_of(b"Content-Length:\r\n"),
    "length with underscore": head_of(b"Content-Length: 1_0\r\n"),
    "length beyond 64 bits": head_of(b"Content-Length: 99999999999999999999\r\n"),
    "length beyond reason": head_of(b"Content-Length: 9999999999999999\r\n"),
    "two codings": head_of(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    "coding list": head_of(b"Transfer-Encoding: gzip, chunked\r\n"),
    "unknown coding": head_of(b"Transfer-Encoding: xchunked\r\n"),
    "coding with quotes": head_of(b'Transfer-Encoding: "chunked"\r\n'),
    "identity coding": head_of(b"Transfer-Encoding: identity\r\n"),
    "coding on 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding with tab": head_of(b"Transfer-Encoding:\x0bchunked\r\n"),
    "blank before the colon": head_of(b"Transfer-Encoding : chunked\r\n"),
    "blank before a name": head_of(b" Transfer-Encoding: chunked\r\n"),
    "folded line": head_of(b"X: a\r\n b\r\n"),
    "folded by tab": head_of(b"X: a\r\n\tb\r\n"),
    "folded first line": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": head_of(b"X: a\nContent-Length: 5\r\n"),
    "bare CR": head_of(b"X: a\rContent-Length: 5\r\n"),
    "CR CR LF": head_of(b"X: a\r\r\n"),
    "NUL": head_of(b"X: a\x00b\r\n"),
    "escape": head_of(b"X: a\x1bb\r\n"),
    "delete": head_of(b"X: a\x7fb\r\n"),
    "NUL in a name": head_of(b"X\x00: a\r\n"),
    "empty name": head_of(b": a\r\n"),
    "no colon": head_of(b"abc\r\n"),
    "name above ASCII": head_of(b"X\xc3\xa9: a\r\n"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": head_of(b"Host: other\r\n"),
    "host with user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "host with path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with an empty label": b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n",
    "host with a long label": b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * 64),
    "host above ASCII": b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    "lower-case method": head_of(b"", b"get / HTTP/1.1"),
    "unknown method": head_of(b"", b"SMUGGLE / HTTP/1.1"),
    "two blanks": head_of(b"", b"GET  / HTTP/1.1"),
    "tab": head_of(b"", b"GET\t/ HTTP/1.1"),
    "blank in the target": head_of(b"", b"GET /a b HTTP/1.1"),
    "target above ASCII": head_of(b"", b"GET /caf\xc3\xa9 HTTP/1.1"),
    "no version": head_of(b"", b"GET /"),
    "version 2.0": head_of(b"", b"GET / HTTP/2.0"),
    "version 1.2": head_of(b"", b"GET / HTTP/1.2"),
    "long version": head_of(b"", b"GET / HTTP/1.10"),
    "other protocol": head_of(b"", b"GET / RTSP/1.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\n",
    "fragment": head_of(b"", b"GET /a#b HTTP/1.1"),
    "asterisk": head_of(b"", b"OPTIONS * HTTP/1.1"),
    "authority": head_of(b"", b"CONNECT example.org:443 HTTP/1.1"),
    "absolute target of another host": head_of(b"", b"GET http://other/a HTTP/1.1"),
    "absolute target of another scheme": head_of(b"", b"GET https://example.org/a HTTP/1.1"),
    "absolute target with user": head_of(b"", b"GET http://u@example.org/a HTTP/1.1"),
    "absolute target without host": b"GET http://example.org/a HTTP/1.0\r\n\r\n",
    "two heads": head_of(b"") + head_of(b""),
    "no end": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "nothing": b"",
    "only the end": b"\r\n\r\n",
    "ends in LF": b"GET / HTTP/1.1\nHost: x\n\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_ambiguous_heads_are_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_head(raw, "p")


field = st.tuples(
    st.sampled_from([b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"X", b""]),
    st.sampled_from([b": ", b":", b" : ", b""]),
    st.one_of(
        st.sampled_from([b"x", b"5", b"chunked", b"upgrade", b"websocket", b"close"]), st.binary(max_size=12)
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "]),
).map(b"".join)
line = st.tuples(
    st.sampled_from([b"GET", b"POST", b"PRI", b"CONNECT", b"", b"\xff"]),
    st.sampled_from([b" ", b" ", b"  ", b"\t"]),
    st.one_of(
        st.sampled_from([b"/", b"/ws", b"*", b"http://x/", b"http://[", b"//", b"/%"]), st.binary(max_size=12)
    ),
    st.sampled_from([b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9\r\n", b"\r\n"]),
).map(b"".join)
nearly_heads = st.tuples(
    line, st.lists(field, max_size=5).map(b"".join), st.sampled_from([b"\r\n", b""])
).map(b"".join)


@given(st.one_of(st.binary(max_size=200), nearly_heads))
def test_any_bytes_give_a_head_or_a_bad_request(raw: bytes) -> None:
    try:
        head = parse_head(raw, "p")
    except BadRequest:
        return
    assert isinstance(head, RequestHead)
    assert head.path.startswith("/")
    head.path.encode("ascii")
    assert not (head.chunked and head.content_length is not None)
    assert head.query_params is not None
    assert parse_head(head.raw, "p") == head
    assert_h11_reads_the_same(head)


def assert_h11_reads_the_same(head: RequestHead) -> None:
    """The HTTP server behind the door parses the head again, by another parser."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head.raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert request.method.decode() == head.method
    assert request.target.decode() == head.path + ("?" + head.query if b"?" in request.target else "")
    values = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
    assert values == [
        (name, value.lower() if name == "transfer-encoding" else value) for name, value in head.headers
    ]


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=20), nearly_heads)
def test_taking_heads_from_any_pieces_ends_in_a_head_more_or_a_bad_request(
    pieces: list[bytes], start: bytes
) -> None:
    buffer = bytearray(start)
    for piece in pieces:
        buffer += piece
        try:
            raw = take_head(buffer)
        except BadRequest:
            return
        assert raw is None or raw.endswith(b"\r\n\r\n")


def test_a_head_is_taken_once_whole_and_leaves_what_follows() -> None:
    raw = head_of(b"X: 1\r\n")
    buffer = bytearray(b"\r\n\r\n")
    for byte in raw[:-1]:
        buffer.append(byte)
        assert take_head(buffer) is None
    buffer += raw[-1:] + b"next"
    assert take_head(buffer) == raw
    assert buffer == b"next"


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02", b"\x00", b" GET", b"\n", b"\xff", b"GET / HTTP/1.1\n"]
)
def test_bytes_that_cannot_become_a_head_are_refused_at_once(start: bytes) -> None:
    with pytest.raises(BadRequest):
        take_head(bytearray(start))


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_has_a_limit(end: bytes) -> None:
    longest = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".ljust(MAX_HEAD_BYTES - 4, b"a") + b"\r\n\r\n"
    assert take_head(bytearray(longest)) == longest
    with pytest.raises(HeadTooLong) as caught:
        take_head(bytearray(b"a" * MAX_HEAD_BYTES + end))
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("hops", "forwarded", "client"),
    [
        (0, ["203.0.113.9"], "127.0.0.1"),
        (1, [], "127.0.0.1"),
        (1, ["203.0.113.9"], "203.0.113.9"),
        (1, ["10.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (2, ["10.0.0.1", "203.0.113.9, 192.0.2.1"], "203.0.113.9"),
        (3, ["203.0.113.9"], "203.0.113.9"),
        (1, ["2001:DB8::1"], "2001:db8::1"),
        (1, ["203.0.113.9, unknown"], "127.0.0.1"),
        (1, ["203.0.113.9,"], "127.0.0.1"),
    ],
)
def test_the_client_behind_our_proxies(hops: int, forwarded: list[str], client: str) -> None:
    fields = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded)
    head = parse_head(f"GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode(), "127.0.0.1")
    assert from_behind(head, hops).peer == client
