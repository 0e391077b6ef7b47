"""What one group of requests does in its transaction. Runs in the store's thread; touches nothing outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from notifyd.errors import CommitFailed, IdempotencyConflict
from notifyd.inbox.records import Receipt
from notifyd.store import log
from notifyd.store.deliveries import Span
from notifyd.store.log import Answer, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.store.base import Entry, NewEntry, Transaction

    #: Any other write that joins the group: gives the entries to append, and what its caller gets.
    Work = Callable[[Transaction], tuple[Sequence[NewEntry], Any]]
    Claim = Callable[[Transaction], bool]
    #: Notes in the same transaction what else is to be told of what was appended.
    Deliver = Callable[[Transaction, Sequence[Entry], Sequence[Span]], None]


@dataclass(frozen=True)
class Prepared:
    """A publication that was checked and encoded: its rows, and the key it is remembered by."""

    notification_id: str
    entries: Sequence[NewEntry]
    key: Key | None
    body_hash: bytes
    #: Runs first, in the transaction that stores the publication; False: it was stored before, leave it.
    claim: Claim | None = None
    publisher: str | None = None


class Committed(NamedTuple):
    """What a group has done: what is new in the log, in order, and each request's result or refusal."""

    head: int
    entries: Sequence[Entry]
    outcomes: Sequence[Any]
    publications: int  # stored for the first time


class _Placed(NamedTuple):
    """A publication whose last row is the `last`-th of the group, counted from 1."""

    last: int
    request: Prepared
    repeated: bool = False

    def receipt(self, before: int) -> Receipt:
        return Receipt(before + self.last, self.request.notification_id, self.repeated)


def run_group(
    tx: Transaction, requests: Sequence[Prepared | Work], head: int, deliver: Deliver | None = None
) -> Committed:
    """Run the requests in order, append what they give, and have it delivered.

    `head` is the newest seq that the caller knows. Entries between it and what the log holds, left by a
    commit whose outcome was not known, come first among the group's.
    """
    group = _Group(tx, _remembered(tx, requests))
    placed = [group.run(request) for request in requests]
    rows = len(group.entries)
    before = log.allocate(tx, rows) - rows if rows else log.head(tx)
    if before < head:
        raise CommitFailed(
            f"the log ends at {before}, where {head} was committed: the database has gone back"
        )
    missed = log.everything_after(tx, head, before) if before > head else []
    appended = log.append(tx, group.entries, before)
    group.remember(before)
    if deliver is not None and appended:
        deliver(tx, appended, group.spans(before))
    outcomes = [each.receipt(before) if isinstance(each, _Placed) else each for each in placed]
    return Committed(before + rows, missed + appended, outcomes, group.publications)


def _remembered(tx: Transaction, requests: Sequence[Prepared | Work]) -> dict[Key, Answer]:
    keys = {request.key for request in requests if isinstance(request, Prepared) and request.key is not None}
    return log.answers(tx, keys) if keys else {}


class _Group:
    """The rows that requests give, before their seqs are known."""

    def __init__(self, tx: Transaction, known: dict[Key, Answer]) -> None:
        self._tx = tx
        self._known = known
        self._fresh: dict[Key, _Placed] = {}
        self.entries: list[NewEntry] = []
        self.publications = 0
        self._spans: list[Span] = []

    def spans(self, before: int) -> list[Span]:
        """Whose the appended rows are, which follow `before`."""
        return [Span(publisher, before + after, before + up_to) for publisher, after, up_to in self._spans]

    def run(self, request: Prepared | Work) -> Any:
        """What the request's caller gets, or where its rows will stand."""
        if isinstance(request, Prepared):
            if request.claim is not None:
                return self._place_claimed(request, request.claim)
            return self._place(request) if request.key is None else self._place_once(request, request.key)
        entries, outcome = request(self._tx)
        self._add(None, entries)
        return outcome

    def remember(self, before: int) -> None:
        answers = {
            key: Answer(placed.request.body_hash, before + placed.last, placed.request.notification_id)
            for key, placed in self._fresh.items()
        }
        log.remember(self._tx, answers)

    def _place(self, request: Prepared) -> _Placed:
        self._add(request.publisher, request.entries)
        self.publications += 1
        return _Placed(len(self.entries), request)

    def _add(self, publisher: str | None, entries: Sequence[NewEntry]) -> None:
        if entries:
            self._spans.append(Span(publisher, len(self.entries), len(self.entries) + len(entries)))
            self.entries += entries

    def _place_claimed(self, request: Prepared, claim: Claim) -> _Placed | Receipt | None:
        if not claim(self._tx):
            return None
        placed = self._place(request) if request.key is None else self._place_once(request, request.key)
        if isinstance(placed, IdempotencyConflict):
            raise placed  # which takes the claim back
        return placed

    def _place_once(self, request: Prepared, key: Key) -> _Placed | Receipt | IdempotencyConflict:
        answer, twin = self._known.get(key), self._fresh.get(key)
        if answer is None and twin is None:
            placed = self._fresh[key] = self._place(request)
            return placed
        if twin is not None and twin.request.body_hash == request.body_hash:
            return twin._replace(repeated=True)
        if answer is not None and answer.body_hash == request.body_hash:
            return Receipt(answer.seq, answer.notification_id, repeated=True)
        return IdempotencyConflict("this Idempotency-Key came before, with another body")
