"""Who is calling: token → Identity, and where in a request a token may stand. No I/O, no clock, no Trio.

JSON Web Tokens by RFC 7519 and RFC 8725: each key has one algorithm, never read from the token; every fault
of a token gives the same answer, so that a forger learns nothing from it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from jwt import PyJWS
from msgspec import Struct

from notifyd.errors import Forbidden, Unauthorized
from notifyd.signing import PUBLIC_ALGORITHMS, VerifyingKey, from_base64url, is_key_id, secret_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What `mint_token` signs with.
ALGORITHM = "HS256"
MAX_TOKEN_BYTES = 8 * 1024
#: Headers of valid tokens that are remembered; an issuer has one.
MAX_KNOWN_HEADERS = 16
MAX_USER_ID_LENGTH = 128
#: Seconds by which an issuer's clock may run ahead of ours before its `nbf` holds a token back.
CLOCK_SKEW_S = 30
#: 9999-12-31T23:59:59Z, the last second that ISO 8601 with four digits can name.
LATEST_MS = 253_402_300_799_000

COOKIE_NAME = "accessToken"
SUBPROTOCOL_PREFIX = "bearer."
PUBLISH_SCOPE = "notifications:write"
ADMIN_SCOPE = "admin"

INVALID_TOKEN_TEXT = "The token is not valid"


class MissingToken(Unauthorized):
    """Nothing in the request says who is calling; a WebSocket may still send it as its first frame."""


class Identity(Struct, frozen=True):
    """A user whose token was verified, until `expires_ms` (milliseconds since 1970)."""

    user_id: str
    expires_ms: int
    issued_ms: int | None = None
    scopes: frozenset[str] = frozenset()
    issuer: str | None = None
    token_id: str | None = None


# --- tokens ---------------------------------------------------------------------------------------------


class UnknownKey(Unauthorized):
    """The token needs a key that this server has not fetched: its issuer may have a new one."""


class TokenVerifier:
    """Verifies tokens made with any of the keys; a text stands for one HS256 secret.

    With `fetches_keys` there are more in `fetched`, and a token whose key is in neither raises UnknownKey.

    `audience`, `issuer` and `type_` are required of every token once given. There is no leeway on `exp`: how
    long a connection outlives its token is the connection's business. Raises ConfigError for a secret that is
    another kind of key.
    """

    def __init__(
        self,
        keys: str | Sequence[VerifyingKey],
        *,
        user_claim: str = "sub",
        audience: str | None = None,
        issuer: str | None = None,
        type_: str | None = None,
        fetches_keys: bool = False,
    ) -> None:
        self._fetches_keys = fetches_keys
        self._keys = (secret_key(keys),) if isinstance(keys, str) else tuple(keys)
        self._user_claim = user_claim
        self._audience = audience
        self._issuer = issuer
        self._type = None if type_ is None else _media_type(type_)
        #: The keys that are meant by the headers of tokens which were valid.
        self._known_headers: dict[str, Sequence[VerifyingKey]] = {}
        self._fetched: Sequence[VerifyingKey] = ()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What this verifier lets pass unseen because it was not configured; told once at start."""
        wanted = {"aud": self._audience, "iss": self._issuer, "typ": self._type}
        return tuple(name for name, value in wanted.items() if value is None)

    @property
    def fetched(self) -> Sequence[VerifyingKey]:
        """Keys that the issuer publishes, beside those of the settings."""
        return self._fetched

    @fetched.setter
    def fetched(self, keys: Sequence[VerifyingKey]) -> None:
        self._fetched = tuple(keys)
        self._known_headers.clear()

    def verify(self, token: str, now_ms: int) -> Identity:
        """The identity that `token` proves at `now_ms`. Raises Unauthorized, alike for every fault."""
        try:
            return self._verify(token, now_ms)
        except UnknownKey:
            raise
        except Exception:  # whatever a hostile token provokes in a parser, it was not verified
            raise Unauthorized(INVALID_TOKEN_TEXT) from None

    def _verify(self, token: str, now_ms: int) -> Identity:
        if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
            raise ValueError("not a token")
        claims = msgspec.json.decode(self._signed_payload(token), type=dict[str, Any])
        expires_ms = _moment(claims["exp"])
        if expires_ms <= now_ms or _moment(claims.get("nbf", 0)) > now_ms + CLOCK_SKEW_S * 1000:
            raise ValueError("not at this time")
        self._check_parties(claims)
        return Identity(
            user_id=_user_id(claims[self._user_claim]),
            expires_ms=expires_ms,
            issued_ms=_moment(claims["iat"]) if "iat" in claims else None,
            scopes=_scopes(claims),
            issuer=_text(claims.get("iss")),
            token_id=_text(claims.get("jti")),
        )

    def _signed_payload(self, token: str) -> bytes:
        """What one of the keys has signed. Behind the very header of a token that was valid, only the
        signature is left to be looked at."""
        header, payload, signature = token.split(".")
        signed = f"{header}.{payload}".encode("ascii")
        keys = self._known_headers.get(header)
        known = keys is not None
        if keys is None:
            keys = self._meant_by(msgspec.json.decode(from_base64url(header), type=dict[str, Any]))
        content = from_base64url(payload)
        compared = from_base64url(signature)
        if not any(key.verifies(signed, compared) for key in keys):
            raise ValueError("another signature")
        if not known and len(self._known_headers) < MAX_KNOWN_HEADERS:
            self._known_headers[header] = keys
        return content

    def _meant_by(self, header: Mapping[str, Any]) -> Sequence[VerifyingKey]:
        """The keys that a token with this header may be signed with. What `alg` says chooses nothing but
        among keys that have that algorithm anyway (RFC 8725 section 3.1)."""
        if "crit" in header or "b64" in header:  # RFC 7515 section 4.1.11: we understand no extension
            raise ValueError("unknown critical header")
        if self._type is not None and _media_type(header["typ"]) != self._type:
            raise ValueError("another type of token")
        kid, algorithm = header.get("kid"), header["alg"]
        if kid is not None and not is_key_id(kid):
            raise ValueError("not a key's name")
        known = (*self._keys, *self._fetched)
        meant = [
            key for key in known if key.algorithm == algorithm and (kid is None or key.kid in (None, kid))
        ]
        if not meant and self._fetches_keys and algorithm in PUBLIC_ALGORITHMS:
            raise UnknownKey(INVALID_TOKEN_TEXT)
        return meant

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        if self._issuer is not None and claims["iss"] != self._issuer:
            raise ValueError("another issuer")
        if self._audience is not None:
            audience = claims["aud"]
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise ValueError("another audience")


