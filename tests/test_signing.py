"""Keys of each kind: one algorithm each, and none taken for another."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from notifyd.auth import TokenVerifier, UnknownKey
from notifyd.errors import ConfigError, Unauthorized
from notifyd.signing import keys_from_jwks, keys_from_pem, secret_key

if TYPE_CHECKING:
    from notifyd.signing import VerifyingKey

NOW_MS = 1_780_000_000_000
CLAIMS = json.dumps({"sub": "ann", "exp": NOW_MS // 1000 + 60}).encode()
SECRET = "a secret of more than thirty-two bytes"

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


#: SubjectPublicKeyInfo of an algorithm that nobody knows (RFC 5280 section 4.1.2.7; the OID 1.2.3.4).
UNKNOWN_KIND = (
    "-----BEGIN PUBLIC KEY-----\n"
    + base64.b64encode(bytes.fromhex("300d30050603 2a0304 0304 00010203")).decode("ascii")
    + "\n-----END PUBLIC KEY-----\n"
)


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii"))


def jwk(key: Any, **more: object) -> dict[str, Any]:
    algorithm: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((made for base, made in algorithm.items() if isinstance(key, base)), OKPAlgorithm)
    return {**kind.to_jwk(key.public_key(), as_dict=True), **more}


def jwks(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def token(algorithm: str, key: Any = None, **header: object) -> str:
    signer = PyJWS(algorithms=[algorithm])
    return signer.encode(CLAIMS, key or PRIVATE[algorithm], algorithm=algorithm, headers=header)


def user_of(token_: str, *keys: VerifyingKey, fetched: list[VerifyingKey] | None = None) -> str:
    verifier = TokenVerifier(keys, fetches_keys=fetched is not None)
    verifier.fetched = fetched or []
    first = verifier.verify(token_, NOW_MS)
    assert verifier.verify(token_, NOW_MS) == first  # by way of the known header
    return first.user_id


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_public_key_verifies_its_signers_tokens_and_nobody_elses(algorithm: str) -> None:
    keys = keys_from_pem(pem(PRIVATE[algorithm]), "f")
    assert [key.algorithm for key in keys] == [algorithm]
    assert user_of(token(algorithm), *keys) == "ann"
    for other in PRIVATE.keys() - {algorithm}:
        with pytest.raises(Unauthorized):
            TokenVerifier(keys).verify(token(other), NOW_MS)


def test_several_keys_are_valid_at_once() -> None:
    old, new = secret_key(SECRET), secret_key(SECRET[::-1])
    public = keys_from_pem("".join(pem(key) for key in PRIVATE.values()), "f")
    for secret in (SECRET, SECRET[::-1]):
        assert user_of(token("HS256", secret.encode()), old, new, *public) == "ann"
    for algorithm in PRIVATE:
        assert user_of(token(algorithm), old, new, *public) == "ann"


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_public_key_is_no_secret(algorithm: str) -> None:
    """CVE-2022-29217 and its kind: the public key's text as an HMAC key."""
    text = pem(PRIVATE[algorithm])
    keys = keys_from_pem(text, "f")
    import hashlib
    import hmac

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    for secret in (text, text.strip(), json.dumps(jwk(PRIVATE[algorithm]))):
        for claimed in ("HS256", algorithm):
            head = f"{b64(json.dumps({'alg': claimed}).encode())}.{b64(CLAIMS)}"
            forged = f"{head}.{b64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())}"
            with pytest.raises(Unauthorized):
                TokenVerifier(keys).verify(forged, NOW_MS)
    with pytest.raises(ConfigError, match="jwt_secret"):
        secret_key(text)


