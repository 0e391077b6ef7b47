"""The newest entries of the log in memory, each encoded once per wire format. The window is the queue.

Pure: no I/O, no clock, no Trio. It covers every seq in `(floor, head]`: an entry in that range that is not
here concerns nobody any more, because it expired, was withdrawn or was trimmed.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from notifyd.messages import Cursor, encode_entry

if TYPE_CHECKING:
    from notifyd.store.base import Entry

MAX_ENTRIES = 10_000
MAX_BYTES = 32 * 2**20
#: What one write to a socket joins at most, unless a single entry is larger.
JOIN_BYTES = 64 * 2**10

#: `(cursor text, message JSON) -> bytes on the wire`, a pure function; its result is kept with the entry.
Framer = Callable[[str, bytes], bytes]


class Joined(NamedTuple):
    """What lies after a reader's position: bytes for one write, and its position once they are written."""

    data: bytes
    position: int
    more: bool  # the limit was reached before the head


class News(NamedTuple):
    """How many entries after a position are for everyone, and how many for single users."""

    everyone: int
    own: dict[str, int]


class Slot:
    """One entry with its encodings."""

    __slots__ = ("cursor", "entry", "gone", "message", "wire")

    def __init__(self, entry: Entry, epoch: str) -> None:
        cursor = Cursor(epoch, entry.seq)
        self.entry = entry
        self.cursor = str(cursor)
        self.message = encode_entry(entry.type, entry.data, entry.created_ms, cursor)
        self.wire: tuple[tuple[Framer, bytes], ...] = ()  # a handful of formats: cheaper than a dict
        self.gone = False

    def framed(self, framer: Framer) -> bytes:
        for known, data in self.wire:
            if known is framer:
                return data
        data = framer(self.cursor, self.message)
        self.wire += ((framer, data),)
        return data

    @property
    def size(self) -> int:
        """Bytes this entry is counted with: its text, and room for two encodings of it."""
        return 3 * len(self.message)


class _Track:
    """Slots of one user, or of everyone, by rising seq."""

    __slots__ = ("seqs", "slots")

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.slots: list[Slot] = []

    def add(self, slot: Slot) -> None:
        self.seqs.append(slot.entry.seq)
        self.slots.append(slot)

    def remove(self, seq: int) -> None:
        index = bisect_left(self.seqs, seq)
        del self.seqs[index], self.slots[index]

    def after(self, seq: int) -> list[Slot]:
        if not self.seqs or self.seqs[-1] <= seq:
            return []
        return self.slots[bisect_right(self.seqs, seq) :]

    def count(self, after: int, up_to: int) -> int:
        return max(bisect_right(self.seqs, up_to) - bisect_right(self.seqs, after), 0)


