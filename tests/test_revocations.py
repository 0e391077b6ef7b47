"""What is refused although it is signed."""

from __future__ import annotations

import pytest

from notifyd.auth import Identity
from notifyd.revocations import Revocations


def identity(issued_ms: int | None = 1000, issuer: str | None = "i", token_id: str | None = "t") -> Identity:
    return Identity("ann", 9000, issued_ms=issued_ms, issuer=issuer, token_id=token_id)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (identity(), True),
        (identity(issuer="j"), False),
        (identity(issuer=None), False),
        (identity(token_id="u"), False),
        (identity(token_id=None), False),
    ],
)
def test_a_token_is_its_issuer_and_its_id(given: Identity, refused: bool) -> None:
    revocations = Revocations()
    revocations.add_token("i", "t", None)
    assert revocations.refuses(given) is refused


@pytest.mark.parametrize(("first", "second"), [(None, 5000), (5000, None), (9000, 5000), (5000, 9000)])
def test_the_longer_of_two_revocations_counts(first: int | None, second: int | None) -> None:
    revocations = Revocations()
    revocations.add_token("i", "t", first)
    revocations.add_token("i", "t", second)
    revocations.forget_expired(8999)
    assert revocations.refuses(identity())


def test_a_token_of_no_issuer_has_the_empty_one() -> None:
    revocations = Revocations()
    revocations.add_token("", "t", None)
    assert revocations.refuses(identity(issuer=None))
    assert not revocations.refuses(identity())


@pytest.mark.parametrize(("issued_ms", "refused"), [(1999, True), (2000, False), (2001, False), (None, True)])
def test_a_users_tokens_from_before_a_moment_are_refused(issued_ms: int | None, refused: bool) -> None:
    revocations = Revocations()
    revocations.add_user("ann", 2000)
    revocations.add_user("ann", 1500)  # takes nothing back
    assert revocations.refuses(identity(issued_ms)) is refused
    assert not revocations.refuses(Identity("ben", 9000, issued_ms=0))


def test_what_has_expired_anyway_is_forgotten() -> None:
    revocations = Revocations()
    revocations.fill({("i", "t"): 5000, ("i", "u"): None}, {"ann": 1})
    revocations.forget_expired(4999)
    assert len(revocations) == 3
    revocations.forget_expired(5000)
    assert len(revocations) == 2
    assert not revocations.refuses(identity())
    assert revocations.refuses(identity(token_id="u"))
