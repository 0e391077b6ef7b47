"""Keys that tokens are verified with, and signatures (RFC 7515, 7517, 7518, 8037). No I/O, no clock, no Trio.

Each key has one algorithm, which follows from what kind of key it is and is never read from a token. A shared
secret is always HS256 and a public key never is, so that neither can be taken for the other.
"""

from __future__ import annotations

import base64
import hmac
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
PUBLIC_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

#: RFC 7518 section 3.3.
MIN_RSA_BITS: Final = 2048
#: Beyond this, one verification would take the event loop milliseconds.
MAX_RSA_BITS: Final = 8192
#: Keys of one set; an issuer has two or three.
MAX_KEYS: Final = 64
#: A key's name is only ever looked up among names we have: any printable text will do, up to a length.
_KEY_ID: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_EC_PART: Final = 32  # bytes of r and of s with P-256 (RFC 7518 section 3.4)


class VerifyingKey:
    """What one signer's signatures are compared with. `kid` is the key's name, None where it has none."""

    __slots__ = ("_material", "algorithm", "kid")

    def __init__(self, algorithm: Algorithm, material: Any, kid: str | None = None) -> None:
        self.algorithm: Algorithm = algorithm
        self.kid = kid
        self._material = material

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `signed`."""
        if self.algorithm == "HS256":
            return hmac.compare_digest(hmac.digest(self._material, signed, "sha256"), signature)
        if self.algorithm == "ES256" and len(signature) != 2 * _EC_PART:
            return False
        return bool(_asymmetric(self.algorithm).verify(signed, self._material, signature))


@cache
def _asymmetric(algorithm: Algorithm) -> Any:
    """PyJWT's side of an algorithm; `cryptography` is loaded only by who has such keys."""
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    made: dict[str, Any] = {
        "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
        "ES256": ECAlgorithm(ECAlgorithm.SHA256),
        "EdDSA": OKPAlgorithm(),
    }
    return made[algorithm]


def secret_key(secret: str, setting: str = "jwt_secret") -> VerifyingKey:
    """An HS256 key. Raises ConfigError, naming the `setting`, for a text that is another kind of key."""
    try:
        return VerifyingKey("HS256", HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret))
    except InvalidKeyError as fault:
        raise ConfigError(f"{setting}: {fault}") from None


def keys_from_pem(text: str, source: str) -> list[VerifyingKey]:
    """Every public key of a PEM file. Raises ConfigError, naming the `source`, for anything else in it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = []
    for block in _PEM.finditer(text):
        if block[1] not in ("PUBLIC KEY", "RSA PUBLIC KEY"):
            raise ConfigError(f"{source}: it has a {block[1].lower()}, where only public keys belong")
        try:
            found.append(_public(load_pem_public_key(block[0].encode())))
        except (ValueError, UnsupportedAlgorithm) as fault:
            raise ConfigError(f"{source}: {fault}") from None
    if not found:
        raise ConfigError(f"{source}: there is no public key in it (PEM: -----BEGIN PUBLIC KEY-----)")
    return found


def keys_from_jwks(text: bytes) -> list[VerifyingKey]:
    """The keys of a JWK Set (RFC 7517 section 5) that we can use; others are left out.

    Raises ValueError for what is no set, or has no key for us.
    """
    document = msgspec.json.decode(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("this is not a JWK Set")
    usable = (_from_jwk(entry) for entry in entries[:MAX_KEYS] if isinstance(entry, dict))
    found = [key for key in usable if key is not None]
    if not found:
        raise ValueError("there is no key for RS256, ES256 or EdDSA in it")
    return found


def _from_jwk(entry: Mapping[str, Any]) -> VerifyingKey | None:
    """None for a key that is not for us; never a secret, whoever publishes it."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    kid = entry.get("kid")
    if entry.get("use", "sig") != "sig" or "d" in entry or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if kid is not None and not is_key_id(kid):
        return None
    try:
        if "verify" not in entry.get("key_ops", ["verify"]):
            return None
        key = _public(PyJWK.from_dict(dict(entry)).key, kid)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    return key if entry.get("alg", key.algorithm) == key.algorithm else None


def _public(key: Any, kid: str | None = None) -> VerifyingKey:
    """Raises ValueError for a key that none of the algorithms is for."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise ValueError(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, not {key.key_size}")
        return VerifyingKey("RS256", key, kid)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerifyingKey("ES256", key, kid)
    if isinstance(key, Ed25519PublicKey):
        return VerifyingKey("EdDSA", key, kid)
    raise ValueError("only RSA, P-256 and Ed25519 keys can be used")


def is_key_id(kid: object) -> bool:
    """Whether a key may have this name."""
    return isinstance(kid, str) and _KEY_ID.fullmatch(kid) is not None


def from_base64url(text: str) -> bytes:
    """RFC 7515 section 2. Raises ValueError for anything but the one spelling of some bytes."""
    raw = text.encode("ascii")
    data = base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != raw:
        raise ValueError("not base64url")
    return data
