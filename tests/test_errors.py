from __future__ import annotations

import re
from pathlib import Path

from notifyd import errors
from notifyd.errors import CloseCode, should_reconnect


def test_the_table_says_who_comes_back() -> None:
    back = {code for code in range(1000, 5000) if should_reconnect(code)}
    assert back == {1001, 1006, 1011, 1012, 1013} | set(range(4000, 4500))


def test_every_code_has_a_rule_that_agrees() -> None:
    for code in CloseCode:
        assert code.reconnect == should_reconnect(code)
        assert 0 < len(code.reason.encode()) <= 123, "RFC 6455 section 5.5: a control frame has 125 bytes"


def test_the_protocol_page_has_the_same_table() -> None:
    page = Path("docs/protocol.md").read_text()
    rows = {
        int(code): back.startswith("yes")
        for code, back in re.findall(r"^\| (\d{4}) \|.*\| (.*) \|$", page, re.M)
    }
    assert rows == {int(code): code.reconnect for code in CloseCode}


def test_http_errors_carry_their_place() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HttpError)
    ]
    assert len({kind.slug for kind in kinds}) >= len(kinds) - 4
    assert errors.OutcomeUnknown().extra == {"outcome": "unknown"}
    assert str(errors.NotFound()) == "There is no such thing"
    assert errors.NotFound("no user 7").detail == "no user 7"
    assert (errors.DiskFull.status, errors.Unavailable.status, errors.IdempotencyConflict.status) == (
        507,
        503,
        422,
    )
