"""One request head as strict data: parsing by llhttp (httptools), and nothing that two parsers could read
in two ways (RFC 9112). Pure: no I/O, no Trio.

Everything behind the door reads the same `raw` bytes again with other parsers, so a head that any of them
might understand differently is refused here.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import httptools
from msgspec import Struct
from msgspec.structs import replace

from notifyd.errors import BadRequest, HeadTooLong

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD_END = b"\r\n\r\n"
#: Bytes of one head: request line, fields and the empty line.
MAX_HEAD_BYTES = 16 * 1024

# RFC 9112 section 3: one space between method, target and version; the target is visible ASCII.
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01]\r\n")
# RFC 9110 section 5.5: visible ASCII, obs-text, blank and tab; CR and LF are looked at apart.
_ALLOWED = bytes([9, 10, 13, *range(0x20, 0x7F), *range(0x80, 0x100)])
_BARE_LF = re.compile(rb"(?<!\r)\n")
# RFC 3986 section 3.2, without user information (RFC 9110 section 4.2.4).
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?", re.ASCII)
#: RFC 1035 section 2.3.4; the parsers behind the door refuse a longer one, each in a way of its own.
_MAX_LABEL = 63
_TOKEN_START = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ABSOLUTE = re.compile(r"http://([^/?#]*)([/?][^#]*)?", re.ASCII | re.IGNORECASE)
_MAX_LENGTH_DIGITS = 15


class RequestHead(Struct, frozen=True):
    """A request's first line and fields.

    `path` is as sent (percent-encoded, origin-form), `query` is what follows `?`, names are lower-case,
    values are latin-1 text without outer blanks and stand in `named` once more, `peer` is the client's IP
    address or `unix`, and `raw` is what a second parser may be given.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    named: dict[str, list[str]]
    http_version: tuple[int, int]
    peer: str
    raw: bytes

    def header(self, name: str) -> str | None:
        """The first value of a lower-case `name`, or None."""
        values = self.named.get(name)
        return values[0] if values else None

    def headers_named(self, name: str) -> Sequence[str]:
        """Every value of a lower-case `name`, in order."""
        return self.named.get(name, ())

    def tokens(self, name: str) -> list[str]:
        """The comma-separated list that all fields of `name` spell, lower-case, without empty items."""
        items = (item.strip(" \t").lower() for value in self.headers_named(name) for item in value.split(","))
        return [item for item in items if item]

    def has_token(self, name: str, token: str) -> bool:
        """Whether the comma list `name` holds the lower-case `token`."""
        return token in self.tokens(name)

    @property
    def query_params(self) -> dict[str, str]:
        """Decoded query parameters; of a repeated name the first."""
        found: dict[str, str] = {}
        if not self.query:
            return found
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            found.setdefault(name, value)
        return found

    @property
    def content_length(self) -> int | None:
        """Bytes of the body when the client said so."""
        value = self.header("content-length")
        return None if value is None else int(value)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.header("transfer-encoding") is not None

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)


def from_behind(head: RequestHead, hops: int) -> RequestHead:
    """`head` with the address of the client that `hops` proxies of ours stand in front of.

    Each proxy adds whom it heard to the right end of X-Forwarded-For; what stands further left was written
    by the client. Something that is no address there changes nothing.
    """
    if hops == 0:
        return head
    chain = [
        item.strip(" \t") for value in head.headers_named("x-forwarded-for") for item in value.split(",")
    ]
    if not chain:
        return head
    try:
        return replace(head, peer=str(ip_address(chain[-min(hops, len(chain))])))
    except ValueError:
        return head


def take_head(buffer: bytearray) -> bytes | None:
    """Remove one complete head from the front of `buffer`, or None while more bytes are needed.

    Raises BadRequest as soon as the bytes cannot become a head, HeadTooLong beyond MAX_HEAD_BYTES.
    """
    skip_blank_lines(buffer)
    if buffer and buffer[0] not in _TOKEN_START and buffer != b"\r":
        raise BadRequest("the first byte begins no HTTP request")
    end = buffer.find(HEAD_END, 0, MAX_HEAD_BYTES)
    if end >= 0:
        size = end + len(HEAD_END)
        raw = bytes(buffer[:size])
        del buffer[:size]
        return raw
    if _BARE_LF.search(buffer):
        raise BadRequest("a line ends without CR")
    if len(buffer) >= MAX_HEAD_BYTES:
        raise HeadTooLong(f"a request head has at most {MAX_HEAD_BYTES} bytes")
    return None


