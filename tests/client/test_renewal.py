"""When a fresh token is asked for, and which one is fresh."""

from __future__ import annotations

import pytest

from notifyd.auth import mint_token
from notifyd.client.renewal import Renewal, expiry_s

SECRET = "a secret of more than thirty-two bytes"


def token(ttl_s: float) -> str:
    return mint_token(SECRET, "ann", now_ms=0, ttl_s=ttl_s)


def test_it_is_due_a_minute_before_the_end_or_halfway() -> None:
    renewal = Renewal(token(600), expires_at=1600.0)
    assert renewal.wait_s(1000.0) == 540.0
    assert renewal.wait_s(1540.0) == 30.0
    assert renewal.wait_s(1598.0) == 1.0
    assert renewal.wait_s(1599.5) is None
    assert renewal.wait_s(1700.0) is None


def test_a_fresh_token_moves_the_end() -> None:
    renewal = Renewal(token(600), expires_at=1600.0)
    assert renewal.is_fresh(token(900))
    assert renewal.wait_s(1000.0) == 540.0
    renewal.taken(token(900))
    assert renewal.wait_s(1000.0) == 840.0
    assert not renewal.is_fresh(token(900))


@pytest.mark.parametrize("other", [token(600), token(500), "nonsense", "a.b.c", "a.e30.c", ""])
def test_the_same_an_older_or_no_token_is_not_fresh(other: str) -> None:
    renewal = Renewal(token(600), expires_at=1600.0)
    assert not renewal.is_fresh(other)
    assert renewal.wait_s(1000.0) == 540.0


def test_whose_own_end_cannot_be_read_is_left_alone() -> None:
    assert not Renewal("opaque", expires_at=10.0).is_fresh(token(900))
    assert expiry_s(token(900)) == 900.0
