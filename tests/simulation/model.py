"""What must be true of a log and of a tab that reads it. Knows only lists and ranks: no server, no time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RANKS = {"unread": 0, "seen": 1, "read": 2, "archived": 3, "withdrawn": 4}


@dataclass
class Row:
    """One entry of the log. `value`: what its publisher called it; None on an update."""

    seq: int
    notification_id: str | None
    user: str | None  # None: everyone
    created_ms: int
    expires_ms: int | None
    data: dict[str, Any]
    trimmed: bool = False
    ranks: dict[str, int] = field(default_factory=dict)

    @property
    def value(self) -> str | None:
        found: str | None = self.data.get("value")
        return found


class Model:
    """The log as it must be, given what was asked for."""

    def __init__(self, users: tuple[str, ...], keep: int) -> None:
        self.users, self.keep = users, keep
        self.rows: list[Row] = []  # rows[seq - 1]
        self.asked: dict[str, str | None] = {}  # value → user
        self.stored: dict[str, Row] = {}  # by value
        self.changes: list[tuple[str | None, str, set[str] | int]] = []  # user, state, which: were asked for
        self.floors: dict[str | None, int] = {}

    @property
    def head(self) -> int:
        return len(self.rows)

    def take(self, row: Row) -> None:
        """The log has grown by this entry."""
        assert row.seq == self.head + 1, f"{row.seq} follows {self.head}"
        self.rows.append(row)
        if row.value is not None:
            assert row.value in self.asked, f"{row.value} was never published"
            assert row.value not in self.stored, f"{row.value} was stored twice"
            assert row.user == self.asked[row.value], f"{row.value} was for another user"
            self.stored[row.value] = row
            return
        state, which = row.data["state"], row.data.get("notification_ids")
        limit = int(row.data["up_to"].rpartition("-")[2]) if which is None else 0
        assert any(
            (user is None or user == row.user)
            and state == asked
            and (limit <= wanted if isinstance(wanted, int) else which is not None and {*which} <= wanted)
            for user, asked, wanted in self.changes
        ), f"nobody asked for {row}"
        readers = self.users if row.user is None else (row.user,)
        concerned = [each for each in self.rows if each.notification_id is not None]
        raised = [
            self._raise(each, user, RANKS[state])
            for each in concerned
            for user in readers
            if each.user in (None, user)
            and (each.seq <= limit if which is None else each.notification_id in which)
        ]
        assert any(raised), f"{row} changes nothing"

    def _raise(self, row: Row, user: str, rank: int) -> bool:
        before = row.ranks.get(user, 0)
        row.ranks[user] = max(before, rank)
        return before < rank

    def trim(self, left: set[int], oldest_ms: int) -> None:
        """Of the log only these are left; whatever was created from `oldest_ms` on and is not a user's
        own beyond `keep` must be among them."""
        for row in self.rows:
            if row.trimmed or row.seq in left:
                continue
            newer = sum(each.user == row.user for each in self.rows[row.seq :])
            too_many = row.user is not None and newer >= self.keep
            assert row.created_ms < oldest_ms or too_many, f"{row} was trimmed too early"
            row.trimmed = True
            self.floors[row.user] = max(self.floors.get(row.user, 0), row.seq)

    def floor(self, user: str) -> int:
        """Below it a cursor of this user's cannot be continued from the log."""
        return max(self.floors.get(user, 0), self.floors.get(None, 0))

    def owed(self, user: str, after: int, before: int, now_ms: int) -> list[Row]:
        """What this user must be shown between two places of the log, now."""
        return [
            row
            for row in self.rows[max(after, 0) : max(before - 1, 0)]
            if row.user in (None, user)
            and (row.expires_ms is None or row.expires_ms > now_ms)
            and row.ranks.get(user, 0) < RANKS["withdrawn"]
        ]

    def inbox(self, user: str, now_ms: int) -> list[tuple[str, int]]:
        """What GET lists for the user, oldest first, with its rank."""
        return [
            (row.notification_id, row.ranks.get(user, 0))
            for row in self.owed(user, 0, self.head + 1, now_ms)
            if row.notification_id is not None and not row.trimmed
        ]

    def reason(self, user: str, epoch: str, cursor: str | None) -> set[str | None]:
        """How the server may answer a cursor: None for `recovered`, or why not."""
        if cursor is None:
            return {"no-cursor"}
        own, _, seq = cursor.rpartition("-")
        if not seq.isdecimal() or not own:
            return {"malformed"}
        if own != epoch:
            return {"other-epoch"}
        if int(seq) > self.head:
            return {"future"}
        return {None, "trimmed"} if int(seq) < self.floor(user) else {None}