def mint_token(
    secret: str,
    user_id: str,
    *,
    now_ms: int,
    ttl_s: float,
    user_claim: str = "sub",
    audience: str | None = None,
    issuer: str | None = None,
    type_: str | None = None,
    scopes: Sequence[str] = (),
) -> str:
    """A token for `user_id` that a TokenVerifier with the same settings accepts for `ttl_s` seconds."""
    now_s = now_ms // 1000
    claims: dict[str, Any] = {user_claim: user_id, "iat": now_s, "exp": now_s + math.ceil(ttl_s)}
    optional = {"aud": audience, "iss": issuer, "scope": " ".join(scopes) or None}
    claims |= {name: value for name, value in optional.items() if value is not None}
    signer = PyJWS(algorithms=[ALGORITHM])
    return signer.encode(
        msgspec.json.encode(claims), secret.encode(), algorithm=ALGORITHM, headers={"typ": type_ or "JWT"}
    )


def _media_type(typ: str) -> str:
    """RFC 7515 section 4.1.9: case is ignored and `application/` may be left out."""
    return typ.lower().removeprefix("application/")


def _moment(seconds: Any) -> int:
    """RFC 7519 section 2, NumericDate, in milliseconds; what lies beyond the calendar is its end."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError("not a number")
    return int(min(seconds * 1000, LATEST_MS))


def _user_id(claim: Any) -> str:
    user_id = str(claim) if isinstance(claim, int) and not isinstance(claim, bool) else claim
    if not isinstance(user_id, str) or not is_user_id(user_id):
        raise ValueError("no user")
    return user_id


def is_user_id(text: str) -> bool:
    """1 to 128 printable characters."""
    return 0 < len(text) <= MAX_USER_ID_LENGTH and text.isprintable()


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """RFC 8693 section 4.2 (`scope`, separated by spaces), or a list named `scopes`."""
    found: list[str] = []
    for name in ("scope", "scopes"):
        value = claims.get(name, [])
        found += value.split(" ") if isinstance(value, str) else value
    return frozenset(scope for scope in found if isinstance(scope, str) and scope)


def _text(claim: Any) -> str | None:
    return claim if isinstance(claim, str) else None


# --- where a token stands -------------------------------------------------------------------------------


class RequestFacts(Struct, frozen=True):
    """All that says who sends a request; header values as they came, empty or None when absent."""

    method: str = "GET"
    host: str = ""
    origins: tuple[str, ...] = ()  # every Origin header of the request
    authorization: str | None = None
    cookies: str = ""
    sec_fetch_site: str | None = None
    subprotocols: tuple[str, ...] = ()
    ticket: str | None = None
    token: str | None = None
    is_websocket: bool = False
    is_stream: bool = False  # an SSE stream: what a ticket may open again
    peer: str = ""


Carrier = Literal["http", "websocket", "stream"]


def request_facts(
    *,
    method: str,
    query: Mapping[str, str],
    headers: Callable[[str], Sequence[str]],
    carrier: Carrier = "http",
    peer: str = "",
) -> RequestFacts:
    """Collect the facts of a request; `headers(name)` gives all values of a header by its lower-case name."""
    return RequestFacts(
        method=method,
        host=_first(headers("host")) or "",
        origins=tuple(headers("origin")),
        authorization=_first(headers("authorization")),
        cookies="; ".join(headers("cookie")),
        sec_fetch_site=_first(headers("sec-fetch-site")),
        subprotocols=_offered(headers("sec-websocket-protocol")) if carrier == "websocket" else (),
        ticket=query.get("ticket") or None,
        token=query.get("token") or None,
        is_websocket=carrier == "websocket",
        is_stream=carrier == "stream",
        peer=peer,
    )


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None


def _offered(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(","))


class Credential(NamedTuple):
    """What a request shows to say who it is."""

    kind: Literal["header", "cookie", "subprotocol", "ticket", "query"]
    value: str


def find_token(
    facts: RequestFacts, *, allow_query_token: bool, allowed_origins: Sequence[str]
) -> Credential | None:
    """The first credential in the order Authorization, cookie, subprotocol, ticket, query; None without any.

    A browser sends the cookie for whatever page asks, so it counts only when the page is known to be ours;
    another credential may still speak for the request. Raises Forbidden when there is only such a cookie.
    """
    bearer = bearer_value(facts.authorization)
    if bearer is not None:
        return Credential("header", bearer)
    cookie = cookie_value(facts.cookies, COOKIE_NAME)
    if cookie is not None and cookie_counts(facts, allowed_origins):
        return Credential("cookie", cookie)
    found = _explicit(facts, allow_query_token)
    if found is None and cookie is not None:
        raise Forbidden("The cookie counts only for a page of an allowed origin")
    return found


def _explicit(facts: RequestFacts, allow_query_token: bool) -> Credential | None:
    for offered in facts.subprotocols:
        if offered.startswith(SUBPROTOCOL_PREFIX):
            return Credential("subprotocol", offered.removeprefix(SUBPROTOCOL_PREFIX))
    if facts.ticket is not None:
        return Credential("ticket", facts.ticket)
    if facts.token is not None and allow_query_token:
        return Credential("query", facts.token)
    return None


def bearer_value(authorization: str | None) -> str | None:
    """The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), or None for anything else."""
    scheme, _, value = (authorization or "").strip().partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def cookie_value(cookies: str, name: str) -> str | None:
    """The first cookie called `name`: RFC 6265 section 5.4 puts the most specific path first."""
    for pair in cookies.split(";"):
        found, _, value = pair.partition("=")
        if found.strip() == name:
            return value.strip().strip('"') or None
    return None


# --- the Origin rule ------------------------------------------------------------------------------------

_ORIGIN = re.compile(r"(https?)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def cookie_counts(facts: RequestFacts, allowed_origins: Sequence[str]) -> bool:
    """Whether the page behind this request may use the user's cookie.

    With an Origin: exactly one, and allowed; with no allow-list, its host is `Host`. Without one: a GET of
    which the browser says that it comes from a page of this very origin.
    """
    if not facts.origins:
        return facts.method == "GET" and facts.sec_fetch_site == "same-origin"
    return len(facts.origins) == 1 and origin_allowed(facts.origins[0], facts.host, allowed_origins)


def origin_allowed(origin: str, host: str, allowed_origins: Sequence[str]) -> bool:
    """Whether `origin` (scheme, host and port, nothing else) is listed or, without a list, names `host`."""
    parts = _ORIGIN.fullmatch(origin.lower())
    if parts is None:  # `null` too
        return False
    port = _DEFAULT_PORTS[parts[1]]
    if allowed_origins:
        return origin.lower().removesuffix(port) in {
            allowed.lower().removesuffix(port) for allowed in allowed_origins
        }
    return bool(host) and parts[2].removesuffix(port) == host.lower().removesuffix(port)
