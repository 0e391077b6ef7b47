"""Random histories of a log against a model that knows only lists and ranks."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from notifyd.errors import NotFound
from notifyd.inbox import marking, reading
from notifyd.inbox.group import Prepared, run_group
from notifyd.messages import STATE_RANK, Cursor, MarkState, State
from notifyd.store import retention, users
from notifyd.store.base import NewEntry
from notifyd.store.sql import Call, open_database, prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from notifyd.inbox import Listing
    from notifyd.store.base import Transaction

USERS = ("u", "v")
MARKS: tuple[MarkState, ...] = ("seen", "read", "archived")
WITHDRAWN = STATE_RANK["withdrawn"]


@dataclass
class Known:
    """One notification as the model sees it."""

    seq: int
    name: str
    user_id: str | None
    created_ms: int
    expires_ms: int | None
    ranks: dict[str, int] = field(default_factory=dict)
    gone: bool = False


class Log(RuleBasedStateMachine):
    """Each history in a new database, which `new_database` makes in a folder."""

    names = Bundle("names")

    def __init__(self, new_database: Callable[[Path], AbstractContextManager[str]]) -> None:
        super().__init__()
        self.new_database = new_database

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        url = self.stack.enter_context(self.new_database(Path(folder)))
        self.database = self.stack.enter_context(open_database(url, busy_s=5))
        self.now = 1_000
        self.epoch = prepare(self.database, self.now)
        self.head = 0
        self.known: list[Known] = []
        self.appeared: dict[str, int] = {}
        self.updates = 0
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def group(self, *requests: Any) -> tuple[Any, ...]:
        done = self.database.write(partial(run_group, requests=requests, head=self.head), Call(self.now))
        assert [entry.seq for entry in done.entries] == list(range(self.head + 1, done.head + 1))
        self.head = done.head
        self.updates += sum(entry.type == "notification-updated" for entry in done.entries)
        return tuple(done.outcomes)

    @rule(target=names, to=st.sampled_from([None, *USERS, "both"]), lives=st.none() | st.integers(1, 50))
    def publish(self, to: str | None, lives: int | None) -> str:
        self.count += 1
        name = f"n{self.count}"
        expires = None if lives is None else self.now + lives
        users = USERS if to == "both" else (to,)
        entries = [NewEntry(name, user, "x-a", b"{}", self.now, expires) for user in users]
        before = self.head
        (receipt,) = self.group(Prepared(name, entries, None, b""))
        assert receipt == (before + len(entries), name, False)
        for seq, user in enumerate(users, before + 1):
            self.known.append(Known(seq, name, user, self.now, expires))
        return name

    @rule(user=st.sampled_from(USERS))
    def appear(self, user: str) -> None:
        head = self.head

        def work(tx: Transaction) -> tuple[tuple[()], None]:
            users.appeared(tx, {user: head})
            return (), None

        self.group(work)
        if user not in self.appeared:
            self.appeared[user] = head
            for each in self.known:
                if each.user_id is None:
                    each.ranks[user] = max(each.ranks.get(user, 0), 1)

    @rule(
        user=st.sampled_from(USERS),
        state=st.sampled_from(["seen", "read", "archived"]),
        wanted=st.sets(names),
    )
    def mark_each(self, user: str, state: MarkState, wanted: set[str]) -> None:
        mine = {each.name: each for each in self.known if not each.gone and each.user_id in (user, None)}
        before = self.updates
        work = marking.mark_each(user, state, sorted(wanted), newcomer=self.head)
        (outcome,) = self.group(work)
        if not wanted <= mine.keys():
            assert isinstance(outcome, NotFound)
            assert self.updates == before
            return
        risen = [self.rise(user, state, mine[name]) for name in wanted]
        assert self.updates - before == any(risen)

    @rule(user=st.sampled_from(USERS), state=st.sampled_from(MARKS), data=st.data())
    def mark_up_to(self, user: str, state: MarkState, data: st.DataObject) -> None:
        up_to = data.draw(st.integers(0, self.head + 2))
        before = self.updates
        lower = [each for each in self.visible(user) if self.rank(user, each) < STATE_RANK[state]]
        rises = any(each.seq <= up_to for each in lower)
        self.group(marking.mark_up_to(user, state, up_to, epoch=self.epoch, newcomer=self.head))
        assert self.updates - before == rises
        for each in self.known:  # a mark covers what has expired too, though nobody sees that
            if rises and each.seq <= up_to and each.user_id in (user, None) and not each.gone:
                self.rise(user, state, each)

    def rise(self, user: str, state: State, each: Known) -> bool:
        old = self.rank(user, each)
        each.ranks[user] = max(old, STATE_RANK[state])
        return each.ranks[user] > old

    def rank(self, user: str, each: Known) -> int:
        rank = each.ranks.get(user, 0)
        newcomer = each.user_id is None and user not in self.appeared
        return max(rank, 1) if newcomer else rank

    @rule(name=names)
    def withdraw(self, name: str) -> None:
        before = self.updates
        concerned = [each for each in self.known if each.name == name and not each.gone]
        alive = {each.user_id for each in concerned if each.ranks.get("*") != WITHDRAWN}
        (outcome,) = self.group(marking.withdraw(name))
        assert isinstance(outcome, NotFound) == (not concerned)
        assert self.updates - before == len(alive)
        for each in concerned:
            each.ranks = {"*": WITHDRAWN} | dict.fromkeys(USERS, WITHDRAWN)

    @rule(ms=st.integers(1, 30))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule()
    def trim(self) -> None:
        cut = self.now - 60
        self.group(lambda tx: ((), retention.drop_oldest(tx, cut)))
        for each in self.known:
            each.gone = each.gone or each.created_ms < cut

    def visible(self, user: str) -> list[Known]:
        return [
            each
            for each in self.known
            if not each.gone
            and each.user_id in (user, None)
            and (each.expires_ms is None or each.expires_ms > self.now)
            and self.rank(user, each) < WITHDRAWN
        ]

    def listing(self, user: str, **asked: Any) -> Listing:
        defaults: dict[str, Any] = {"since": None, "before": None, "limit": 3, "state": None}
        question = reading.Question(user, self.epoch, self.head, **(defaults | asked))
        answer: Callable[..., Listing] = reading.answer
        return self.database.read(partial(answer, asked=question), Call(self.now))

    @rule(user=st.sampled_from(USERS), state=st.sampled_from([None, *STATE_RANK]))
    def pages_of_either_direction_are_the_whole_list(self, user: str, state: State | None) -> None:
        wanted = [each.seq for each in self.visible(user) if self.matches(user, each, state)]
        found: list[int] = []
        cursor = Cursor(self.epoch, 0)
        while cursor.seq < self.head:
            page = self.listing(user, since=str(cursor), state=state)
            found += [item.entry.seq for item in page.items]
            assert page.cursor.seq > cursor.seq
            cursor = page.cursor
        assert found == wanted
        found.clear()
        page = self.listing(user, state=state)
        while page.items:
            found += [item.entry.seq for item in page.items]
            oldest = Cursor(self.epoch, page.items[-1].entry.seq)
            page = self.listing(user, before=str(oldest), state=state)
        assert found == wanted[::-1]

    def matches(self, user: str, each: Known, state: State | None) -> bool:
        return state is None or self.rank(user, each) == STATE_RANK[state]

    @invariant()
    def everyone_sees_the_state_of_everything(self) -> None:
        for user in USERS:
            page = self.listing(user, limit=1000)
            wanted = [(each.seq, self.rank(user, each)) for each in self.visible(user)]
            assert [(i.entry.seq, STATE_RANK[i.state]) for i in page.items] == wanted[::-1]
            assert page.unread == sum(rank == 0 for _, rank in wanted)
            assert page.cursor == (self.epoch, self.head)


def test_log(on_postgres: Any, new_database: Callable[[Path], AbstractContextManager[str]]) -> None:
    """Fewer histories on PostgreSQL, where each needs a database of its own."""
    examples = 30 if on_postgres is None else 5
    run_state_machine_as_test(
        partial(Log, new_database),  # type: ignore[arg-type]
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
    )
