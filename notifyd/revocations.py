"""Tokens that no longer count although their signature and time hold. In memory; no I/O, no clock, no Trio.

A token is named by its issuer and its `jti`, not by a hash of it: one token can be spelt in several ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifyd.auth import Identity

#: Entries of both kinds together: about 30 MB.
MAX_REVOCATIONS: Final = 100_000


class Revocations:
    """Single tokens by (issuer, token id), and users whose tokens from before a moment are refused."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], int | None] = {}  # until when (ms); None: for ever
        self._users: dict[str, int] = {}  # not before (ms)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def fill(self, tokens: Mapping[tuple[str, str], int | None], users: Mapping[str, int]) -> None:
        """What was revoked before this process began."""
        self._tokens.update(tokens)
        self._users.update(users)

    def add_token(self, issuer: str, token_id: str, until_ms: int | None) -> None:
        """Refuse this token; it has expired by `until_ms`. The longer of two counts, None being for ever."""
        before = self._tokens.get((issuer, token_id), 0)
        longer = None if before is None or until_ms is None else max(before, until_ms)
        self._tokens[issuer, token_id] = longer

    def add_user(self, user_id: str, not_before_ms: int) -> None:
        """Refuse the user's tokens issued before a moment, or without one."""
        self._users[user_id] = max(not_before_ms, self._users.get(user_id, 0))

    def forget_expired(self, now_ms: int) -> None:
        """Let go of tokens that are past their time."""
        self._tokens = {key: until for key, until in self._tokens.items() if until is None or until > now_ms}

    def refuses(self, identity: Identity) -> bool:
        """Whether the token behind `identity` was revoked."""
        not_before = self._users.get(identity.user_id)
        if not_before is not None and (identity.issued_ms is None or identity.issued_ms < not_before):
            return True
        return identity.token_id is not None and (identity.issuer or "", identity.token_id) in self._tokens
