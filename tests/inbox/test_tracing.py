from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from notifyd.inbox.tracing import Change, trace
from notifyd.store.ledger import LOST, Kept, Mark
from notifyd.store.tracing import Facts, Update
from notifyd.store.users import Acknowledged, Marks

if TYPE_CHECKING:
    from notifyd.inbox.tracing import Trace, Way

SEQ = 10


def facts(*connections: Kept, marks: tuple[Mark, ...] = (), **changes: Any) -> Facts:
    known: dict[str, Any] = {
        "seq": SEQ,
        "notification_id": "n",
        "type": "x-a",
        "everyone": False,
        "created_ms": 1000,
        "expires_ms": None,
        "rank": 0,
        "marks": Marks(0),
        "updates": (),
        "acknowledged": None,
        "dispatched_ms": 1500,
        "now_ms": 9000,
    }
    return Facts(**(known | changes), connections=connections, connection_marks=marks)


def kept(**changes: Any) -> Kept:
    known: dict[str, Any] = {"connection_id": "c", "transport": "sse", "connected_ms": 500, "start_seq": 5}
    values: dict[str, Any] = dict.fromkeys(Kept._fields)
    return Kept(**(values | known | changes))


def way(found: Trace) -> Way:
    (only,) = found.ways
    return only


def mark(at_ms: int, seq: int, *, behind: bool) -> Mark:
    return Mark("c", at_ms, seq, behind)


ENDED = {"closed_ms": 5000, "close_code": 1000}


@pytest.mark.parametrize(
    ("connection", "marks", "changes", "expected"),
    [
        (kept(), (), {}, 1500),  # it kept up
        (kept(connected_ms=3000), (), {}, 3000),  # it resumed
        (kept(end_seq=20, **ENDED), (), {}, 1500),
        (kept(end_seq=20, closed_ms=1200, close_code=1000), (), {}, 1200),
        (kept(end_seq=9, **ENDED), (), {}, "ended_before"),
        (kept(start_seq=10), (), {}, "began_later"),
        (kept(start_seq=None, close_code=4504, closed_ms=500), (), {}, "refused"),
        (kept(), (), {"dispatched_ms": None}, "not_yet"),
        (kept(end_seq=10, **ENDED), (), {"dispatched_ms": None}, 5000),
        (kept(), (mark(1400, 7, behind=True),), {}, "behind"),
        (kept(), (mark(1400, 7, behind=True), mark(2400, 9, behind=True)), {}, "behind"),
        (kept(), (mark(1400, 7, behind=True), mark(2400, 12, behind=True)), {}, 2400),
        (kept(), (mark(1400, 7, behind=True), mark(2400, 7, behind=False)), {}, 2400),
        (kept(), (mark(700, 7, behind=True), mark(900, 8, behind=False)), {}, 1500),
        (kept(), (mark(4000, 30, behind=True),), {}, 1500),  # it fell behind later
        (kept(), (mark(1200, 30, behind=True),), {}, 1200),
        (kept(end_seq=11, **ENDED), (mark(1400, 7, behind=True),), {}, 5000),
        (kept(closed_ms=2000, close_code=LOST), (), {}, 1500),  # the server was killed afterwards
        (kept(closed_ms=2000, close_code=LOST), (), {"dispatched_ms": 2500}, "unknown"),
        (kept(closed_ms=2000, close_code=LOST), (), {"dispatched_ms": None}, "unknown"),
        (kept(closed_ms=2000, close_code=LOST), (mark(1400, 7, behind=True),), {}, "unknown"),
    ],
)
def test_when_it_was_written_or_why_not(
    connection: Kept, marks: tuple[Mark, ...], changes: dict[str, Any], expected: int | str
) -> None:
    found = way(trace(facts(connection, marks=marks, **changes)))
    assert (found.written_ms if isinstance(expected, int) else found.why_not) == expected
    assert (found.written_ms is None) == (found.why_not is not None)


def update(at_ms: int, text: str) -> Update:
    return Update(SEQ + at_ms, at_ms, Raw(text.encode()))


def test_changes_of_state_are_those_that_concern_it_each_once() -> None:
    found = trace(
        facts(
            updates=(
                update(1, '{"state": "seen", "notification_ids": ["other"]}'),
                update(2, '{"state": "seen", "up_to": "e-9"}'),
                update(3, '{"state": "seen", "notification_ids": ["other", "n"]}'),
                update(4, '{"state": "read", "up_to": "e-10"}'),
                update(5, '{"state": "read", "notification_ids": ["n"]}'),
                update(6, '{"state": "withdrawn", "notification_ids": ["n"]}'),
            ),
            rank=4,
        )
    )
    assert found.changes == [Change(3, "seen"), Change(4, "read"), Change(6, "withdrawn")]
    assert found.state == "withdrawn"
    assert found.why_not == []


def test_states_come_from_marks_too() -> None:
    assert trace(facts(marks=(), rank=1)).state == "seen"
    by_marks = facts()._replace(marks=Marks(0, read=SEQ))
    assert trace(by_marks).state == "read"
    announced = facts(everyone=True)._replace(marks=Marks(SEQ))
    assert trace(announced).state == "seen"


def ack(seq: int) -> Acknowledged:
    return Acknowledged(seq, "c", 1700)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (facts(), ["the user has not been connected since it was stored"]),
        (facts(kept(), acknowledged=ack(SEQ)), []),
        (facts(kept()), ["it was written, but no client has acknowledged it yet"]),
        (
            facts(kept(), acknowledged=ack(SEQ - 1)),
            ["it was written, but the user's clients have acknowledged only what came before it"],
        ),
        (
            facts(kept(start_seq=None), kept(start_seq=None)),
            ["of the user's connections: it was refused, the user had too many connections"],
        ),
        (
            facts(expires_ms=2000, rank=4),
            ["it was withdrawn", "it has expired", "the user has not been connected since it was stored"],
        ),
    ],
)
def test_why_nobody_has_confirmed_it(found: Facts, reasons: list[str]) -> None:
    assert list(trace(found).why_not) == reasons
