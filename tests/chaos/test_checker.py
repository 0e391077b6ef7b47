"""The checker itself, on histories made by hand: one of each class, each told from its neighbours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from tests.chaos.__main__ import main
from tests.chaos.checker import FAILURES, check
from tests.chaos.history import Event, Recorder, open_recorder, read_history

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.checker import Verdict


class Made:
    """A history written by hand; places are seqs of one epoch unless said otherwise."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, by: str, what: str, **fields: object) -> Made:
        self.events.append(Event(float(len(self.events)), by, what, **fields))  # type: ignore[arg-type]
        return self

    def asked(self, value: str, user: str | None = "ann") -> Made:
        return self.add("pub", "publish", outcome="invoke", value=value, user=user)

    def stored(self, value: str, seq: int, user: str | None = "ann", epoch: str = "e") -> Made:
        return self.add(
            "pub", "publish", value=value, user=user, cursor=f"{epoch}-{seq}", notification_id=f"n-{value}"
        )

    def published(self, value: str, seq: int, user: str | None = "ann", epoch: str = "e") -> Made:
        return self.asked(value, user).stored(value, seq, user, epoch)

    def failed(self, value: str, outcome: str = "fail") -> Made:
        return self.add("pub", "publish", outcome=outcome, value=value, user="ann")

    def live(self, seq: int = 0, tab: str = "tab", user: str = "ann", epoch: str = "e") -> Made:
        return self.add(tab, "connect", user=user, cursor=f"{epoch}-{seq}", recovered=False)

    def resumed(self, seq: int, tab: str = "tab", asked: str | None = None) -> Made:
        return self.add(tab, "connect", user="ann", cursor=f"e-{seq}", asked=asked or f"e-{seq}")

    def gap(self, asked: int, seq: int, epoch: str = "e") -> Made:
        return self.add(
            "tab",
            "connect",
            user="ann",
            asked=f"e-{asked}",
            cursor=f"{epoch}-{seq}",
            recovered=False,
            reason="trimmed",
        )

    def saw(self, value: str, seq: int, tab: str = "tab", whom: str | None = "ann", epoch: str = "e") -> Made:
        return self.add(
            tab, "see", value=value, cursor=f"{epoch}-{seq}", user=whom, notification_id=f"n-{value}"
        )

    def fence(self, seq: int, epoch: str = "e") -> Made:
        return self.add("chaos", "fence", value="fence", cursor=f"{epoch}-{seq}")

    def inbox(self, *values: str, ids: str = "n-") -> Made:
        for value in values:
            self.add("chaos", "list", user="ann", value=value, notification_id=f"{ids}{value}")
        return self.add("chaos", "listed", user="ann")

    def judge(self) -> Verdict:
        return check(self.events)


def blamed(verdict: Verdict) -> dict[str, int]:
    return {kind: count for kind, count in verdict.failures.items() if count}


def test_what_was_acknowledged_and_shown_is_delivered() -> None:
    made = Made().live().published("a", 1).published("b", 2, None).saw("a", 1).saw("b", 2, whom=None)
    verdict = made.fence(2).inbox("a", "b").judge()
    assert verdict.ok
    assert (verdict.publications, verdict.acknowledged, verdict.delivered) == (2, 2, 2)


def test_what_was_acknowledged_and_not_shown_is_lost() -> None:
    verdict = Made().live().published("a", 1).published("b", 2).saw("b", 2).fence(2).judge()
    assert blamed(verdict) == {"lost": 1}
    assert verdict.examples["lost"] == ["a (e-1) never came to tab"]


def test_a_tab_that_stopped_before_the_fence_has_lost_the_rest() -> None:
    assert blamed(Made().live().published("a", 1).fence(1).judge()) == {"lost": 1}


def test_without_a_fence_nobody_was_to_have_seen_the_rest() -> None:
    assert Made().live().published("a", 1).judge().ok


