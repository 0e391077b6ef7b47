"""Revoked tokens and users, kept over restarts.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select

from notifyd.store.schema import revoked_tokens, revoked_users

if TYPE_CHECKING:
    from notifyd.store.base import Transaction

t = revoked_tokens.c
u = revoked_users.c

_DROP_EXPIRED = delete(revoked_tokens).where(t.until_ms <= bindparam("now"))
_TOKENS = select(t.issuer, t.token_id, t.until_ms)
_USERS = select(u.user_id, u.not_before_ms)
#: The longer of two revocations of one token stays; none ends one that is for ever.
_LONGER = (
    "ON CONFLICT (issuer, token_id) DO UPDATE SET until_ms = CASE "
    "WHEN revoked_tokens.until_ms IS NULL OR excluded.until_ms IS NULL THEN NULL "
    "WHEN excluded.until_ms > revoked_tokens.until_ms THEN excluded.until_ms "
    "ELSE revoked_tokens.until_ms END"
)
_LATER = (
    "ON CONFLICT (user_id) DO UPDATE SET not_before_ms = CASE "
    "WHEN excluded.not_before_ms > revoked_users.not_before_ms THEN excluded.not_before_ms "
    "ELSE revoked_users.not_before_ms END"
)


def load(tx: Transaction) -> tuple[dict[tuple[str, str], int | None], dict[str, int]]:
    """Tokens with the moment until which they are refused (None: for ever), and users with theirs."""
    tokens = {(row.issuer, row.token_id): row.until_ms for row in tx.execute(_TOKENS)}
    return tokens, {row.user_id: row.not_before_ms for row in tx.execute(_USERS)}


def put_token(tx: Transaction, issuer: str, token_id: str, until_ms: int | None) -> None:
    """Refuse a token from now on, and forget those that have expired."""
    tx.execute(_DROP_EXPIRED, {"now": tx.now_ms})
    tx.insert_rows(
        revoked_tokens, ("issuer", "token_id", "until_ms"), [(issuer, token_id, until_ms)], _LONGER
    )


def put_user(tx: Transaction, user_id: str, not_before_ms: int) -> None:
    """Refuse a user's tokens from before a moment; an earlier moment changes nothing."""
    tx.insert_rows(revoked_users, ("user_id", "not_before_ms"), [(user_id, not_before_ms)], _LATER)
