"""Who may do what: users by token or ticket, publishers and operators by key or scope.

Keeps in memory what has been handed out (tickets); a restart forgets them, and clients ask for new ones.
"""

from __future__ import annotations

import heapq
import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from notifyd.auth import (
    ADMIN_SCOPE,
    INVALID_TOKEN_TEXT,
    PUBLISH_SCOPE,
    Identity,
    MissingToken,
    RequestFacts,
    TokenVerifier,
    UnknownKey,
    bearer_value,
    find_token,
)
from notifyd.errors import ConfigError, Forbidden, Unauthorized, Unavailable
from notifyd.revocations import Revocations
from notifyd.signing import keys_from_pem, secret_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notifyd.config import Config
    from notifyd.signing import VerifyingKey

#: Seconds for which a ticket waits to be used the first time.
TICKET_SECONDS = 30
MAX_TICKETS = 100_000
#: One user's tickets; the oldest makes room. Three times the usual connections of a user.
MAX_TICKETS_PER_USER = 32

MISSING_TEXT = "Send a token or key, for example as `Authorization: Bearer …`"


class Revoked(Unauthorized):
    """The token was good and has been revoked. Over HTTP it looks like any other bad token."""


class Keys:
    """Answers who sends a request. Every way to become somebody leads through here.

    `verifier` is None when no secret is set: then only keys and tickets speak for anybody.
    """

    def __init__(
        self,
        verifier: TokenVerifier | None,
        *,
        publish_keys: Iterable[str] = (),
        admin_keys: Iterable[str] = (),
        allow_query_token: bool = True,
        allowed_origins: Sequence[str] = (),
    ) -> None:
        self._verifier = verifier
        self._publish = KeyRing(publish_keys)
        self._admin = KeyRing(admin_keys)
        self._allow_query_token = allow_query_token
        self._allowed_origins = tuple(allowed_origins)
        self._tickets = Tickets()
        self.revocations = Revocations()
        #: Has a missing key of the issuer fetched; False when that is not to be hoped for now.
        self.want_keys: Callable[[], bool] = lambda: False

    def adopt(self, fresh: Keys) -> None:
        """Go on with the keys of other settings. Tickets, revocations and fetched keys stay."""
        if self._verifier is not None and fresh._verifier is not None:
            fresh._verifier.fetched = self._verifier.fetched
        self._verifier = fresh._verifier
        self._publish, self._admin = fresh._publish, fresh._admin

    def adopt_fetched(self, keys: Sequence[VerifyingKey]) -> None:
        """The issuer's present keys take the place of those fetched before."""
        if self._verifier is not None:
            self._verifier.fetched = keys

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Parts of a token that are not looked at because no setting asks for them."""
        return () if self._verifier is None else self._verifier.unchecked

    def authenticate(self, facts: RequestFacts, now_ms: int) -> Identity:
        """The user behind a request.

        Raises MissingToken (an Unauthorized) when it carries no credential, Unauthorized for one that does
        not hold, Forbidden for a cookie sent by a foreign page or for a key that is nobody's.
        """
        credential = find_token(
            facts, allow_query_token=self._allow_query_token, allowed_origins=self._allowed_origins
        )
        if credential is None:
            raise MissingToken(MISSING_TEXT)
        if credential.kind == "ticket":
            return self._unrevoked(self._tickets.redeem(credential.value, now_ms, stream=facts.is_stream))
        try:
            return self.verify_token(credential.value, now_ms)
        except Unauthorized:
            if credential.kind == "header" and self._is_key(credential.value):
                raise Forbidden("This is a key of a publisher or operator, not a user's token") from None
            raise

    def verify_token(self, token: str, now_ms: int) -> Identity:
        """The user that `token` alone proves: a first frame or a refresh.

        Raises Unauthorized; Unavailable while the key that it needs is being fetched.
        """
        if self._verifier is None:
            raise Unauthorized(INVALID_TOKEN_TEXT)
        try:
            return self._unrevoked(self._verifier.verify(token, now_ms))
        except UnknownKey:
            if self.want_keys():
                raise Unavailable("The issuer's keys are being fetched") from None
            raise Unauthorized(INVALID_TOKEN_TEXT) from None

    def _unrevoked(self, identity: Identity) -> Identity:
        if self.revocations.refuses(identity):
            raise Revoked(INVALID_TOKEN_TEXT)
        return identity

    def publisher(self, authorization: str | None, now_ms: int) -> str:
        """The name of the publisher behind an Authorization header, the same for ever for one key.

        Raises MissingToken, Unauthorized, or Forbidden for whoever is known but no publisher.
        """
        return self._privileged(authorization, now_ms, self._publish, PUBLISH_SCOPE)

    def operator(self, authorization: str | None, now_ms: int) -> str:
        """The name of the operator behind an Authorization header. Raises as `publisher` does."""
        return self._privileged(authorization, now_ms, self._admin, ADMIN_SCOPE)

    def issue_ticket(self, identity: Identity, now_ms: int) -> str:
        """A ticket that is `identity` once within 30 s. Raises Unavailable when too many are out."""
        return self._tickets.issue(identity, now_ms)

    def _privileged(self, authorization: str | None, now_ms: int, ring: KeyRing, scope: str) -> str:
        bearer = bearer_value(authorization)
        if bearer is None:
            raise MissingToken(MISSING_TEXT)
        name = ring.name_of(bearer)
        if name is not None:
            return name
        if self._is_key(bearer):
            raise Forbidden("This key is for something else")
        identity = self.verify_token(bearer, now_ms)
        if scope not in identity.scopes:
            raise Forbidden(f"The token lacks the scope {scope}")
        return f"token:{identity.issuer or ''}:{identity.user_id}"

    def _is_key(self, bearer: str) -> bool:
        return self._publish.name_of(bearer) is not None or self._admin.name_of(bearer) is not None


def keys_from_config(config: Config) -> Keys:
    """Keys as the settings describe them. Reads key files. Raises ConfigError."""
    verifying = _verifying_keys(config)
    verifier = None
    if verifying or config.jwks_url is not None:
        verifier = TokenVerifier(
            verifying,
            user_claim=config.jwt_user_claim,
            audience=config.jwt_audience,
            issuer=config.jwt_issuer,
            type_=config.jwt_type,
            fetches_keys=config.jwks_url is not None,
        )
    return Keys(
        verifier,
        publish_keys=[key.get_secret_value() for key in config.publish_keys],
        admin_keys=[key.get_secret_value() for key in config.admin_keys],
        allow_query_token=config.allow_query_token,
        allowed_origins=config.allowed_origins,
    )


def _verifying_keys(config: Config) -> list[VerifyingKey]:
    keys = []
    for name in ("jwt_secret", "jwt_previous_secret"):
        secret = getattr(config, name)
        if secret is not None:
            keys.append(secret_key(secret.get_secret_value(), name))
    for path in config.jwt_public_key_file:
        source = f"jwt_public_key_file: {path}"
        try:
            text = Path(path).read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise ConfigError(f"{source}: {error.strerror}") from None
        keys += keys_from_pem(text, source)
    return keys


class KeyRing:
    """Keys with their names; looking one up takes equally long wherever and whether it is found."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [(_digest(key), f"key-{_digest('name of ' + key).hex()[:12]}") for key in keys]

    def name_of(self, key: str) -> str | None:
        """The name of `key`: stable over restarts and orders, and no help to guess the key."""
        digest = _digest(key)
        found = None
        for known, name in self._keys:
            if hmac.compare_digest(known, digest):
                found = name
        return found


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass
class _Ticket:
    identity: Identity
    deadline_ms: int
    opened_stream: bool = False