def test_what_is_missing_in_the_inbox_is_lost() -> None:
    verdict = Made().live().published("a", 1).saw("a", 1).fence(1).inbox().judge()
    assert verdict.examples["lost"] == ["a is not in the inbox of ann"]


def test_what_came_before_a_tab_or_was_for_another_user_is_not_missed() -> None:
    made = Made().published("a", 1).published("b", 2, "bob").live(2).published("c", 3).saw("c", 3)
    verdict = made.fence(3).judge()
    assert verdict.ok
    assert verdict.declared == 0


def test_a_resume_without_a_gap_is_one_stretch() -> None:
    made = Made().live().published("a", 1).saw("a", 1).published("b", 2).published("c", 3)
    assert blamed(made.resumed(1).saw("c", 3).fence(3).judge()) == {"lost": 1}
    assert made.judge().resumes == 1


def test_a_gap_that_the_server_told_is_declared_and_not_lost() -> None:
    made = Made().live().published("a", 1).saw("a", 1).published("b", 2).published("c", 3)
    verdict = made.gap(1, 2).saw("c", 3).fence(3).judge()
    assert verdict.ok
    assert verdict.declared == 1


def test_a_gap_of_another_epoch_ends_the_old_one() -> None:
    made = Made().live().published("a", 1).saw("a", 1).published("b", 2)
    made.gap(1, 1, epoch="f").published("c", 2, epoch="f").saw("c", 2, epoch="f").fence(2, epoch="f")
    verdict = made.judge()
    assert verdict.ok
    assert verdict.declared == 1


def test_a_gap_that_nobody_told_is_lost_however_it_looks() -> None:
    """The server says `recovered` and starts elsewhere."""
    made = (
        Made()
        .live()
        .published("a", 1)
        .published("b", 2)
        .add("tab", "connect", user="ann", asked="e-0", cursor="e-2")
    )
    assert set(blamed(made.fence(2).judge())) == {"lost", "unexpected"}


def test_shown_twice_is_duplicated() -> None:
    made = Made().live().published("a", 1).saw("a", 1).resumed(1).saw("a", 1)
    assert blamed(made.fence(1).judge()) == {"duplicated": 1}


def test_shown_twice_under_two_numbers_is_duplicated() -> None:
    made = Made().live().published("a", 1).saw("a", 1).saw("a", 2)
    assert blamed(made.fence(2).judge()) == {"duplicated": 1}


def test_two_tabs_of_one_user_each_get_it() -> None:
    made = Made().live().live(tab="other").published("a", 1).saw("a", 1).saw("a", 1, tab="other")
    verdict = made.fence(1).judge()
    assert verdict.ok
    assert verdict.delivered == 2


def test_stored_twice_for_one_key_is_duplicated() -> None:
    made = Made().live().published("a", 1).saw("a", 1).asked("a").stored("a", 2)
    assert blamed(made.fence(1).judge()) == {"duplicated": 1}


def test_two_rows_in_the_inbox_are_duplicated() -> None:
    made = Made().live().published("a", 1).saw("a", 1).fence(1).inbox("a")
    assert blamed(made.inbox("a", ids="m-").judge()) == {"duplicated": 1}


def test_shown_after_something_newer_is_reordered() -> None:
    made = Made().live().published("a", 1).published("b", 2).saw("b", 2).saw("a", 1)
    assert blamed(made.fence(2).judge()) == {"reordered": 1}


def test_stored_before_what_was_acknowledged_before_it_was_asked_is_reordered() -> None:
    assert blamed(Made().published("a", 5).published("b", 4).judge()) == {"reordered": 1}


def test_two_that_were_asked_at_once_may_be_stored_in_any_order() -> None:
    assert Made().asked("a").asked("b").stored("a", 2).stored("b", 1).judge().ok


def test_shown_to_another_user_is_foreign() -> None:
    made = Made().live(tab="bob", user="bob").published("a", 1).saw("a", 1, tab="bob")
    assert blamed(made.judge()) == {"foreign": 1}


