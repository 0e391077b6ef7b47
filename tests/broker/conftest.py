from __future__ import annotations

from collections.abc import Callable

import pytest

from notifyd.store.base import Entry

MakeEntry = Callable[..., Entry]


def make_entry(
    seq: int,
    user_id: str | None = None,
    *,
    size: int = 10,
    expires_ms: int | None = None,
    name: str | None = None,
) -> Entry:
    data = b'{"x":"' + b"y" * size + b'"}'
    return Entry(seq, user_id, "x-test", data, 1_700_000_000_000 + seq, expires_ms, name or f"n{seq}")


@pytest.fixture
def entry() -> MakeEntry:
    return make_entry