def skip_blank_lines(buffer: bytearray) -> None:
    """Drop empty lines before a request line (RFC 9112 section 2.2)."""
    while buffer.startswith(b"\r\n"):
        del buffer[:2]


class _Collector:
    """What llhttp calls back with."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[str, str]] = []
        self.named: dict[str, list[str]] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        field, text = name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")
        self.fields.append((field, text))
        self.named.setdefault(field, []).append(text)

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(raw: bytes, peer: str) -> RequestHead:
    """Parse one head that ends with its empty line. Raises BadRequest for anything else."""
    if not raw.endswith(HEAD_END) or raw.find(HEAD_END) != len(raw) - len(HEAD_END):
        raise BadRequest("this is not one request head")
    if _REQUEST_LINE.match(raw) is None:
        raise BadRequest("the request line is not HTTP/1.0 or HTTP/1.1")
    if not _is_clean(raw):
        raise BadRequest("a field holds a control character or continues on the next line")
    found = _Collector()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise BadRequest("the request head is malformed") from None
    if not found.complete:
        raise BadRequest("the request head is malformed")
    return _checked(found, parser, peer, raw)


def _checked(found: _Collector, parser: httptools.HttpRequestParser, peer: str, raw: bytes) -> RequestHead:
    version = (1, 1) if parser.get_http_version() == "1.1" else (1, 0)
    _check_framing(found.named, version)
    host = _only_host(found.named, version)
    target = found.target.decode("ascii")
    if not target.startswith("/"):
        target, raw = _origin_form(target, host, raw)
    if "#" in target:
        raise BadRequest("a request target has no fragment")
    path, _, query = target.partition("?")
    method = parser.get_method().decode("ascii")
    return RequestHead(method, path, query, tuple(found.fields), found.named, version, peer, raw)


def _is_clean(raw: bytes) -> bool:
    """No control character, no bare CR or LF, no folded line (RFC 9112 sections 2.2 and 5.2)."""
    lines = raw.count(b"\r\n")
    return (
        not raw.translate(None, _ALLOWED)
        and raw.count(b"\r") == raw.count(b"\n") == lines
        and b"\r\n " not in raw
        and b"\r\n\t" not in raw
    )


def _check_framing(named: dict[str, list[str]], version: tuple[int, int]) -> None:
    """One way to tell where the body ends (RFC 9112 section 6)."""
    lengths = named.get("content-length", ())
    codings = named.get("transfer-encoding", ())
    if len(lengths) + len(codings) > 1:
        raise BadRequest("the body's length is given twice")
    if lengths:
        digits = lengths[0]
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MAX_LENGTH_DIGITS:
            raise BadRequest("Content-Length is not a number")
    if codings and (codings[0].lower() != "chunked" or version < (1, 1)):
        raise BadRequest("the only transfer coding is chunked, on HTTP/1.1")


def _only_host(named: dict[str, list[str]], version: tuple[int, int]) -> str | None:
    """RFC 9112 section 3.2: exactly one Host on HTTP/1.1; on HTTP/1.0 it may be missing."""
    hosts = named.get("host", ())
    if len(hosts) > 1 or (not hosts and version >= (1, 1)):
        raise BadRequest("exactly one Host field is needed")
    if hosts and not is_host(hosts[0]):
        raise BadRequest("the Host field is malformed")
    return hosts[0] if hosts else None


def is_host(text: str) -> bool:
    """Whether `text` can stand in a Host field: empty, an address, or a name of DNS's form, and a port."""
    if _HOST.fullmatch(text) is None:
        return False
    name = "" if text.startswith("[") else text.partition(":")[0].removesuffix(".")
    return not name or all(0 < len(label) <= _MAX_LABEL for label in name.split("."))


def _origin_form(target: str, host: str | None, raw: bytes) -> tuple[str, bytes]:
    """Absolute-form of this very host becomes origin-form; the raw head with it (RFC 9112 section 3.2.2)."""
    match = _ABSOLUTE.fullmatch(target)
    # A client sends the Host of its absolute target; another one is a trick.
    if match is None or host is None or match[1].lower() != host.lower():
        raise BadRequest("the request target is not a path on this host")
    rest = match[2] or "/"
    path = rest if rest.startswith("/") else f"/{rest}"
    method, _, tail = raw.partition(b" ")
    return path, b"%b %b%b" % (method, path.encode("ascii"), tail[len(target) :])