@pytest.mark.parametrize("algorithm", PRIVATE)
@given(data=st.data())
def test_no_changed_byte_passes(algorithm: str, data: st.DataObject) -> None:
    good = token(algorithm)
    verifier = TokenVerifier(keys_from_pem(pem(PRIVATE[algorithm]), "f"))
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.=+/ \n"))
    changed = good[:at] + other + good[at + 1 :]
    if changed != good:
        with pytest.raises(Unauthorized):
            verifier.verify(changed, NOW_MS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no public key"),
        ("ssh-ed25519 AAAA", "no public key"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "has a private key"),
        (pem(rsa.generate_private_key(65537, 1024)), "2048 to 8192 bits, not 1024"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "only RSA, P-256 and Ed25519"),
        (pem(ed448.Ed448PrivateKey.generate()), "only RSA, P-256 and Ed25519"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "f: "),
        (UNKNOWN_KIND, "f: "),
    ],
)
def test_a_file_with_anything_else_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        keys_from_pem(text, "f")


# --- sets -----------------------------------------------------------------------------------------------


def test_a_set_gives_each_usable_key_its_name() -> None:
    found = keys_from_jwks(jwks(jwk(RSA, kid="r"), jwk(EC, kid="e", use="sig"), jwk(ED, kid="d")))
    assert [(key.kid, key.algorithm) for key in found] == [("r", "RS256"), ("e", "ES256"), ("d", "EdDSA")]
    for kid, algorithm in (("r", "RS256"), ("e", "ES256"), ("d", "EdDSA")):
        assert user_of(token(algorithm, kid=kid), fetched=found) == "ann"
        assert user_of(token(algorithm), fetched=found) == "ann"


@pytest.mark.parametrize(
    "entry",
    [
        jwk(RSA, use="enc"),
        jwk(RSA, key_ops=["encrypt"]),
        jwk(RSA, key_ops=None),
        jwk(RSA, key_ops=7),
        jwk(RSA, alg="RS512"),
        jwk(RSA, alg="HS256"),
        jwk(RSA, kid="with space"),
        jwk(RSA, kid="x" * 129),
        jwk(RSA, kid=7),
        jwk(RSA, n="AQAB"),
        jwk(RSA, n=7),
        jwk(EC, crv="P-521"),
        {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "kid": "o"},
        RSAAlgorithm.to_jwk(RSA, as_dict=True),
        ECAlgorithm.to_jwk(EC, as_dict=True),
        {"kty": "RSA"},
        {},
        7,
    ],
)
def test_keys_that_are_not_for_us_are_left_out(entry: object) -> None:
    assert [key.kid for key in keys_from_jwks(jwks(entry, jwk(ED, kid="d")))] == ["d"]
    with pytest.raises(ValueError, match="no key"):
        keys_from_jwks(jwks(entry))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"keys": {}}', b"<html>", b'{"keys": []}'])
def test_what_is_no_set_raises(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        keys_from_jwks(text)


@pytest.mark.parametrize("kid", ["", "../../etc/passwd", "x' OR 1=1 --", "a\x00b", "é", "k" * 129])
def test_a_keys_name_is_looked_up_and_nothing_else(kid: str) -> None:
    verifier = TokenVerifier([])
    verifier.fetched = keys_from_jwks(jwks(jwk(RSA, kid="r")))
    with pytest.raises(Unauthorized, match=r"^The token is not valid$"):
        verifier.verify(token("RS256", kid=kid), NOW_MS)


def test_a_key_that_is_missing_is_told_from_a_forgery_only_where_keys_are_fetched() -> None:
    asking = TokenVerifier([], fetches_keys=True)
    asking.fetched = keys_from_jwks(jwks(jwk(RSA, kid="old")))
    with pytest.raises(UnknownKey):
        asking.verify(token("RS256", kid="new"), NOW_MS)
    for forged in (token("RS256", kid="new")[:-8], token("HS256", SECRET.encode(), kid="new"), "a.b.c"):
        with pytest.raises(Unauthorized, match=r"^The token is not valid$"):
            asking.verify(forged, NOW_MS)


def test_a_key_that_was_withdrawn_counts_no_more() -> None:
    verifier = TokenVerifier([])
    verifier.fetched = keys_from_jwks(jwks(jwk(RSA, kid="r")))
    good = token("RS256", kid="r")
    verifier.verify(good, NOW_MS)
    verifier.fetched = keys_from_jwks(jwks(jwk(ED, kid="d")))
    with pytest.raises(Unauthorized):
        verifier.verify(good, NOW_MS)