class Window:
    """Holds at most `max_entries` and `max_bytes`; `floor` rises as old entries leave."""

    def __init__(
        self, epoch: str, head: int, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.epoch = epoch
        self.floor = head
        self.head = head
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._slots: deque[Slot] = deque()
        self._everyone = _Track()
        self._users: dict[str, _Track] = {}
        self._by_notification: dict[str, list[Slot]] = {}
        self._expiries: list[tuple[int, int, Slot]] = []
        self._shared: dict[tuple[Framer, int, int], Joined] = {}
        self._erased: dict[str, int] = {}

    def fill(self, entries: Iterable[Entry], floor: int) -> None:
        """Load what the log held at start: `entries` are all that exist in `(floor, head]`."""
        self.floor = floor
        self.put(entries)

    def put(self, entries: Iterable[Entry], withdrawn: frozenset[str] = frozenset()) -> None:
        """Take in what was committed, in the order of seq, and let go of what it withdraws."""
        self._shared.clear()
        for entry in entries:
            self.head = max(self.head, entry.seq)
            self._add(Slot(entry, self.epoch))
        for notification_id in withdrawn:
            for slot in self._by_notification.pop(notification_id, ()):
                self._drop(slot)
        while self._slots and (len(self._slots) > self._max_entries or self._bytes > self._max_bytes):
            self._evict()

    def expire(self, now_ms: int) -> None:
        """Let go of entries whose time has passed."""
        while self._expiries and self._expiries[0][0] <= now_ms:
            self._shared.clear()
            self._drop(heapq.heappop(self._expiries)[2])

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def size(self) -> int:
        """Bytes that it counts for what it holds."""
        return self._bytes

    @property
    def expiring(self) -> bool:
        """Whether `expire` has anything to look after."""
        return bool(self._expiries)

    def covers(self, position: int) -> bool:
        """Whether everything after `position` is here."""
        return position >= self.floor

    def floor_of(self, user_id: str) -> int:
        """`floor`, or where an erased user's own begins: below it the log must be asked."""
        return max(self.floor, self._erased.get(user_id, 0)) if self._erased else self.floor

    def erase(self, user_id: str, floor: int) -> None:
        """Let go of all that concerns this user alone; their log was erased up to `floor`."""
        if floor > self.floor:
            self._erased[user_id] = floor
        self._erased = {name: seq for name, seq in self._erased.items() if seq > self.floor}
        kept: deque[Slot] = deque()
        for slot in self._slots:
            if slot.entry.user_id == user_id and slot.entry.seq <= floor:
                self._forget(slot)
            else:
                kept.append(slot)
        self._slots = kept
        self._expiries = [expiry for expiry in self._expiries if not expiry[2].gone]
        heapq.heapify(self._expiries)

    def forget(self, user_id: str) -> None:
        """Let go of all own entries of a user who never resumes, so that no floor is needed."""
        track = self._users.get(user_id)
        for slot in list(track.slots) if track is not None else ():
            self._slots.remove(slot)
            self._forget(slot)

    def news(self, position: int) -> News:
        """Whom entries after `position` concern; everyone, when it is not known."""
        everyone = len(self._everyone.after(position))
        own: dict[str, int] = {}
        for slot in reversed(self._slots):
            if slot.entry.seq <= position:
                break
            user_id = slot.entry.user_id
            if user_id is not None and not slot.gone:
                own[user_id] = own.get(user_id, 0) + 1
        return News(max(everyone, 1) if position < self.floor else everyone, own)

    def count(self, user_id: str, after: int, up_to: int) -> int:
        """How many entries in `(after, up_to]` concern one user."""
        track = self._users.get(user_id)
        own = 0 if track is None else track.count(after, up_to)
        return own + self._everyone.count(after, up_to)

    def after(self, user_id: str, position: int) -> Sequence[Slot]:
        """What lies after `position` for one user, oldest first. Needs `covers(position)`."""
        shared = self._everyone.after(position)
        track = self._users.get(user_id)
        own = track.after(position) if track is not None else []
        if own and shared:
            return sorted(own + shared, key=_seq)
        return own or shared

    def join(self, user_id: str, position: int, framer: Framer, limit: int = JOIN_BYTES) -> Joined:
        """What lies after `position` for one user as bytes for one write. Needs `covers(position)`.

        Readers of announcements at the same position share one object. At least one entry is given
        whatever its size.
        """
        if position >= self.head:
            return Joined(b"", self.head, False)
        track = self._users.get(user_id)
        if track is not None and track.seqs and track.seqs[-1] > position:
            return self._join(self.after(user_id, position), framer, limit)
        key = (framer, position, limit)
        joined = self._shared.get(key)
        if joined is None:
            joined = self._shared[key] = self._join(self._everyone.after(position), framer, limit)
        return joined

    def announced(self, after: int, up_to: int, framer: Framer) -> bytes | None:
        """All announcements in `(after, up_to]` as bytes for one write; None when they do not fit into one
        or have left the window."""
        if after < self.floor:
            return None
        parts = [slot.framed(framer) for slot in self._everyone.after(after) if slot.entry.seq <= up_to]
        return b"".join(parts) if sum(map(len, parts)) <= JOIN_BYTES else None

    def _join(self, slots: Sequence[Slot], framer: Framer, limit: int) -> Joined:
        if len(slots) == 1:
            return Joined(slots[0].framed(framer), self.head, False)
        parts: list[bytes] = []
        size = 0
        for slot in slots:
            data = slot.framed(framer)
            if parts and size + len(data) > limit:
                return Joined(b"".join(parts), slots[len(parts) - 1].entry.seq, True)
            parts.append(data)
            size += len(data)
        return Joined(b"".join(parts), self.head, False)

    def _track(self, slot: Slot) -> _Track:
        user_id = slot.entry.user_id
        if user_id is None:
            return self._everyone
        track = self._users.get(user_id)
        if track is None:
            track = self._users[user_id] = _Track()
        return track

    def _add(self, slot: Slot) -> None:
        self._slots.append(slot)
        self._bytes += slot.size
        self._track(slot).add(slot)
        if slot.entry.notification_id is not None:
            self._by_notification.setdefault(slot.entry.notification_id, []).append(slot)
        if slot.entry.expires_ms is not None:
            self._expect(slot.entry.expires_ms, slot)

    def _expect(self, expires_ms: int, slot: Slot) -> None:
        heapq.heappush(self._expiries, (expires_ms, slot.entry.seq, slot))
        if len(self._expiries) > 2 * len(self._slots) + 64:  # mostly of slots that have left long ago
            self._expiries = [each for each in self._expiries if not each[2].gone]
            heapq.heapify(self._expiries)

    def _drop(self, slot: Slot) -> None:
        """Take a slot out of its reader's track; it keeps its place in the order until it is evicted."""
        if slot.gone:
            return
        slot.gone = True
        track = self._track(slot)
        track.remove(slot.entry.seq)
        if not track.seqs and slot.entry.user_id is not None:
            del self._users[slot.entry.user_id]

    def _evict(self) -> None:
        slot = self._slots.popleft()
        self.floor = slot.entry.seq
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        self._bytes -= slot.size
        self._drop(slot)
        siblings = self._by_notification.get(slot.entry.notification_id or "")
        if siblings is not None:
            siblings.remove(slot)
            if not siblings:
                del self._by_notification[slot.entry.notification_id or ""]


def _seq(slot: Slot) -> int:
    return slot.entry.seq
