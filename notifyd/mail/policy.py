"""Whom to write to and when. Pure: no clock, no I/O; moments are milliseconds since 1970.

`decide` is asked about one delivery at a time, when it is new and whenever the moment comes that it named. It
keeps nothing: what it waits for stands with the delivery, so that a change of the preferences can undo it.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from notifyd.messages import STATE_RANK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, tzinfo

    from notifyd.preferences import Policy, Preferences, QuietHours

HOUR_MS: Final = 3_600_000
SEEN, READ, WITHDRAWN = STATE_RANK["seen"], STATE_RANK["read"], STATE_RANK["withdrawn"]

WaitsFor = Literal["grace", "digest", "quiet"]
DropReason = Literal["acknowledged", "read", "withdrawn", "expired", "unsubscribed", "no_address", "bounced"]


class Facts(NamedTuple):
    """What is known of one delivery when it is decided on, which is when what it waits for has come."""

    created_ms: int
    expires_ms: int | None
    waits_for: WaitsFor | None  # None: it is new, or the preferences have changed
    acknowledged: bool
    rank: int  # of the notification's state for this user
    critical: bool
    policy: Policy


class Wait(NamedTuple):
    """Ask again at this moment."""

    until_ms: int
    waits_for: WaitsFor


class Drop(NamedTuple):
    """It is not to be told by this channel."""

    reason: DropReason


class Send(NamedTuple):
    """It is to be told now, in one mail with all else of this user that is."""


Decision = Wait | Drop | Send


def decide(facts: Facts, preferences: Preferences, zone: tzinfo, *, now_ms: int, grace_ms: int) -> Decision:
    """What becomes of a delivery at `now_ms`. An acknowledgement that is known by then came in time."""
    gone = outlived(facts.rank, facts.expires_ms, facts.policy, now_ms)
    if gone is not None:
        return Drop(gone)
    decision = _by_policy(facts, preferences, zone, now_ms, grace_ms)
    if isinstance(decision, Send) and not facts.critical and preferences.quiet_hours is not None:
        return _unless_quiet(preferences.quiet_hours, zone, now_ms)
    return decision


def outlived(rank: int, expires_ms: int | None, policy: Policy, now_ms: int) -> DropReason | None:
    """Why something is no longer to be sent, whatever it waits for; asked again just before it is sent."""
    if rank >= WITHDRAWN:
        return "withdrawn"
    if expires_ms is not None and expires_ms <= now_ms:
        return "expired"
    return "unsubscribed" if policy == "never" else None


def _by_policy(facts: Facts, preferences: Preferences, zone: tzinfo, now_ms: int, grace_ms: int) -> Decision:
    if facts.policy == "always":
        return Send()
    if facts.policy == "offline" or facts.critical:
        if facts.acknowledged or facts.rank >= SEEN:
            return Drop("acknowledged")
        until_ms = facts.created_ms + grace_ms
        return Wait(until_ms, "grace") if now_ms < until_ms else Send()
    if facts.rank >= READ:
        return Drop("read")
    if facts.waits_for in ("digest", "quiet"):
        return Send()
    return Wait(next_digest(facts.policy, preferences, zone, now_ms), "digest")


def _unless_quiet(quiet: QuietHours, zone: tzinfo, now_ms: int) -> Decision:
    end_ms = quiet_until(quiet, zone, now_ms)
    return Send() if end_ms is None else Wait(end_ms, "quiet")


# --- times of day in a zone -------------------------------------------------------------------------


def next_digest(policy: Policy, preferences: Preferences, zone: tzinfo, after_ms: int) -> int:
    """The first moment after `after_ms` at which a digest of this policy goes out."""
    if policy == "hourly":
        return (after_ms // HOUR_MS + 1) * HOUR_MS
    at = time.fromisoformat(preferences.daily_at)
    return next(moment for moment in _moments(at, zone, after_ms) if moment > after_ms)


def is_quiet(quiet: QuietHours, zone: tzinfo, now_ms: int) -> bool:
    """Whether the clock on the user's wall stands in the quiet hours; equal times are no hours."""
    start, end = quiet.times()
    wall = _local(now_ms, zone).time()
    if start <= end:
        return start <= wall < end
    return wall >= start or wall < end


def quiet_until(quiet: QuietHours, zone: tzinfo, now_ms: int) -> int | None:
    """The first moment from `now_ms` on at which it is not quiet; None when it is not quiet now.

    Where the clock is set forward over the end, that is the moment of setting it; where it is set back, the
    first of the two.
    """
    if not is_quiet(quiet, zone, now_ms):
        return None
    after = (moment for moment in _moments(quiet.times()[1], zone, now_ms) if moment > now_ms)
    quiet_ms, loud_ms = now_ms, next(moment for moment in after if not is_quiet(quiet, zone, moment))
    while loud_ms - quiet_ms > 1:
        middle = (quiet_ms + loud_ms) // 2
        if is_quiet(quiet, zone, middle):
            quiet_ms = middle
        else:
            loud_ms = middle
    return loud_ms


def _moments(at: time, zone: tzinfo, around_ms: int) -> Iterator[int]:
    """When it is `at` on the wall from the day before `around_ms` on, once a day: the first of two, or as far
    behind a gap as it would have been into it."""
    day: date = _local(around_ms, zone).date() - timedelta(days=1)
    for _ in range(5):
        yield _utc_ms(datetime.combine(day, at, zone))
        day += timedelta(days=1)


def _local(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, zone) + timedelta(milliseconds=ms % 1000)


def _utc_ms(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    plain = moment.replace(tzinfo=timezone(offset))
    return round(plain.astimezone(UTC).timestamp() * 1000)