class Tickets:
    """Secrets that stand for an identity once, within 30 s of their issue.

    A ticket that opened an SSE stream opens one again until its identity expires, because an EventSource
    comes back to the same address. Memory is bounded: 32 a user, 100,000 in all.
    """

    def __init__(self, limit: int = MAX_TICKETS, limit_per_user: int = MAX_TICKETS_PER_USER) -> None:
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._tickets: dict[str, _Ticket] = {}
        self._by_user: dict[str, dict[str, None]] = {}  # oldest first
        self._deadlines: list[tuple[int, str]] = []  # a heap; holds outdated pairs too

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, identity: Identity, now_ms: int) -> str:
        """A new ticket. Raises Unavailable when the limit over all users is reached."""
        self._forget_overdue(now_ms)
        own = self._by_user.get(identity.user_id, {})
        if len(own) >= self._limit_per_user:
            self._forget(next(iter(own)))
        if len(self._tickets) >= self._limit:
            raise Unavailable("Too many tickets wait to be used")
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = _Ticket(identity, 0)
        self._by_user.setdefault(identity.user_id, {})[ticket] = None
        self._set_deadline(ticket, min(now_ms + TICKET_SECONDS * 1000, identity.expires_ms))
        return ticket

    def redeem(self, ticket: str, now_ms: int, *, stream: bool) -> Identity:
        """The identity behind `ticket`, which is then used up or bound to SSE. Raises Unauthorized."""
        self._forget_overdue(now_ms)
        found = self._tickets.get(ticket)
        if found is None or (found.opened_stream and not stream):
            raise Unauthorized(INVALID_TOKEN_TEXT)
        if not stream:
            self._forget(ticket)
        elif not found.opened_stream:
            found.opened_stream = True
            self._set_deadline(ticket, found.identity.expires_ms)
        return found.identity

    def _set_deadline(self, ticket: str, deadline_ms: int) -> None:
        self._tickets[ticket].deadline_ms = deadline_ms
        heapq.heappush(self._deadlines, (deadline_ms, ticket))
        if len(self._deadlines) > 2 * len(self._tickets) + 64:  # mostly of tickets long gone
            self._deadlines = sorted((kept.deadline_ms, name) for name, kept in self._tickets.items())

    def _forget_overdue(self, now_ms: int) -> None:
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, ticket = heapq.heappop(self._deadlines)
            if ticket in self._tickets and self._tickets[ticket].deadline_ms <= now_ms:
                self._forget(ticket)

    def _forget(self, ticket: str) -> None:
        identity = self._tickets.pop(ticket).identity
        own = self._by_user[identity.user_id]
        del own[ticket]
        if not own:
            del self._by_user[identity.user_id]
