"""Tokens and where they are found: every forgery gets one answer, every origin its due."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.auth import (
    LATEST_MS,
    MAX_TOKEN_BYTES,
    Credential,
    Identity,
    RequestFacts,
    TokenVerifier,
    find_token,
    mint_token,
    origin_allowed,
    request_facts,
)
from notifyd.errors import ConfigError, Forbidden, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECRET = "a secret of more than thirty-two bytes"
OTHER_SECRET = "another secret of more than thirty-two bytes"
NOW_S = 1_780_000_000
NOW_MS = NOW_S * 1000
HEADER: dict[str, Any] = {"alg": "HS256", "typ": "JWT"}
CLAIMS: dict[str, Any] = {"sub": "ann", "exp": NOW_S + 60}


def part(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(
    claims: object = CLAIMS, header: object = HEADER, secret: str = SECRET, digest: str = "sha256"
) -> str:
    """A token made by hand, so that it may be wrong in every way."""
    signing_input = f"{part(header)}.{part(claims)}"
    signature = hmac.new(secret.encode(), signing_input.encode(), digest).digest()
    return f"{signing_input}.{part(signature)}"


def changed(**claims: object) -> str:
    return forge(CLAIMS | claims)


def without(name: str) -> str:
    return forge({key: value for key, value in CLAIMS.items() if key != name})


def with_header(**fields: object) -> str:
    return forge(header=HEADER | fields)


def verifier() -> TokenVerifier:
    return TokenVerifier(SECRET)


def strict_verifier() -> TokenVerifier:
    return TokenVerifier(SECRET, audience="notifyd", issuer="https://id.example", type_="at+jwt")


STRICT: dict[str, Any] = CLAIMS | {"aud": "notifyd", "iss": "https://id.example"}
STRICT_HEADER: dict[str, Any] = HEADER | {"typ": "at+jwt"}


# --- what is accepted -----------------------------------------------------------------------------------


def test_a_minted_token_is_its_user_until_it_expires() -> None:
    token = mint_token(SECRET, "ann", now_ms=NOW_MS, ttl_s=60)
    assert verifier().verify(token, NOW_MS + 59_999) == Identity(
        user_id="ann", expires_ms=NOW_MS + 60_000, issued_ms=NOW_MS
    )


def test_a_token_made_by_hand_counts_like_any_other() -> None:
    assert verifier().verify(forge(), NOW_MS).user_id == "ann"


def test_mint_and_verify_agree_on_every_setting() -> None:
    settings: dict[str, Any] = {"audience": "a", "issuer": "i", "type_": "at+jwt", "user_claim": "uid"}
    token = mint_token(SECRET, "ann", now_ms=NOW_MS, ttl_s=0.5, scopes=["admin", "x"], **settings)
    identity = TokenVerifier(SECRET, **settings).verify(token, NOW_MS)
    assert (identity.user_id, identity.issuer, identity.scopes) == ("ann", "i", frozenset({"admin", "x"}))
    assert identity.expires_ms == NOW_MS + 1000


def test_a_number_counts_as_its_string() -> None:
    assert verifier().verify(changed(sub=42), NOW_MS).user_id == "42"


def test_the_user_stands_in_the_configured_claim() -> None:
    token = changed(user_id="bob")
    assert TokenVerifier(SECRET, user_claim="user_id").verify(token, NOW_MS).user_id == "bob"


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "admin notifications:write"}, {"admin", "notifications:write"}),
        ({"scopes": ["admin"]}, {"admin"}),
        ({"scope": ["a"], "scopes": "b c"}, {"a", "b", "c"}),
        ({"scope": "", "scopes": [1, "", "z"]}, {"z"}),
    ],
)
def test_scopes_stand_in_a_string_or_a_list(claims: dict[str, object], scopes: set[str]) -> None:
    assert verifier().verify(changed(**claims), NOW_MS).scopes == scopes


def test_an_expiry_beyond_the_calendar_is_its_end() -> None:
    assert verifier().verify(changed(exp=10**15), NOW_MS).expires_ms == LATEST_MS


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
@pytest.mark.parametrize("aud", ["notifyd", ["other", "notifyd"]])
def test_configured_parties_and_type_pass(typ: str, aud: object) -> None:
    token = forge(STRICT | {"aud": aud, "jti": "t-1"}, STRICT_HEADER | {"typ": typ})
    assert strict_verifier().verify(token, NOW_MS).token_id == "t-1"


def test_a_little_clock_skew_does_not_hold_a_token_back() -> None:
    assert verifier().verify(changed(nbf=NOW_S + 30), NOW_MS).user_id == "ann"


def test_it_says_what_it_does_not_check() -> None:
    assert verifier().unchecked == ("aud", "iss", "typ")
    assert strict_verifier().unchecked == ()


# --- what is refused ------------------------------------------------------------------------------------

_JWK = '{"kty":"oct","k":"YQ"}'
LONG_NUMBER = b'{"alg":' + b"9" * 5000 + b"}"
GOOD = forge()
HEAD, BODY, SIGNATURE = GOOD.split(".")

FORGED = {
    "alg none, no signature": f"{part({'alg': 'none'})}.{BODY}.",
    "alg None": f"{part({'alg': 'None'})}.{BODY}.",
    "alg none, signed": with_header(alg="none"),
    "alg empty": with_header(alg=""),
    "alg null": with_header(alg=None),
    "alg list": with_header(alg=["HS256"]),
    "alg lower case": with_header(alg="hs256"),
    "alg missing": forge(header={"typ": "JWT"}),
    "alg HS384": forge(header={"alg": "HS384"}, digest="sha384"),
    "alg HS512": forge(header={"alg": "HS512"}, digest="sha512"),
    "alg RS256 signed with HMAC": with_header(alg="RS256"),
    "alg ES256 signed with HMAC": with_header(alg="ES256"),
    "alg EdDSA signed with HMAC": with_header(alg="EdDSA"),
    "wrong key": forge(secret=OTHER_SECRET),
    "empty key": forge(secret=""),
    "key from jwk header": forge(header=HEADER | {"jwk": {"kty": "oct", "k": "YQ"}}, secret="a"),
    "jwk text as key": forge(secret=_JWK),
    "jku": forge(header=HEADER | {"jku": "http://evil.example/k"}, secret=OTHER_SECRET),
    "x5u": forge(header=HEADER | {"x5u": "file:///etc/passwd"}, secret=OTHER_SECRET),
    "kid a path": forge(header=HEADER | {"kid": "../../dev/null"}, secret=""),
    "kid SQL": forge(header=HEADER | {"kid": "' UNION SELECT 'a"}, secret="a"),
    "kid NUL": forge(header=HEADER | {"kid": "\0"}, secret="\0"),
    "kid number": with_header(kid=7),
    "crit unknown": with_header(crit=["exp2"], exp2=1),
    "crit known to the library": with_header(crit=["b64"], b64=True),
    "crit empty": with_header(crit=[]),
    "crit string": with_header(crit="b64"),
    "b64 false": with_header(b64=False, crit=["b64"]),
    "expired": changed(exp=NOW_S - 1),
    "expires now": changed(exp=NOW_S),
    "exp missing": without("exp"),
    "exp null": changed(exp=None),
    "exp text": changed(exp=str(NOW_S + 60)),
    "exp true": changed(exp=True),
    "exp list": changed(exp=[NOW_S + 60]),
    "exp infinite": forge(b'{"sub":"ann","exp":1e999}'),
    "exp NaN": forge(b'{"sub":"ann","exp":NaN}'),
    "exp negative": changed(exp=-1),
    "nbf later": changed(nbf=NOW_S + 31),
    "nbf text": changed(nbf="0"),
    "nbf null": changed(nbf=None),
    "iat text": changed(iat="0"),
    "sub missing": without("sub"),
    "sub null": changed(sub=None),
    "sub empty": changed(sub=""),
    "sub true": changed(sub=True),
    "sub fraction": changed(sub=1.5),
    "sub list": changed(sub=["ann"]),
    "sub object": changed(sub={"ann": 1}),
    "sub too long": changed(sub="a" * 129),
    "sub with NUL": changed(sub="ann\0"),
    "sub with line break": changed(sub="ann\nbob"),
    "sub with half a character": forge(b'{"sub":"\\ud800","exp":1780000060}'),
    "scopes number": changed(scopes=7),
    "payload tampered": f"{HEAD}.{part(CLAIMS | {'sub': 'bob'})}.{SIGNATURE}",
    "header tampered": f"{part(HEADER | {'kid': 'x'})}.{BODY}.{SIGNATURE}",
    "signature cut": GOOD[:-2],
    "signature empty": f"{HEAD}.{BODY}.",
    "signature re-encoded": GOOD + "=",
    "signature of another hash": f"{HEAD}.{BODY}.{part(hashlib.sha256(BODY.encode()).digest())}",
    "payload no object": forge([1]),
    "payload text": forge("ann"),
    "payload no JSON": forge(b"{"),
    "payload not UTF-8": forge(b'{"sub":"\xff","exp":1780000060}'),
    "payload deep": forge(b"[" * 3000),
    "header no object": forge(header=[]),
    "header deep": f"{part(b'[' * 3000)}.{BODY}.{SIGNATURE}",
    "header long number": ".".join([part(LONG_NUMBER), BODY, SIGNATURE]),
    "empty": "",
    "dots": "..",
    "one part": HEAD,
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "five parts (JWE)": f"{GOOD}.{BODY}.{SIGNATURE}",
    "spaces": f" {GOOD} ",
    "line break": f"{GOOD}\n",
    "not ASCII": f"{GOOD}é",
    "half a character": "\ud800",
    "not base64": "!!!.???.###",
    "too long": forge(CLAIMS | {"x": "y" * MAX_TOKEN_BYTES}),
}


@pytest.mark.parametrize("seen", [False, True], ids=["new header", "known header"])
@pytest.mark.parametrize("name", FORGED)
def test_every_forged_token_gets_the_same_answer(name: str, seen: bool) -> None:
    checking = verifier()
    if seen:
        checking.verify(GOOD, NOW_MS)
    with pytest.raises(Unauthorized) as refusal:
        checking.verify(FORGED[name], NOW_MS)
    assert (refusal.value.detail, refusal.value.extra) == ("The token is not valid", {})
    assert refusal.value.__suppress_context__  # the cause is not told in a log either


@pytest.mark.parametrize(
    "broken",
    [
        lambda head, body, sign: f"{head}.{body}.{sign}=",
        lambda head, body, sign: f"{head}.{body}.{sign[:-1]}{chr(ord(sign[-1]) ^ 1)}",
        lambda head, body, sign: f"{head}.{body}.{sign}\n",
        lambda head, body, sign: f"{head}.{body}.{sign}é",
        lambda head, body, sign: f"{head}.{body}.{sign}.{sign}",
        lambda head, body, sign: f"{head}.{body}.",
        lambda head, body, sign: f"{head}.{body}",
        lambda head, body, sign: f"{head}",
        lambda head, body, sign: f"{head}.{body}A.{sign}",
        lambda head, body, sign: f"{head}A.{body}.{sign}",
        lambda head, body, sign: f".{body}.{sign}",
    ],
)
def test_behind_a_known_header_nothing_else_passes(broken: Callable[..., str]) -> None:
    checking = verifier()
    good = checking.verify(GOOD, NOW_MS)
    assert checking.verify(GOOD, NOW_MS) == good
    with pytest.raises(Unauthorized, match=r"^The token is not valid$"):
        checking.verify(broken(*GOOD.split(".")), NOW_MS)


def test_a_signed_payload_that_is_not_base64url_is_refused_behind_a_known_header() -> None:
    checking = verifier()
    checking.verify(GOOD, NOW_MS)
    for payload in ("!!!!", f"{BODY}=", f"{BODY}+", f"{BODY} "):
        signed = f"{HEAD}.{payload}"
        sign = part(hmac.digest(SECRET.encode(), signed.encode(), "sha256"))
        with pytest.raises(Unauthorized):
            checking.verify(f"{signed}.{sign}", NOW_MS)


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"aud": None}, {}),
        ({"aud": "other"}, {}),
        ({"aud": ["other"]}, {}),
        ({"aud": []}, {}),
        ({"aud": {"notifyd": 1}}, {}),
        ({"aud": "notifyd2"}, {}),
        ({"aud": "notify"}, {}),
        ({"iss": None}, {}),
        ({"iss": "https://id.example/"}, {}),
        ({"iss": "https://id"}, {}),
        ({"iss": ["https://id.example"]}, {}),
        ({}, {"typ": "JWT"}),
        ({}, {"typ": None}),
        ({}, {"typ": 1}),
    ],
)
def test_once_configured_parties_and_type_must_fit(claims: dict[str, object], header: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized, match=r"^The token is not valid$"):
        strict_verifier().verify(forge(STRICT | claims, STRICT_HEADER | header), NOW_MS)


@pytest.mark.parametrize("name", ["aud", "iss"])
def test_once_configured_parties_must_be_there(name: str) -> None:
    claims = {key: value for key, value in STRICT.items() if key != name}
    with pytest.raises(Unauthorized, match=r"^The token is not valid$"):
        strict_verifier().verify(forge(claims, STRICT_HEADER), NOW_MS)


def test_the_longest_token_is_still_read() -> None:
    room = MAX_TOKEN_BYTES - len(forge(CLAIMS | {"x": ""}))
    token = forge(CLAIMS | {"x": "y" * (room * 3 // 4)})
    assert len(token) <= MAX_TOKEN_BYTES
    assert verifier().verify(token, NOW_MS).user_id == "ann"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=200) | st.from_regex(r"[\w=-]{0,40}\.[\w=-]{0,40}\.[\w=-]{0,40}", fullmatch=True))
def test_garbage_is_unauthorized_and_nothing_else(token: str) -> None:
    with pytest.raises(Unauthorized):
        verifier().verify(token, NOW_MS)


@given(
    st.dictionaries(st.sampled_from(["alg", "typ", "crit", "kid", "b64", "jwk"]), _json),
    st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "scope", "jti"]), _json),
)
def test_a_well_signed_token_is_an_identity_or_unauthorized(
    header: dict[str, object], claims: dict[str, object]
) -> None:
    try:
        identity = verifier().verify(forge(CLAIMS | claims, HEADER | header), NOW_MS)
    except Unauthorized:
        return
    assert identity.user_id.isprintable()
    assert NOW_MS < identity.expires_ms <= LATEST_MS
    assert "crit" not in header


@given(st.binary(min_size=1, max_size=64), st.integers(min_value=0))
def test_no_changed_byte_passes(noise: bytes, at: int) -> None:
    place = at % len(GOOD)
    bad = GOOD[:place] + noise.decode("latin-1") + GOOD[place + len(noise) :]
    if bad != GOOD:
        with pytest.raises(Unauthorized):
            verifier().verify(bad, NOW_MS)


# --- where a token stands -------------------------------------------------------------------------------

OWN = "https://shop.example"


def everywhere() -> RequestFacts:
    return RequestFacts(
        host="shop.example",
        origins=(OWN,),
        authorization="Bearer from-header",
        cookies="a=b; accessToken=from-cookie; c=d",
        subprotocols=("chat", "bearer.from-subprotocol"),
        ticket="from-ticket",
        token="from-query",
    )


def found(facts: RequestFacts, allowed: Sequence[str] = (), query: bool = True) -> Credential | None:
    return find_token(facts, allow_query_token=query, allowed_origins=allowed)


def test_places_are_searched_in_order() -> None:
    facts = everywhere()
    order = []
    for field, empty in [
        ("authorization", None),
        ("cookies", ""),
        ("subprotocols", ()),
        ("ticket", None),
        ("token", None),
    ]:
        credential = found(facts)
        assert credential is not None
        order.append(credential)
        facts = RequestFacts(**{**as_dict(facts), field: empty})
    assert order == [
        Credential("header", "from-header"),
        Credential("cookie", "from-cookie"),
        Credential("subprotocol", "from-subprotocol"),
        Credential("ticket", "from-ticket"),
        Credential("query", "from-query"),
    ]
    assert found(facts) is None


def as_dict(facts: RequestFacts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in RequestFacts.__struct_fields__}


def test_a_token_in_the_address_can_be_switched_off() -> None:
    assert found(RequestFacts(token="t"), query=False) is None
    assert found(RequestFacts(ticket="t"), query=False) == Credential("ticket", "t")


@pytest.mark.parametrize(
    ("authorization", "value"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("  BEARER   abc  ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("", None),
        (None, None),
    ],
)
def test_authorization_must_be_bearer(authorization: str | None, value: str | None) -> None:
    credential = found(RequestFacts(authorization=authorization))
    assert (credential.value if credential else None) == value


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("accessToken=abc", "abc"),
        ('x=y;accessToken="abc"', "abc"),
        ("accessToken=a=b", "a=b"),
        ("accessToken=first; accessToken=second", "first"),
        ("accesstoken=abc", None),
        ("xaccessToken=abc", None),
        ("accessToken=", None),
        ("accessToken", None),
        (";;=;", None),
    ],
)
def test_the_cookie_is_read_by_its_exact_name(cookies: str, value: str | None) -> None:
    credential = found(RequestFacts(cookies=cookies, origins=(OWN,), host="shop.example"))
    assert (credential.value if credential else None) == value


def test_request_facts_collects_what_the_request_says() -> None:
    sent = {
        "host": ["shop.example", "second"],
        "origin": [OWN, OWN],
        "cookie": ["a=b", "accessToken=c"],
        "sec-websocket-protocol": ["chat, bearer.x", "more"],
        "sec-fetch-site": ["same-origin"],
        "authorization": ["Bearer t"],
    }
    facts = request_facts(
        method="GET",
        query={"ticket": "", "token": "q"},
        headers=lambda name: sent.get(name, []),
        carrier="websocket",
        peer="1.2.3.4",
    )
    assert facts == RequestFacts(
        host="shop.example",
        origins=(OWN, OWN),
        cookies="a=b; accessToken=c",
        sec_fetch_site="same-origin",
        authorization="Bearer t",
        subprotocols=("chat", "bearer.x", "more"),
        token="q",
        is_websocket=True,
        peer="1.2.3.4",
    )


def test_subprotocols_count_for_websockets_only() -> None:
    facts = request_facts(
        method="GET",
        query={},
        headers=lambda name: ["bearer.x"] if "protocol" in name else [],
        carrier="stream",
    )
    assert (facts.subprotocols, facts.is_stream, facts.is_websocket) == ((), True, False)


# --- the Origin rule ------------------------------------------------------------------------------------

LISTED = ["https://shop.example", "http://localhost:8000", "https://x.example:443", "http://[::1]:9000"]

ORIGINS = [
    ("https://shop.example", True),
    ("HTTPS://SHOP.EXAMPLE", True),
    ("https://shop.example:443", True),
    ("https://x.example", True),
    ("http://localhost:8000", True),
    ("http://[::1]:9000", True),
    ("http://shop.example", False),
    ("https://shop.example:8443", False),
    ("https://shop.example:80", False),
    ("http://localhost", False),
    ("http://localhost:80000", False),
    ("null", False),
    ("", False),
    ("*", False),
    ("https://", False),
    ("shop.example", False),
    ("//shop.example", False),
    ("https://shop.example/", False),
    ("https://shop.example/path", False),
    ("https://shop.example.evil.example", False),
    ("https://evilshop.example", False),
    ("https://sub.shop.example", False),
    ("https://shop.example@evil.example", False),
    ("https://evil.example#https://shop.example", False),
    ("https://evil.example?https://shop.example", False),
    ("https://shop.example, https://evil.example", False),
    ("https://shop.example https://evil.example", False),
    ("https://shop.example\\.evil.example", False),
    ("https://shop.example%00.evil.example", False),
    ("https://ѕhop.example", False),
    ("https://shop.example.", False),
    ("https://shop.example\n", False),
    ("file://", False),
    ("chrome-extension://abcdef", False),
    ("javascript:alert(1)", False),
]


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS)
def test_an_origin_is_listed_exactly(origin: str, allowed: bool) -> None:
    assert origin_allowed(origin, "shop.example", LISTED) is allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("https://shop.example", "shop.example", True),
        ("https://shop.example", "SHOP.example:443", True),
        ("http://shop.example:80", "shop.example", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://localhost:8001", "localhost:8000", False),
        ("http://127.0.0.1:8000", "localhost:8000", False),
        ("https://evil.example", "shop.example", False),
        ("https://shop.example", "shop.example:80", False),
        ("null", "null", False),
        ("https://", "", False),
    ],
)
def test_without_a_list_the_origin_is_the_host(origin: str, host: str, allowed: bool) -> None:
    assert origin_allowed(origin, host, ()) is allowed


def cookie_facts(**fields: Any) -> RequestFacts:
    return RequestFacts(**({"cookies": "accessToken=c", "host": "shop.example"} | fields))


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"origins": (OWN,)}, True),
        ({"origins": (OWN,), "method": "POST"}, True),
        ({"origins": (OWN, OWN)}, False),
        ({"origins": (OWN, "null"), "sec_fetch_site": "same-origin"}, False),
        ({"origins": ("null",), "sec_fetch_site": "same-origin"}, False),
        ({"origins": ("https://evil.example",), "sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-origin", "method": "POST"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({}, False),
    ],
)
def test_when_a_cookie_counts(fields: dict[str, Any], counts: bool) -> None:
    facts = cookie_facts(**fields)
    if counts:
        assert found(facts) == Credential("cookie", "c")
    else:
        with pytest.raises(Forbidden, match="allowed origin"):
            found(facts)


def test_a_cookie_that_does_not_count_hides_no_other_credential() -> None:
    assert found(cookie_facts(token="mine")) == Credential("query", "mine")
    with pytest.raises(Forbidden):
        found(cookie_facts(token="mine"), query=False)


@given(st.text(), st.text())
def test_no_text_upsets_the_origin_rule(origin: str, host: str) -> None:
    assert origin_allowed(origin, host, ["https://shop.example"]) in (True, False)
    if origin_allowed(origin, host, ()):
        assert host


def test_a_secret_that_is_another_kind_of_key_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"jwt_secret: .*asymmetric"):
        TokenVerifier("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ\n-----END PUBLIC KEY-----\n")
