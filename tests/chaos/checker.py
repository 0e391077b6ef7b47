"""Sorts every notification of a history into what became of it. Pure: events in, a verdict out.

acknowledged  the publisher was told that it is stored
delivered     acknowledged, and shown to a session that it was for; counted once for each session
lost          acknowledged, for a session that had (or said it had) everything before and after it, not shown
              to it; or acknowledged and missing in the user's inbox at the end
declared      acknowledged and not shown, but the server said `recovered: false` for exactly that stretch
duplicated    shown twice to one session, or stored twice
reordered     shown after something newer, or stored before what had been acknowledged before it was asked
foreign       shown to a user for whom it was not
unexpected    shown though nobody published it, or though its publisher was told that it was not stored; a
              cursor of this very log that is told to lie in the future
garbled       bytes that break the transport's own rules
recovered     the publisher never learnt its fate, and it was stored and shown (Jepsen's word)
unknown       the publisher never learnt its fate, and nobody has seen it

A session is one tab: whatever has the same name, over all its connections.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from notifyd.messages import parse_cursor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.chaos.history import Event

#: Examples kept of each kind of failure.
EXAMPLES = 20
FAILURES = ("lost", "duplicated", "reordered", "foreign", "unexpected", "garbled")


@dataclass
class Publication:
    """One publication over all the times that it was asked for."""

    value: str
    user: str | None
    first_asked: float
    asked: int = 0
    failed: int = 0
    cursor: tuple[str, int] | None = None
    notification_id: str = ""
    shown: int = 0

    @property
    def is_acknowledged(self) -> bool:
        return self.cursor is not None

    @property
    def is_impossible(self) -> bool:
        """Every time it was asked for, the answer was that it had not been stored."""
        return self.asked == self.failed


class Stretch(NamedTuple):
    """A part of the log, after `after` up to `up_to`, that a session is to have had whole."""

    epoch: str
    after: int
    up_to: int


@dataclass
class Session:
    """What one tab was told and shown."""

    name: str
    user: str | None = None
    epoch: str = ""
    start: int = 0  # of the stretch that goes on
    last: int = 0
    stretches: list[Stretch] = field(default_factory=list)
    seen: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # by epoch

    def close_stretch(self, up_to: int) -> None:
        if self.epoch and up_to > self.start:
            self.stretches.append(Stretch(self.epoch, self.start, up_to))


@dataclass
class Verdict:
    """Counts, and examples of what went wrong. `ok` is that nothing did."""

    publications: int = 0
    acknowledged: int = 0
    delivered: int = 0
    recovered: int = 0
    unknown: int = 0
    declared: int = 0
    sessions: int = 0
    connections: int = 0
    resumes: int = 0
    seen: int = 0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    examples: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in FAILURES})

    @property
    def ok(self) -> bool:
        return not any(self.failures.values())

    def blame(self, kind: str, text: str) -> None:
        self.failures[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(text)

    def lines(self) -> Iterator[str]:
        """For people: one line of counts, then the examples."""
        good = ("publications", "acknowledged", "delivered", "recovered", "unknown", "declared", "resumes")
        yield ", ".join(f"{name} {getattr(self, name):,}" for name in good)
        yield ", ".join(f"{kind} {count}" for kind, count in self.failures.items())
        for kind, texts in self.examples.items():
            yield from (f"  {kind}: {text}" for text in texts)


def check(events: Iterable[Event]) -> Verdict:
    """Judge a whole history. One that ends without a fence has nothing lost, but what was shown is judged."""
    judge = _Judge()
    for event in events:
        judge.take(event)
    return judge.finish()


class _Judge:
    def __init__(self) -> None:
        self.verdict = Verdict()
        self.publications: dict[str, Publication] = {}
        self.sessions: dict[str, Session] = {}
        self.fence: tuple[str, int] | None = None
        self.listed: dict[str | None, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.complete: set[str | None] = set()
        self.newest_ack: tuple[str, int] = ("", 0)  # of everything acknowledged so far
        self.acked_before: dict[
            str, tuple[str, int]
        ] = {}  # value -> `newest_ack` when it was first asked for
        self.at: dict[tuple[str, int], str] = {}  # what each place of the log holds
        self.place: dict[tuple[str, str], int] = {}  # where each value stands in each epoch's log

    def take(self, event: Event) -> None:
        handler = getattr(self, f"_{event.what}", None)
        if handler is not None:
            handler(event)

    # --- publishers ------------------------------------------------------------------------------------

    def _publish(self, event: Event) -> None:
        known = self.publications.get(event.value)
        if known is None:
            known = self.publications[event.value] = Publication(event.value, event.user, event.at)
            self.acked_before[event.value] = self.newest_ack
        if event.outcome == "invoke":
            known.asked += 1
        elif event.outcome == "fail":
            known.failed += 1
        elif event.outcome == "ok":
            self._acknowledge(known, event)

    def _acknowledge(self, known: Publication, event: Event) -> None:
        cursor = _place(event.cursor)
        if known.cursor is not None and known.cursor != cursor:
            self.verdict.blame("duplicated", f"{known.value} was acknowledged as {known.cursor} and {cursor}")
        known.cursor, known.notification_id = cursor, event.notification_id
        epoch, newest = self.acked_before[known.value]
        if epoch == cursor[0] and cursor[1] <= newest:
            self.verdict.blame(
                "reordered",
                f"{known.value} got {cursor[1]} though {newest} was acknowledged before it was asked",
            )
        if cursor[0] != self.newest_ack[0] or cursor[1] > self.newest_ack[1]:
            self.newest_ack = cursor

    def _fence(self, event: Event) -> None:
        self.fence = _place(event.cursor)

    # --- sessions --------------------------------------------------------------------------------------

    def _connect(self, event: Event) -> None:
        if event.outcome != "ok":
            return
        self.verdict.connections += 1
        session = self.sessions.setdefault(event.by, Session(event.by, event.user))
        epoch, start = _place(event.cursor)
        if event.asked is not None:
            self.verdict.resumes += 1
        if event.recovered:
            self._resumed(session, event, epoch, start)
            return
        asked = None if event.asked is None else parse_cursor(event.asked)
        if event.reason in ("future", "malformed") and asked is not None and asked.epoch == epoch:
            text = f"{session.name} was given {event.asked}, and is told that it is {event.reason}"
            self.verdict.blame("unexpected", text)
        session.close_stretch(session.last)
        session.epoch, session.start, session.last = epoch, start, start

    def _resumed(self, session: Session, event: Event, epoch: str, start: int) -> None:
        asked = None if event.asked is None else parse_cursor(event.asked)
        if asked is None or (epoch, start) != asked or session.epoch not in ("", epoch):
            text = f"{session.name} asked for {event.asked} and was told `recovered` from {epoch}-{start}"
            self.verdict.blame("unexpected", text)
        elif not session.epoch:
            session.epoch, session.start = epoch, start
        session.last = max(session.last, start)

    def _see(self, event: Event) -> None:
        session = self.sessions[event.by]
        epoch, seq = _place(event.cursor)
        self.verdict.seen += 1
        if event.user is not None and event.user != session.user:
            self.verdict.blame("foreign", f"{session.name} of {session.user} got {event.value}")
        self._judge_place(session, event, epoch, seq)
        published = self.publications.get(event.value)
        if published is None:
            self.verdict.blame("unexpected", f"{session.name} got {event.value}, which nobody published")
            return
        published.shown += 1
        if published.notification_id and published.notification_id != event.notification_id:
            self.verdict.blame("duplicated", f"{event.value} is stored twice: {event.notification_id}")

    def _garbled(self, event: Event) -> None:
        self.verdict.blame("garbled", f"{event.by}: {event.note}")

    def _judge_place(self, session: Session, event: Event, epoch: str, seq: int) -> None:
        held = self.at.setdefault((epoch, seq), event.value)
        if held != event.value:
            self.verdict.blame("unexpected", f"{epoch}-{seq} is {held} and {event.value}")
        place = self.place.setdefault((epoch, event.value), seq)
        if place != seq:
            self.verdict.blame("duplicated", f"{event.value} is stored at {place} and {seq}")
        if seq in session.seen[epoch]:
            self.verdict.blame("duplicated", f"{session.name} got {event.value} ({seq}) twice")
        elif epoch != session.epoch:
            self.verdict.blame(
                "unexpected", f"{session.name} got {epoch}-{seq} in a stream of {session.epoch}"
            )
        elif seq <= session.last:
            self.verdict.blame("reordered", f"{session.name} got {seq} after {session.last}")
        session.seen[epoch].add(seq)
        session.last = max(session.last, seq)

    # --- the inbox -------------------------------------------------------------------------------------

    def _list(self, event: Event) -> None:
        self.listed[event.user][event.value].add(event.notification_id)

    def _listed(self, event: Event) -> None:
        self.complete.add(event.user)

    # --- the end ---------------------------------------------------------------------------------------

    def finish(self) -> Verdict:
        verdict = self.verdict
        verdict.publications = len(self.publications)
        verdict.sessions = len(self.sessions)
        for known in self.publications.values():
            self._sort(known)
        by_epoch: dict[str, list[Publication]] = defaultdict(list)
        for known in self.publications.values():
            if known.cursor is not None:
                by_epoch[known.cursor[0]].append(known)
        for session in self.sessions.values():
            self._settle(session, by_epoch)
        for user in self.complete:
            self._compare_inbox(user)
        return verdict

    def _sort(self, known: Publication) -> None:
        verdict = self.verdict
        if known.is_acknowledged:
            verdict.acknowledged += 1
        elif known.is_impossible and known.shown:
            verdict.blame("unexpected", f"{known.value} was shown though it was refused")
        elif known.shown:
            verdict.recovered += 1
        elif not known.is_impossible:
            verdict.unknown += 1

    def _settle(self, session: Session, by_epoch: dict[str, list[Publication]]) -> None:
        if self.fence is None:
            session.close_stretch(session.last)
        else:
            session.close_stretch(self.fence[1] if session.epoch == self.fence[0] else session.last)
        for epoch, publications in by_epoch.items():
            own = [stretch for stretch in session.stretches if stretch.epoch == epoch]
            begin = min((stretch.after for stretch in own), default=None)
            for known in publications:
                if known.user is None or known.user == session.user:
                    self._place_in(session, known, own, begin)

    def _place_in(self, session: Session, known: Publication, own: list[Stretch], begin: int | None) -> None:
        assert known.cursor is not None
        epoch, seq = known.cursor
        if seq in session.seen[epoch]:
            self.verdict.delivered += 1
        elif any(stretch.after < seq <= stretch.up_to for stretch in own):
            self.verdict.blame("lost", f"{known.value} ({epoch}-{seq}) never came to {session.name}")
        elif begin is not None and seq > begin:
            self.verdict.declared += 1

    def _compare_inbox(self, user: str | None) -> None:
        listed = self.listed[user]
        epoch = self.fence[0] if self.fence else self.newest_ack[0]
        for known in self.publications.values():
            mine = known.user is None or known.user == user
            stored = known.cursor is not None and known.cursor[0] == epoch
            if mine and stored and known.value not in listed:
                self.verdict.blame("lost", f"{known.value} is not in the inbox of {user}")
        for value, ids in listed.items():
            if len(ids) > 1:
                self.verdict.blame("duplicated", f"{value} is in the inbox of {user} {len(ids)} times")
            if value not in self.publications:
                self.verdict.blame("unexpected", f"{value} is in the inbox of {user}, published by nobody")
            elif self.publications[value].user not in (None, user):
                self.verdict.blame("foreign", f"{value} is in the inbox of {user}")


def _place(text: str) -> tuple[str, int]:
    cursor = parse_cursor(text)
    if cursor is None:
        raise ValueError(f"{text!r} is no cursor")
    return cursor.epoch, cursor.seq