def test_another_users_in_the_inbox_is_foreign() -> None:
    made = Made().published("a", 1, "bob").fence(1).inbox("a")
    assert blamed(made.judge()) == {"foreign": 1}


def test_what_nobody_published_is_unexpected() -> None:
    assert blamed(Made().live().saw("a", 1).judge()) == {"unexpected": 1}


def test_what_was_refused_and_shown_is_unexpected() -> None:
    made = Made().live().asked("a").failed("a").saw("a", 1)
    assert blamed(made.judge()) == {"unexpected": 1}


def test_one_place_that_holds_two_is_unexpected() -> None:
    made = Made().live().live(tab="other").asked("a").asked("b").saw("a", 1).saw("b", 1, tab="other")
    assert blamed(made.judge()) == {"unexpected": 1}


def test_recovered_from_another_epoch_is_unexpected() -> None:
    made = Made().live().resumed(3, asked="f-3")
    assert blamed(made.judge()) == {"unexpected": 1}


def test_a_cursor_that_the_server_gave_and_denies_is_unexpected() -> None:
    """Something was shown that was not durable."""
    made = (
        Made()
        .live()
        .add("tab", "connect", user="ann", asked="e-7", cursor="e-6", recovered=False, reason="future")
    )
    assert blamed(made.judge()) == {"unexpected": 1}


@pytest.mark.parametrize("outcome", ["info", None])
def test_of_unknown_outcome_and_shown_is_recovered(outcome: str | None) -> None:
    made = Made().live().asked("a")
    if outcome is not None:
        made.failed("a", outcome)
    verdict = made.saw("a", 1).judge()
    assert verdict.ok
    assert (verdict.recovered, verdict.unknown) == (1, 0)


def test_of_unknown_outcome_and_not_shown_is_unknown() -> None:
    verdict = Made().live().asked("a").failed("a", "info").fence(0).judge()
    assert verdict.ok
    assert (verdict.recovered, verdict.unknown) == (0, 1)


def test_unknown_at_first_and_refused_when_asked_again_is_still_unknown() -> None:
    verdict = Made().live().asked("a").failed("a", "info").asked("a").failed("a").saw("a", 1).judge()
    assert verdict.ok
    assert verdict.recovered == 1


def test_unknown_at_first_and_stored_when_asked_again_is_acknowledged() -> None:
    made = Made().live().asked("a").failed("a", "info").asked("a").stored("a", 1)
    assert blamed(made.fence(1).judge()) == {"lost": 1}


def test_the_verdict_in_words_names_every_class() -> None:
    text = "\n".join(Made().live().published("a", 1).fence(1).judge().lines())
    assert all(kind in text for kind in (*FAILURES, "recovered", "unknown", "declared"))
    assert "a (e-1) never came to tab" in text


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Made().live().published("a", 1).saw("a", 1).gap(1, 2).fence(1)
    with open_recorder(tmp_path / "history.jsonl") as recorder:
        for event in made.events:
            fields = {name: getattr(event, name) for name in Event.__struct_fields__[3:]}
            recorder.note(event.by, event.what, **fields)
    assert recorder.lines == len(made.events)
    again = list(read_history(tmp_path / "history.jsonl"))
    assert [(event.by, event.what, event.cursor) for event in again] == [
        (event.by, event.what, event.cursor) for event in made.events
    ]


def test_a_kept_history_is_judged_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_recorder(tmp_path / "history.jsonl") as recorder:
        recorder.note("tab", "connect", user="ann", cursor="e-0", recovered=False)
        recorder.note("tab", "see", value="a", user="ann", cursor="e-1")
    assert main(["check", str(tmp_path / "history.jsonl")]) == 1
    assert "unexpected 1" in capsys.readouterr().out


def test_times_are_the_recorders_own() -> None:
    file = io.BytesIO()
    Recorder(file, clock=lambda: 7.0).note("chaos", "fault", note="kill")
    assert file.getvalue() == b'{"at":7.0,"by":"chaos","what":"fault","note":"kill"}\n'
