"""A client application, by the rules of docs/protocol.md; holds the server to the model at every message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.model import RANKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from notifyd.testing import Received
    from tests.simulation.model import Model


def seq_of(cursor: str) -> int:
    return int(cursor.rpartition("-")[2])


@dataclass
class Tab:
    """What one tab was shown. `look` brings the model up to the log; `now` is the wall clock in ms."""

    name: str
    user: str
    model: Model
    look: Callable[[], None]
    now: Callable[[], int]
    position: int = 0  # everything up to here has been shown
    cursor: str | None = None
    ranks: dict[str, int] = field(default_factory=dict)  # by notification_id, in the order shown
    places: dict[str, int] = field(default_factory=dict)
    shown: int = 0
    gaps: int = 0

    def begin(self, asked: str | None, hello: dict[str, Any], epoch: str, acked: int) -> bool:
        """The stream begins; whether it goes on after `asked`. `acked`: what a publisher knew by then."""
        self.look()
        start = seq_of(hello["cursor"])
        reason = hello["reason"]
        assert reason in self.model.reason(self.user, epoch, asked), f"{asked}: {hello}"
        assert hello["recovered"] == (reason is None), hello
        assert hello["user_id"] == self.user, hello
        if reason is None:
            assert hello["cursor"] == asked, f"{asked}: {hello}"
        else:
            self.gaps += 1
            assert acked <= start <= self.model.head, f"live from {start}, head {self.model.head}"
        self.position, self.cursor = start, hello["cursor"]
        return reason is None

    def start_over(self, listed: Iterable[dict[str, Any]]) -> None:
        """No continuity: the inbox has the truth, up to where the stream begins."""
        self.ranks.clear()
        self.places.clear()
        for item in sorted(listed, key=lambda item: seq_of(item["id"])):
            if seq_of(item["id"]) <= self.position:
                self._put(item["data"]["notification_id"], seq_of(item["id"]), RANKS[item["state"]])

    def take(self, received: Received) -> None:
        """One message of the server's."""
        message = received.message
        match message["type"]:
            case "ping":
                self._pass(message["data"]["cursor"], seq_of(message["data"]["cursor"]) + 1)
            case "error":
                assert message["data"]["code"] == "not_found", message
            case "pong" | "reconnect":
                pass
            case _:
                self._show(received)

    def _show(self, received: Received) -> None:
        message = received.message
        seq = seq_of(message["id"])
        assert received.id == message["id"], received
        assert seq > self.position, f"{seq} came after {self.position}"
        if seq > self.model.head:
            self.look()
        assert seq <= self.model.head, f"{seq} was shown and is not in the log"
        row = self.model.rows[seq - 1]
        assert row.user in (None, self.user), f"{row} was shown to {self.user}"
        assert message["data"] == row.data, f"{message} was stored as {row}"
        self._pass(message["id"], seq)
        self.shown += 1
        self._apply(message, seq)

    def _pass(self, cursor: str, before: int) -> None:
        """The server says that nothing lies between the last that was shown and this."""
        assert before > self.position, f"{cursor} came after {self.position}"
        self.look()
        owed = self.model.owed(self.user, self.position, before, self.now())
        assert not owed, f"{self.name} was not shown {owed}"
        self.position, self.cursor = seq_of(cursor), cursor

    def _put(self, notification_id: str, seq: int, rank: int) -> None:
        self.ranks.setdefault(notification_id, rank)
        self.places[notification_id] = seq

    def _apply(self, message: dict[str, Any], seq: int) -> None:
        data = message["data"]
        if message["type"] != "notification-updated":
            self._put(data["notification_id"], seq, 0)
            return
        for notification_id in self.ranks:
            named = notification_id in data.get("notification_ids", ())
            if named or ("up_to" in data and self.places[notification_id] <= seq_of(data["up_to"])):
                self.ranks[notification_id] = max(self.ranks[notification_id], RANKS[data["state"]])
