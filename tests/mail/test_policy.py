"""Whom and when, tried over every time zone there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.mail.policy import (
    Drop,
    Facts,
    Send,
    Wait,
    decide,
    is_quiet,
    next_digest,
    quiet_until,
)
from notifyd.messages import STATE_RANK
from notifyd.preferences import Preferences, QuietHours, unsubscribed

if TYPE_CHECKING:
    from notifyd.preferences import Policy

GRACE_MS = 60_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
ZONES = sorted(available_timezones() - {"localtime"})
#: The years whose clock changes are tried.
FIRST, LAST = datetime(2023, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@lru_cache
def changes(name: str) -> list[int]:
    """When the clocks of a zone are changed, to the minute."""
    zone, found = ZoneInfo(name), []
    step, at = timedelta(days=7), FIRST
    while at < LAST:
        before, after = at, at + step
        if before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            while after - before > timedelta(minutes=1):
                middle = before + (after - before) / 2
                same = middle.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset()
                before, after = (middle, after) if same else (before, middle)
            found.append(round(after.timestamp()) // 60 * MINUTE_MS)
        at += step
    return found


times = st.builds(lambda hour, minute: f"{hour:02d}:{minute:02d}", st.integers(0, 23), st.integers(0, 59))
quiets = st.builds(QuietHours, times, times)


@st.composite
def moments(draw: Any) -> tuple[ZoneInfo, int]:
    """A zone, and a moment that often lies near a change of its clocks."""
    name = draw(st.sampled_from(ZONES))
    near = draw(st.booleans()) and changes(name)
    if near:
        at = draw(st.sampled_from(changes(name))) + draw(st.integers(-36 * HOUR_MS, 36 * HOUR_MS))
    else:
        at = draw(st.integers(round(FIRST.timestamp()) * 1000, round(LAST.timestamp()) * 1000))
    return ZoneInfo(name), at


# --- quiet hours ------------------------------------------------------------------------------------


@given(moments(), quiets)
def test_quiet_ends_at_the_first_moment_that_is_not_quiet(
    where: tuple[ZoneInfo, int], quiet: QuietHours
) -> None:
    zone, now = where
    end = quiet_until(quiet, zone, now)
    if end is None:
        assert not is_quiet(quiet, zone, now)
        return
    assert now < end <= now + 26 * HOUR_MS
    assert not is_quiet(quiet, zone, end)
    assert is_quiet(quiet, zone, end - 1)
    assert all(is_quiet(quiet, zone, at) for at in range(now, end, 5 * MINUTE_MS))


def test_every_zone_keeps_its_nights_on_every_day_of_changing_clocks() -> None:
    """All zones, all changes, one usual night and one whose end falls into most changes."""
    nights = (QuietHours("22:00", "07:00"), QuietHours("23:30", "02:30"))
    tried = 0
    for name in ZONES:
        zone = ZoneInfo(name)
        for change in changes(name):
            for quiet in nights:
                for hours in (-5, -1, 0, 1, 3):
                    now = change + hours * HOUR_MS
                    end = quiet_until(quiet, zone, now)
                    tried += 1
                    if end is not None:
                        assert is_quiet(quiet, zone, end - 1), (name, change)
                        assert not is_quiet(quiet, zone, end), (name, change)
    assert tried > 10_000


@pytest.mark.parametrize(
    ("zone", "now", "end"),
    [
        ("Europe/Vienna", "2026-06-01T23:00:00+02:00", "2026-06-02T07:00:00+02:00"),
        ("Europe/Vienna", "2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),  # an hour less
        ("Europe/Vienna", "2026-10-24T23:00:00+02:00", "2026-10-25T07:00:00+01:00"),  # an hour more
        ("Asia/Kathmandu", "2026-06-01T03:00:00+05:45", "2026-06-01T07:00:00+05:45"),
    ],
)
def test_a_night_ends_at_seven_on_the_wall(zone: str, now: str, end: str) -> None:
    assert quiet_until(QuietHours("22:00", "07:00"), ZoneInfo(zone), ms(now)) == ms(end)


def test_an_end_that_the_clock_jumps_over_is_the_jump() -> None:
    quiet = QuietHours("22:00", "02:30")
    end = quiet_until(quiet, ZoneInfo("Europe/Vienna"), ms("2026-03-29T01:00:00+01:00"))
    assert end == ms("2026-03-29T03:00:00+02:00")


def test_equal_times_are_no_quiet_hours() -> None:
    assert quiet_until(QuietHours("08:00", "08:00"), UTC, ms("2026-01-01T08:00:00Z")) is None


# --- digests ----------------------------------------------------------------------------------------


@given(moments(), times)
def test_a_daily_digest_comes_once_on_each_day(where: tuple[ZoneInfo, int], at: str) -> None:
    zone, now = where
    wanted = Preferences(policy="daily", daily_at=at)
    first = next_digest("daily", wanted, zone, now)
    second = next_digest("daily", wanted, zone, first)
    assert now < first <= now + 26 * HOUR_MS
    assert 22 * HOUR_MS <= second - first <= 26 * HOUR_MS
    days = [datetime.fromtimestamp(each / 1000, zone).date() for each in (first, second)]
    assert days[1] - days[0] == timedelta(days=1)


@given(moments(), times)
def test_whatever_lies_between_two_digests_goes_into_the_later_one(
    where: tuple[ZoneInfo, int], at: str
) -> None:
    zone, now = where
    wanted = Preferences(policy="daily", daily_at=at)
    due = next_digest("daily", wanted, zone, now)
    for before in (1, 500, 999, MINUTE_MS, due - now):
        assert next_digest("daily", wanted, zone, due - before) == due
    assert next_digest("daily", wanted, zone, due) > due


@given(moments())
def test_an_hourly_digest_comes_at_each_full_hour(where: tuple[ZoneInfo, int]) -> None:
    zone, now = where
    due = next_digest("hourly", Preferences(), zone, now)
    assert now < due <= now + HOUR_MS
    assert due % HOUR_MS == 0


# --- decisions --------------------------------------------------------------------------------------

NOW = ms("2026-06-01T12:00:00Z")


def facts(policy: Policy = "offline", **changed: Any) -> Facts:
    usual = Facts(
        created_ms=NOW,
        expires_ms=None,
        waits_for=None,
        acknowledged=False,
        rank=0,
        critical=False,
        policy=policy,
    )
    return usual._replace(**changed)


def decided(given_: Facts, now_ms: int = NOW, **wanted: Any) -> Any:
    return decide(given_, Preferences(**wanted), UTC, now_ms=now_ms, grace_ms=GRACE_MS)


def test_offline_waits_for_the_grace_time_and_then_sends() -> None:
    assert decided(facts()) == Wait(NOW + GRACE_MS, "grace")
    assert decided(facts(), NOW + GRACE_MS - 1) == Wait(NOW + GRACE_MS, "grace")
    assert decided(facts(), NOW + GRACE_MS) == Send()


@pytest.mark.parametrize("changed", [{"acknowledged": True}, {"rank": STATE_RANK["seen"]}])
def test_offline_sends_nothing_to_who_was_reached(changed: dict[str, Any]) -> None:
    assert decided(facts(**changed)) == Drop("acknowledged")
    assert decided(facts(**changed), NOW + GRACE_MS) == Drop("acknowledged")


def test_always_sends_at_once_whatever_was_acknowledged() -> None:
    assert decided(facts("always", acknowledged=True, rank=STATE_RANK["read"])) == Send()


@pytest.mark.parametrize("policy", ["offline", "always", "hourly", "daily"])
def test_what_is_gone_is_never_sent(policy: Policy) -> None:
    assert decided(facts(policy, rank=STATE_RANK["withdrawn"])) == Drop("withdrawn")
    assert decided(facts(policy, expires_ms=NOW)) == Drop("expired")


def test_never_is_never_also_for_what_is_critical() -> None:
    assert decided(facts("never", critical=True)) == Drop("unsubscribed")


@pytest.mark.parametrize("policy", ["hourly", "daily"])
def test_a_digest_waits_then_sends_without_what_was_read(policy: Policy) -> None:
    wait = decided(facts(policy, acknowledged=True))
    assert isinstance(wait, Wait)
    assert wait.waits_for == "digest"
    later = facts(policy, waits_for="digest", acknowledged=True)
    assert decided(later, wait.until_ms) == Send()
    assert decided(later._replace(rank=STATE_RANK["read"]), wait.until_ms) == Drop("read")


NIGHT: dict[str, Any] = {"quiet_hours": QuietHours("11:00", "13:00")}


@pytest.mark.parametrize("policy", ["offline", "always", "hourly"])
def test_quiet_hours_hold_everything_until_one_moment(policy: Policy) -> None:
    end = ms("2026-06-01T13:00:00Z")
    due = facts(policy, created_ms=NOW - GRACE_MS, waits_for="digest" if policy == "hourly" else None)
    assert decided(due, **NIGHT) == Wait(end, "quiet")
    assert decided(due._replace(waits_for="quiet"), end, **NIGHT) == Send()


def test_critical_announcements_pass_quiet_hours_and_digests() -> None:
    assert decided(facts("daily", critical=True, created_ms=NOW - GRACE_MS), **NIGHT) == Send()


def test_who_acknowledges_in_quiet_hours_is_not_written_to() -> None:
    held = facts(waits_for="quiet", created_ms=NOW - 2 * GRACE_MS, acknowledged=True)
    assert decided(held) == Drop("acknowledged")


@given(moments(), quiets, times, st.sampled_from(["offline", "always", "hourly", "daily"]))
def test_every_delivery_comes_to_an_end_and_never_in_quiet_hours(
    where: tuple[ZoneInfo, int], quiet: QuietHours, at: str, policy: Policy
) -> None:
    """Following each Wait, something is sent within two days, outside the quiet hours."""
    zone, now = where
    wanted = Preferences(policy=policy, quiet_hours=quiet, daily_at=at)
    each = facts(policy, created_ms=now)
    for _ in range(6):
        decision = decide(each, wanted, zone, now_ms=now, grace_ms=GRACE_MS)
        if isinstance(decision, Send):
            assert not is_quiet(quiet, zone, now)
            assert now - each.created_ms <= 52 * HOUR_MS
            return
        assert isinstance(decision, Wait)
        assert decision.until_ms > now
        now = decision.until_ms
        each = each._replace(waits_for=decision.waits_for)
    raise AssertionError("it waits for ever")


def test_unsubscribing_ends_one_type_or_all() -> None:
    mine = Preferences(types={"deal-notification": "always", "x-a": "daily"})
    without = unsubscribed(mine, "deal-notification")
    assert without.policy_of("deal-notification") == "never"
    assert without.policy_of("x-a") == "daily"
    assert without.policy_of("system-message") == "offline"
    none = unsubscribed(mine, "all")
    assert {none.policy_of(each) for each in ("deal-notification", "x-a", "system-message")} == {"never"}
