"""What became of one notification for one user, deduced from what the ledger kept. Pure.

The ledger has no line per notification: that one was written to a connection follows from where the
connection was. Times of writing are exact within a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from notifyd.messages import RANK_STATE, NotificationUpdated, State, parse_cursor
from notifyd.store.ledger import Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.ledger import Kept
    from notifyd.store.tracing import Facts

WhyNot = Literal["refused", "began_later", "ended_before", "behind", "not_yet", "unknown"]

#: In words, for people.
WHY_NOT: Final[dict[WhyNot, str]] = {
    "refused": "it was refused, the user had too many connections",
    "began_later": "it began behind this notification, without an older cursor",
    "ended_before": "it ended first",
    "behind": "its client does not read as fast as it is sent to",
    "not_yet": "it is about to be",
    "unknown": "the server ended abruptly at that time",
}


class Way(NamedTuple):
    """What became of it on one connection: when it was written, or why it was not."""

    connection: Kept
    written_ms: int | None
    why_not: WhyNot | None


class Change(NamedTuple):
    """The user or a publisher changed its state."""

    at_ms: int
    state: State


class Trace(NamedTuple):
    """What became of a notification; `why_not` says why nobody has seen it, in words."""

    facts: Facts
    state: State
    changes: Sequence[Change]
    ways: Sequence[Way]
    acknowledged: bool
    expired: bool
    why_not: Sequence[str]


def trace(facts: Facts) -> Trace:
    """Deduce it."""
    rank = max(facts.rank, facts.marks.rank(facts.seq, everyone=facts.everyone))
    marks: dict[str, list[Mark]] = {}
    for mark in facts.connection_marks:
        marks.setdefault(mark.connection_id, []).append(mark)
    ways = [_way(each, marks.get(each.connection_id, []), facts) for each in facts.connections]
    acknowledged = facts.acknowledged is not None and facts.acknowledged.seq >= facts.seq
    expired = facts.expires_ms is not None and facts.expires_ms <= facts.now_ms
    found = Trace(facts, RANK_STATE[rank], _changes(facts), ways, acknowledged, expired, ())
    return found._replace(why_not=_why_not(found))


# --- one connection ---------------------------------------------------------------------------------


def _way(kept: Kept, marks: Sequence[Mark], facts: Facts) -> Way:
    if kept.start_seq is None:
        return Way(kept, None, "refused")
    if kept.start_seq >= facts.seq:
        return Way(kept, None, "began_later")
    if kept.end_seq is not None and kept.end_seq < facts.seq:
        return Way(kept, None, "ended_before")
    before, after = _around(kept, kept.start_seq, marks, facts.seq)
    if before.behind:
        return _way_of_laggard(kept, after)
    return _way_of_one_that_kept_up(kept, before, after, facts.dispatched_ms)


def _around(kept: Kept, start_seq: int, marks: Sequence[Mark], seq: int) -> tuple[Mark, Mark | None]:
    """Where it was at the last look before it was given `seq`, and at the first after."""
    before = Mark(kept.connection_id, kept.connected_ms, start_seq, False)
    for mark in marks:
        if mark.seq >= seq:
            return before, mark
        before = mark
    return before, None


def _way_of_laggard(kept: Kept, after: Mark | None) -> Way:
    if after is not None:
        return Way(kept, after.at_ms, None)
    if kept.end_seq is not None:
        return Way(kept, kept.closed_ms, None)
    return Way(kept, None, "behind" if kept.closed_ms is None else "unknown")


def _way_of_one_that_kept_up(kept: Kept, before: Mark, after: Mark | None, dispatched_ms: int | None) -> Way:
    latest = [at for at in (kept.closed_ms, None if after is None else after.at_ms) if at is not None]
    is_known = after is not None or kept.end_seq is not None
    if dispatched_ms is None:
        if is_known:
            return Way(kept, min(latest), None)
        return Way(kept, None, "not_yet" if kept.closed_ms is None else "unknown")
    if not is_known and kept.closed_ms is not None and dispatched_ms >= kept.closed_ms:
        return Way(kept, None, "unknown")
    return Way(kept, min([max(dispatched_ms, before.at_ms), *latest]), None)


# --- the rest ---------------------------------------------------------------------------------------

_update_decoder = msgspec.json.Decoder(NotificationUpdated)


def _changes(facts: Facts) -> list[Change]:
    """When it first got into each state."""
    first: dict[State, Change] = {}
    for update in facts.updates:
        told = _update_decoder.decode(update.data)
        if _concerns(told, facts):
            first.setdefault(told.state, Change(update.created_ms, told.state))
    return list(first.values())


def _concerns(told: NotificationUpdated, facts: Facts) -> bool:
    if told.notification_ids is not msgspec.UNSET and facts.notification_id in told.notification_ids:
        return True
    cursor = None if told.up_to is msgspec.UNSET else parse_cursor(told.up_to)
    return cursor is not None and cursor.seq >= facts.seq


def _why_not(found: Trace) -> list[str]:
    """Why no client has confirmed it, the nearest reason first; empty when one or the user has."""
    if found.acknowledged or any(change.state != "withdrawn" for change in found.changes):
        return []
    reasons = []
    if found.state == "withdrawn":
        reasons.append("it was withdrawn")
    if found.expired:
        reasons.append("it has expired")
    if any(way.written_ms is not None for way in found.ways):
        ack = found.facts.acknowledged
        reasons.append(
            "it was written, but no client has acknowledged it yet"
            if ack is None
            else "it was written, but the user's clients have acknowledged only what came before it"
        )
    elif not found.ways:
        reasons.append("the user has not been connected since it was stored")
    else:
        kinds = dict.fromkeys(way.why_not for way in found.ways if way.why_not is not None)
        reasons += [f"of the user's connections: {WHY_NOT[kind]}" for kind in kinds]
    return reasons
